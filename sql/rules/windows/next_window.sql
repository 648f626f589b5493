-- record_ledger.next_window: the one window that starts at a given instant.
-- Ends at the earlier of start + granularity (elapsed) and the next local midnight; from 1d on it is the local day.
-- windows_from says the same in bulk.
-- Called by: pipeline_progress, planned_passes, store_windows.
-- Uses: day_start, is_within_day.
-- Tests: test_windows.py.
create or replace function record_ledger.next_window(
    window_start_time timestamptz,
    granularity interval,
    timezone text,
    out target_day date,
    out window_end_time timestamptz
)
language plpgsql
immutable strict
as $$
declare
    v_wall constant timestamp := window_start_time at time zone next_window.timezone;
begin
    target_day := v_wall::date;
    window_end_time := window_start_time + next_window.granularity;
    if record_ledger.is_within_day(
        window_start_time, v_wall, next_window.granularity, next_window.timezone
    ) then
        return;
    end if;
    window_end_time := record_ledger.day_start(target_day + 1, next_window.timezone);
    -- Clocks that were set back across midnight still show yesterday, whose end has passed.
    while window_end_time <= window_start_time loop
        target_day := target_day + 1;
        window_end_time := record_ledger.day_start(target_day + 1, next_window.timezone);
    end loop;
    if next_window.granularity < interval '24:00:00' then
        window_end_time := least(window_start_time + next_window.granularity, window_end_time);
    end if;
end
$$;
comment on function record_ledger.next_window(timestamptz, interval, text) is
'The target day and the end of the window that starts at an instant.';
