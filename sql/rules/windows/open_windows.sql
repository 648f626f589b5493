-- record_ledger.open_windows: the windows of a pipeline that are not done, stored or not.
-- It has the open records, and the windows that are due and not stored yet (at most 10,000), whose status is null.
-- Called by: pipeline_progress, records_at_risk.
-- Uses: due_windows, next_window_start.
-- Tests: test_retention.py.
create or replace function record_ledger.open_windows(
    p record_ledger.pipeline, as_of timestamptz
)
returns table (
    window_start_time timestamptz, window_end_time timestamptz, target_day date, status text
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select r.window_start_time, r.window_end_time, r.target_day, r.status
    from record_ledger.record as r
    where r.open_pipeline_id = (p).pipeline_id
    union all
    select d.window_start_time, d.window_end_time, d.target_day, null as status
    from record_ledger.due_windows(
        p, record_ledger.next_window_start(p, as_of), as_of, 10000
    ) as d
$$;
comment on function record_ledger.open_windows(record_ledger.pipeline, timestamptz) is
'The open records of a pipeline, and the windows that are due and not stored yet.';
