-- record_ledger.windows_from: the windows that tile time from an instant onwards.
-- It returns those that begin before to_time, the first max_windows of them (null: all), in any order. Reads no ledger
-- rows. next_window says the same of one window.
-- Called by: backfill_range, backfill_windows, due_windows.
-- Uses: day_start, local_day.
-- Tests: test_windows.py.
create or replace function record_ledger.windows_from(
    from_time timestamptz,
    to_time timestamptz,
    granularity interval,
    timezone text,
    max_windows integer
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    -- Materialized, so that day_start is computed once per day and not once per window.
    with span as materialized (
        select
            d.target_day,
            greatest(d.day_start, from_time) as span_start,
            lead(d.day_start) over (order by d.target_day) as span_end,
            -- Longer than any day: a window of a day is all of it.
            case
                when granularity >= interval '24:00:00' then interval '48:00:00' else granularity
            end as window_length
        from (
            select
                day.target_day,
                record_ledger.day_start(day.target_day, windows_from.timezone) as day_start
            from (
                select record_ledger.local_day(from_time, windows_from.timezone) + n as target_day
                from generate_series(
                    0,
                    least(
                        record_ledger.local_day(to_time, windows_from.timezone)
                        - record_ledger.local_day(from_time, windows_from.timezone) + 2,
                        -- No more days than max_windows can need: half a day's worth of windows in each.
                        ceil(
                            max_windows
                            / greatest(1, floor(43200 / extract(epoch from granularity)))
                        ) + 3
                    )::integer
                ) as n
            ) as day
        ) as d
    ),

    -- Counted per day: so the query computes no window beyond max_windows, and sorts none.
    counted as (
        select
            s.target_day,
            s.span_start,
            s.span_end,
            s.window_length,
            least(s.span_end, to_time) as last_start_before,
            coalesce(
                sum(
                    ceil(
                        extract(epoch from least(s.span_end, to_time) - s.span_start)
                        / extract(epoch from s.window_length)
                    )
                ) over (order by s.target_day rows between unbounded preceding and 1 preceding),
                0
            )::integer as windows_before
        from span as s
        -- A skipped date has no instant, and the last day only closes the one before it.
        where s.span_end > s.span_start and s.span_start < to_time
    )

    select
        w.target_day,
        w.window_start_time,
        least(w.window_start_time + w.window_length, w.span_end) as window_end_time
    from (
        select
            c.target_day,
            c.span_end,
            c.window_length,
            generate_series(
                c.span_start,
                least(
                    c.last_start_before,
                    c.span_start + (max_windows - c.windows_before) * c.window_length
                ) - interval '1 microsecond',
                c.window_length
            ) as window_start_time
        from counted as c
        where max_windows is null or c.windows_before < max_windows
    ) as w
$$;
comment on function record_ledger.windows_from(
    timestamptz, timestamptz, interval, text, integer
) is
'Private. The windows that tile time from an instant onwards and begin before another.';
