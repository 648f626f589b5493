-- record_ledger verify: raises unless every public object is there and described.
-- The last step of every deploy: what callers rely on exists, or nothing of the deploy remains.
-- Applied by: every deploy; anyone may run it again.
-- Rules: the list below is the public surface; sql/README.md describes it.
do $$
declare
    v_object text;
    v_missing text[] := '{}';
begin
    foreach v_object in array array[
        'archived_record_events',
        'archived_record_observations',
        'archived_records',
        'changed_records',
        'daily_coverage',
        'oldest_valid_record',
        'pipeline_events',
        'pipeline_lateness',
        'pipeline_progress',
        'pipeline_records',
        'pipelines',
        'record_events',
        'record_observations',
        'record_verdicts',
        'records_at_risk'
    ] loop
        if to_regclass('record_ledger.' || v_object) is null
            or obj_description(to_regclass('record_ledger.' || v_object), 'pg_class') is null
        then
            v_missing := v_missing || ('view ' || v_object);
        end if;
    end loop;
    foreach v_object in array array[
        'register_pipeline(jsonb)',
        'new_windows(text, timestamptz, integer)',
        'store_new_records(text, jsonb, integer)',
        'pass_valid_record(text, text)',
        'store_new_and_pass_valid_record(jsonb, text, jsonb)',
        'pass_valid_records(jsonb, text, integer, jsonb)',
        'complete_record(text, bigint, jsonb, timestamptz)',
        'complete_and_pass(text, bigint, text, jsonb, timestamptz)',
        'complete_records(text, bigint[], jsonb[], timestamptz[])',
        'fail_record(text, bigint, text, boolean, timestamptz)',
        'release_record(text, bigint, timestamptz, timestamptz)',
        'extend_lease(text, bigint, timestamptz)',
        'claim_state(text, bigint)',
        'observe_record(text, timestamptz, text, bigint, jsonb, bigint)',
        'adopt_observations(text, bigint, text, timestamptz)',
        'waive_counts(text, timestamptz, text)',
        'archive_records(text, timestamptz, integer)',
        'archivable_records(text, timestamptz, integer)',
        'records_as_of(timestamptz)',
        'oldest_pending_record(text)',
        'plan_runs(text, integer, timestamptz, integer, interval)',
        'waive_records(text, timestamptz, timestamptz, text)',
        'reopen_records(text, timestamptz, timestamptz, text)',
        'expire_leases(text, timestamptz, timestamptz, text)',
        'cancel_records(text, timestamptz, timestamptz, text)',
        'backfill_records(text, timestamptz, text)',
        'range_step(text, text, timestamptz, timestamptz, text, integer)',
        'range_in_steps(text, text, timestamptz, timestamptz, text, bigint)',
        'pause_pipeline(text, text)',
        'set_pipeline_owner(text, text)',
        'resume_pipeline(text, text)',
        'retire_pipeline(text, text)',
        'range_effects(text, text, timestamptz, timestamptz)',
        'recount_due(text)',
        'reopen_changed_records(text)',
        'suggest_x_time_back(text, numeric)',
        'is_day_sealed(text, date)',
        'pipeline_time(text, text)',
        'window_time(text, text)',
        'deployed_release()'
    ] loop
        if to_regprocedure('record_ledger.' || v_object) is null
            or obj_description(to_regprocedure('record_ledger.' || v_object), 'pg_proc') is null
        then
            v_missing := v_missing || ('routine ' || v_object);
        end if;
    end loop;
    if cardinality(v_missing) > 0 then
        raise exception 'the ledger is not whole: % missing or without description',
            array_to_string(v_missing, ', ')
            using errcode = 'RL006';
    end if;
end
$$;
