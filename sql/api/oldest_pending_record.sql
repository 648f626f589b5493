-- record_ledger.oldest_pending_record: the oldest pending record, of one pipeline or of all; passes nothing.
-- The record is flat, as a pass returns it; null when nothing is pending. record_verdicts says whether it is valid.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: lane_heads, raise_unknown_pipeline, record_json, window_timezone.
-- Tests: test_record_shape.py, test_zones.py.
create or replace function record_ledger.oldest_pending_record(pipeline_id text default null)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    if oldest_pending_record.pipeline_id is not null and not exists (
        select
        from record_ledger.pipeline as p
        where p.pipeline_id = oldest_pending_record.pipeline_id
    ) then
        perform record_ledger.raise_unknown_pipeline(oldest_pending_record.pipeline_id);
    end if;
    return (
        select record_ledger.record_json(r, record_ledger.window_timezone(p, r.window_start_time))
        from record_ledger.pipeline as p
        cross join lateral record_ledger.lane_heads(p.pipeline_id) as h
        join record_ledger.record as r
            on r.pipeline_id = p.pipeline_id and r.window_start_time = h.window_start_time
        where p.pipeline_id = coalesce(oldest_pending_record.pipeline_id, p.pipeline_id)
            and r.status = 'PENDING'
        order by r.window_start_time, p.pipeline_id
        limit 1
    );
end
$$;
comment on function record_ledger.oldest_pending_record(text) is
'The oldest pending record of a pipeline, or of all, flat as JSON; null when nothing is pending. Passes nothing.';
