-- record_ledger.pass_valid_record: passes the oldest valid record of a pipeline to a run; stores and renders nothing.
-- Without templates in the config the pass builds an outdated record first; with templates only a run with the config
-- can.
-- The same run_id gets the same record again; a null run_id binds nothing. exit_dag true comes with a verdict and a
-- reason; the call has then written nothing, unless a lease had expired or a record was lost.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner, clock, is_run_id, is_safe_to_write, lock_pipeline, next_answer, pass_record,
--   raise_unknown_pipeline, refuse_call, unbuilt_reason.
-- Tests: test_passing.py, test_run_ids.py.
create or replace function record_ledger.pass_valid_record(
    pipeline_id text,
    run_id text,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_now timestamptz;
    v_answer record;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(pass_valid_record.run_id)
    ) then
        perform record_ledger.refuse_call(pass_valid_record.run_id);
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = pass_valid_record.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pass_valid_record.pipeline_id);
    end if;
    if p.owner_role is not null then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    end if;
    v_now := record_ledger.clock();
    -- First without the lock: runs may ask an idle pipeline every minute, and its answer costs no write.
    v_answer := record_ledger.next_answer(p, pass_valid_record.run_id, v_now);
    if (v_answer.verdict <> 'READY' or v_answer.is_outdated and p.has_templates)
        and not v_answer.has_expired and v_answer.lost_before is null
    then
        exit_dag := true;
        verdict := v_answer.verdict;
        reason := v_answer.reason;
        if verdict = 'READY' then
            verdict := 'INCOMPLETE';
            reason := record_ledger.unbuilt_reason(p, v_answer.window_start_time);
        end if;
        return;
    end if;
    p := record_ledger.lock_pipeline(pass_valid_record.pipeline_id);
    v_answer := record_ledger.pass_record(
        p, pass_valid_record.run_id, record_ledger.clock(), '[]'
    );
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
end
$$;
comment on function record_ledger.pass_valid_record(text, text) is
'Passes the oldest valid record of a pipeline to a run: (exit_dag, verdict, reason, record). Stores and renders nothing.';
