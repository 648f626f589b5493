-- record_ledger.pipeline_answer: next_answer for readers, who hold no rights on the tables.
-- What a new run would be answered at an instant.
-- Read by: oldest_valid_record, pipeline_progress.
-- Rules: next_answer.
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
begin
    select a.verdict, a.reason, a.ready_at, a.window_start_time
    into pipeline_answer.verdict, pipeline_answer.reason, pipeline_answer.ready_at, pipeline_answer.window_start_time
    from record_ledger.next_answer(p, null, as_of) as a;
end
$$;
comment on function record_ledger.pipeline_answer(record_ledger.pipeline, timestamptz) is
'What a new run of the pipeline would be answered at an instant.';
