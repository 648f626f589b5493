-- record_ledger.resume_pipeline: lets a paused or retired pipeline run again; returns whether it was paused or retired.
-- A pipeline that was neither stays as it is, and nothing is recorded.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
create or replace function record_ledger.resume_pipeline(
    pipeline_id text, reason text default null
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Another operator may be pausing it: the later call decides.
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
begin
    perform record_ledger.check_reason(resume_pipeline.reason, true);
    if p.paused_at is null then
        return false;
    end if;
    update record_ledger.pipeline as q
    set is_retired = false,
        paused_at = null,
        paused_by = null,
        pause_reason = null,
        updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'resumed',
        jsonb_strip_nulls(
            jsonb_build_object('reason', reason, 'was_retired', p.is_retired)
        ),
        v_now
    );
    return true;
end
$$;
comment on function record_ledger.resume_pipeline(text, text) is
'Lets a paused or retired pipeline run again; returns whether it was paused or retired.';
