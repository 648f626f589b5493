-- record_ledger.windows_from: the windows that tile time from an instant on, oldest first.
-- Those that begin before to_time, max_windows of them at most (null: all). Reads no ledger rows.
-- Read by: due_windows, backfill_windows.
-- Rules: day_start, local_day; next_window says the same of one window.
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
    -- Materialized, so that day_start is reckoned once per day and not once per window.
    with span as materialized (
        select
            d.target_day,
            greatest(d.day_start, from_time) as span_start,
            lead(d.day_start) over (order by d.target_day) as span_end
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
    )
    select
        span.target_day,
        w.window_start_time,
        case
            when granularity >= interval '24:00:00' then span.span_end
            else least(w.window_start_time + granularity, span.span_end)
        end as window_end_time
    from span
    cross join lateral (
        select span.span_start + i * granularity as window_start_time
        from generate_series(
            0,
            case
                when granularity >= interval '24:00:00' then 0
                else ceil(
                    extract(epoch from least(span.span_end, to_time) - span.span_start)
                    / extract(epoch from granularity)
                )::integer - 1
            end
        ) as i
    ) as w
    -- A skipped date has no instant, and the last day only closes the one before it.
    where span.span_end > span.span_start and w.window_start_time < to_time
    order by w.window_start_time
    limit max_windows
$$;
comment on function record_ledger.windows_from(
    timestamptz, timestamptz, interval, text, integer
) is
'Private. The windows that tile time from an instant on and begin before another, oldest first.';
