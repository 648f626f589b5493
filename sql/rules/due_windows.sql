-- record_ledger.due_windows: all windows from an instant on that are due, oldest first.
-- Due is a window that began before as_of - x_time_back; a retired pipeline has none. Reads no ledger rows.
-- Read by: new_windows, store_windows, windows_to_build.
-- Rules: day_start, local_day; next_window says the same of one window.
create or replace function record_ledger.due_windows(
    p record_ledger.pipeline, from_time timestamptz, as_of timestamptz, max_windows integer
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
                record_ledger.day_start(day.target_day, (p).timezone) as day_start
            from (
                select record_ledger.local_day(from_time, (p).timezone) + n as target_day
                from generate_series(
                    0,
                    least(
                        record_ledger.local_day(as_of - (p).x_time_back, (p).timezone)
                        - record_ledger.local_day(from_time, (p).timezone) + 2,
                        -- No more days than max_windows can need: half a day's worth of windows in each.
                        ceil(
                            max_windows
                            / greatest(1, floor(43200 / extract(epoch from (p).granularity)))
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
            when (p).granularity >= interval '24:00:00' then span.span_end
            else least(w.window_start_time + (p).granularity, span.span_end)
        end as window_end_time
    from span
    cross join lateral (
        select span.span_start + i * (p).granularity as window_start_time
        from generate_series(
            0,
            case
                when (p).granularity >= interval '24:00:00' then 0
                else ceil(
                    extract(
                        epoch from
                        least(span.span_end, as_of - (p).x_time_back) - span.span_start
                    )
                    / extract(epoch from (p).granularity)
                )::integer - 1
            end
        ) as i
    ) as w
    -- A skipped date has no instant, and the last day only closes the one before it.
    where span.span_end > span.span_start
        and not (p).is_retired
        and w.window_start_time < as_of - (p).x_time_back
    order by w.window_start_time
    limit max_windows
$$;
comment on function record_ledger.due_windows(
    record_ledger.pipeline, timestamptz, timestamptz, integer
) is
'Private. The windows from an instant on that began before as_of - x_time_back, oldest first.';
