-- record_ledger.pass_valid_records: the whole cycle for several records, in one statement and one commit.
-- It registers, stores and passes as store_new_and_pass_valid_record does, and then passes further records, oldest
-- first, up to the limit. The k-th record is bound to run_id/k and has its own claim. A batch is fixed once drawn: the
-- same run_id gets its unfinished records again, and no others.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: batch_to_build, build_records, clock, is_run_id, lock_pipeline, pass_record, register_config,
--   store_new_and_pass_valid_record, store_windows, to_build_reason.
-- Tests: test_batches.py.
create or replace function record_ledger.pass_valid_records(
    config jsonb,
    run_id text,
    record_limit integer,
    built jsonb default '[]',
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out records jsonb,
    out to_build jsonb
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
    v_pipeline_id constant text := coalesce(
        config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
    );
    v_was_drawn boolean;
    v_answer record;
    v_records jsonb[] := '{}';
    v_now timestamptz;
    p record_ledger.pipeline;
begin
    if record_limit between 1 and 10000 is not true then
        raise exception 'record_limit: % is not a valid number of records',
            coalesce(record_limit::text, 'null')
            using errcode = 'RL005', hint = 'Give a whole number from 1 to 10000.';
    end if;
    records := '[]';
    to_build := '[]';
    begin
        select a.* into v_answer
        from record_ledger.store_new_and_pass_valid_record(
            config,
            case when record_ledger.is_run_id(run_id) then run_id || '/1' else run_id end,
            built
        ) as a;
        -- Only now: the same call may have been running already, and the call above has waited for it.
        v_was_drawn := exists (
            select
            from record_ledger.claim as c
            where c.pipeline_id = v_pipeline_id and c.bound_run_id = run_id || '/1'
                and c.claim_token is distinct from (v_answer.record ->> 'claim_token')::bigint
        );
        exit_dag := v_answer.exit_dag;
        verdict := v_answer.verdict;
        reason := v_answer.reason;
        if v_answer.to_build <> '[]' then
            to_build := record_ledger.batch_to_build(config, run_id, record_limit);
            reason := record_ledger.to_build_reason(to_build);
            return;
        end if;
        if exit_dag and not v_was_drawn then
            return;
        end if;
        if not exit_dag then
            v_records := array[v_answer.record];
        end if;

        -- The first pass has taken this lock already, unless it exited.
        p := record_ledger.lock_pipeline(v_pipeline_id);
        v_now := record_ledger.clock();
        for k in 2..record_limit loop
            exit when v_was_drawn and not exists (
                select
                from record_ledger.claim as c
                where c.pipeline_id = v_pipeline_id and c.bound_run_id = run_id || '/' || k
            );
            v_answer := record_ledger.pass_record(p, run_id || '/' || k, v_now, built);
            if not v_answer.exit_dag then
                v_records := v_records || v_answer.record;
            elsif v_answer.awaits_build then
                raise exception using errcode = 'RLBLD';
            elsif not v_was_drawn then
                exit;
            end if;
        end loop;
    exception
        -- A batch is fixed once drawn: so nothing is passed until all of it is built. What the caller sent is built by
        -- itself, so that the next call asks for the rest.
        when sqlstate 'RLBLD' then
            p := record_ledger.register_config(config);
            v_now := record_ledger.clock();
            perform record_ledger.store_windows(p, built, v_now);
            perform record_ledger.build_records(p, built, v_now);
            to_build := record_ledger.batch_to_build(config, run_id, record_limit);
            exit_dag := true;
            verdict := 'INCOMPLETE';
            reason := record_ledger.to_build_reason(to_build);
            return;
    end;
    if cardinality(v_records) > 0 then
        exit_dag := false;
        verdict := 'READY';
        reason := format(
            '%s of at most %s records are passed%s',
            cardinality(v_records),
            record_limit,
            case when v_was_drawn then ' again' else '' end
        );
        records := to_jsonb(v_records);
    end if;
end
$$;
comment on function record_ledger.pass_valid_records(jsonb, text, integer, jsonb) is
'The whole cycle for up to record_limit records, the k-th bound to run_id/k: (exit_dag, verdict, reason, records, to_build).';
