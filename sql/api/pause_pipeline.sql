-- record_ledger.pause_pipeline: no record of the pipeline is passed until it is resumed.
-- Runs in progress continue and may end their claims in any way; new windows are stored. A second pause replaces the
-- reason. A retired pipeline stays retired.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
create or replace function record_ledger.pause_pipeline(pipeline_id text, reason text)
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
    -- A pass that holds the pipeline goes first; later passes see it paused.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.pipeline as q
    set paused_at = v_now, paused_by = session_user, pause_reason = reason, updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id, 'paused', jsonb_build_object('reason', reason), v_now
    );
end
$$;
comment on function record_ledger.pause_pipeline(text, text) is
'Lets no record of a pipeline be passed until it is resumed; the reason is kept with who paused it and when.';
