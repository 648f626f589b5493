-- record_ledger.store_new_records: stores the windows of a pipeline that are due, at most 10,000 in one call.
-- Without built, the windows of a pipeline with templates are stored unbuilt. With built, windows are stored up to the
-- first one that it lacks, and outdated pending records take their fields from it. An entry that fits no window, or
-- that was rendered with an older config_version, is ignored. stored_count says how many are new.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: build_records, built_problem, clock, lock_pipeline, store_windows.
-- Tests: test_windows_stored.py, test_building.py.
create or replace procedure record_ledger.store_new_records(
    pipeline_id text, built jsonb default '[]', inout stored_count integer default 0
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_problem text := record_ledger.built_problem(built, p);
begin
    if v_problem is not null then
        raise exception '%', v_problem
            using errcode = 'RL005',
            hint = 'Send back what to_build names. '
                'A runner of an older release sends less: upgrade it.';
    end if;
    perform record_ledger.build_records(p, built, v_now);
    stored_count := record_ledger.store_windows(p, nullif(built, '[]'), v_now);
end
$$;
comment on procedure record_ledger.store_new_records(text, jsonb, integer) is
'Stores the windows of a pipeline that are due, at most 10,000 in one call; stored_count says how many.';
