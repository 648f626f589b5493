-- record_ledger.complete_and_pass: completes a passed record and passes the next one, in one statement and one commit.
-- It ends the claim as complete_record does, and passes a record to run_id as pass_valid_record does. run_id must be a
-- new run, because a run keeps its record for good. It stores no windows and renders nothing: the caller's next full
-- call does.
-- A call may be repeated with the same run_id: it confirms the completion, and the run gets the record that it is bound
-- to. Without the current token (RL004), or when the counts do not agree (RL007), it does nothing.
-- exit_dag true: the record is completed, and no other one was passed; the verdict says why.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: check_detail, clock, end_claim, is_run_id, is_safe_to_write, lock_pipeline, pass_record, refuse_call.
-- Tests: test_complete_and_pass.py.
create or replace function record_ledger.complete_and_pass(
    pipeline_id text,
    claim_token bigint,
    run_id text,
    detail jsonb default '{}',
    window_start_time timestamptz default null,
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
#variable_conflict use_variable
declare
    p record_ledger.pipeline;
    v_answer record;
begin
    if not (record_ledger.is_safe_to_write() and record_ledger.is_run_id(run_id)) then
        perform record_ledger.refuse_call(run_id);
    end if;
    if detail <> '{}' then
        perform record_ledger.check_detail(detail);
    end if;
    -- Lock the pipeline first and then the record, as every pass does. Otherwise two sessions could wait for each
    -- other: one with the record that it has completed, the other with the pipeline in which it collects that record.
    p := record_ledger.lock_pipeline(pipeline_id);
    perform record_ledger.end_claim(
        pipeline_id, claim_token, window_start_time, 'completed', coalesce(detail, '{}')
    );
    v_answer := record_ledger.pass_record(p, run_id, record_ledger.clock(), '[]');
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
end
$$;
comment on function record_ledger.complete_and_pass(text, bigint, text, jsonb, timestamptz) is
'Completes a passed record and passes the next one to a run, in one commit: (exit_dag, verdict, reason, record). RL004 unless the claim token is current, RL007 unless its counts agree: nothing is done then. Stores and renders nothing.';
