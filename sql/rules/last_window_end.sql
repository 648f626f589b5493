-- record_ledger.last_window_end: the end of the newest stored window of a pipeline; no row when none is stored.
-- There the next one starts: no gap, no overlap. A set, so that statements which read it are planned as one.
-- Read by: next_window_start, store_windows, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.last_window_end(pipeline_id text)
returns table (window_end_time timestamptz)
language sql
stable
as $$
    select r.window_end_time
    from record_ledger.record as r
    where r.pipeline_id = last_window_end.pipeline_id
    order by r.window_start_time desc
    limit 1
$$;
comment on function record_ledger.last_window_end(text) is
'Private. The end of the newest stored window of a pipeline; no row when none is stored.';
