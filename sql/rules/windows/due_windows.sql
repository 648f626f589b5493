-- record_ledger.due_windows: all windows from an instant onwards that are due, oldest first.
-- A window is due when it began before as_of - x_time_back; a retired pipeline has none. Reads no ledger rows.
-- Called by: new_windows, open_windows, store_windows, windows_to_build.
-- Uses: windows_from.
-- Tests: test_windows.py, test_windows_stored.py.
create or replace function record_ledger.due_windows(
    p record_ledger.pipeline, from_time timestamptz, as_of timestamptz, max_windows integer
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    select w.target_day, w.window_start_time, w.window_end_time
    from record_ledger.windows_from(
        from_time, as_of - (p).x_time_back, (p).granularity, (p).timezone, max_windows
    ) as w
    where not (p).is_retired
    order by w.window_start_time
$$;
comment on function record_ledger.due_windows(
    record_ledger.pipeline, timestamptz, timestamptz, integer
) is
'Private. The windows from an instant onwards that began before as_of - x_time_back, oldest first.';
