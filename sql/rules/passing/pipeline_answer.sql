-- record_ledger.pipeline_answer: next_answer for readers, who have no rights on the tables.
-- It says what a new run would be answered at an instant.
-- Called by: oldest_valid_record, pipeline_progress.
-- Uses: next_answer, record_verdict.
-- Tests: test_verdicts.py, test_roles.py.
create or replace function record_ledger.pipeline_answer(
    p record_ledger.pipeline,
    as_of timestamptz,
    out verdict text,
    out reason text,
    out ready_at timestamptz,
    out window_start_time timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_answer record := record_ledger.next_answer(p, null, as_of);
    v_verdict record;
    r record_ledger.record;
begin
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    ready_at := v_answer.ready_at;
    window_start_time := v_answer.window_start_time;
    if verdict = 'READY' then
        select q.* into r
        from record_ledger.record as q
        where q.pipeline_id = p.pipeline_id
            and q.window_start_time = pipeline_answer.window_start_time;
        v_verdict := record_ledger.record_verdict(r, p, null, 0, as_of);
        reason := v_verdict.reason;
        ready_at := v_verdict.ready_at;
    end if;
end
$$;
comment on function record_ledger.pipeline_answer(record_ledger.pipeline, timestamptz) is
'What a new run of the pipeline would be answered at an instant.';
