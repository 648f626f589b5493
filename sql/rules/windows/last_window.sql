-- record_ledger.last_window: the newest stored window of a pipeline; no row when none is stored.
-- The next one starts at its end: no gap, no overlap. It returns a set, so that PostgreSQL plans it with the statement
-- that reads it.
-- Called by: archivable_records, configured, days_with_windows, is_same_config, next_window_start,
--   register_store_and_pass, start_problem, store_new_and_pass_valid_record, store_windows, window_time.
-- Uses: none.
-- Tests: test_windows_stored.py.
create or replace function record_ledger.last_window(pipeline_id text)
returns table (window_start_time timestamptz, window_end_time timestamptz)
language sql
stable
as $$
    select r.window_start_time, r.window_end_time
    from record_ledger.record as r
    where r.pipeline_id = last_window.pipeline_id
    order by r.window_start_time desc
    limit 1
$$;
comment on function record_ledger.last_window(text) is
'Private. The newest stored window of a pipeline; no row when none is stored.';
