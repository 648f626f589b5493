-- record_ledger.last_window: the newest stored window of a pipeline; no row when none is stored.
-- The next one starts at its end: no gap, no overlap. A set, so that statements which read it are planned as one.
-- Read by: next_window_start, store_windows, store_new_and_pass_valid_record, register_store_and_pass,
-- archivable_records, is_same_config, configured, start_problem.
-- Rules: none.
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
