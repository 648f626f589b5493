-- record_ledger.retire_pipeline: pauses a pipeline for good: no window is stored any more, and no status lists it.
-- Its history stays, and runs in progress may end their claims in any way. A second call replaces the reason.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
create or replace function record_ledger.retire_pipeline(pipeline_id text, reason text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
    v_now timestamptz;
begin
    perform record_ledger.check_reason(reason);
    -- A pass that holds the pipeline goes first; later passes see it retired.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.pipeline as q
    set is_retired = true,
        paused_at = v_now,
        paused_by = session_user,
        pause_reason = reason,
        updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id, 'retired', jsonb_build_object('reason', reason), v_now
    );
end
$$;
comment on function record_ledger.retire_pipeline(text, text) is
'Pauses a pipeline for good: nothing is stored or passed any more and no status lists it, but its history stays.';
