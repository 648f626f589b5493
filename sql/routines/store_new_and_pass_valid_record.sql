-- record_ledger.store_new_and_pass_valid_record: the whole cycle in one statement and one commit.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- A config with templates is answered with to_build until the caller has rendered them and sends them back as built.
-- Called by: store_new_and_pass_valid_record of the runner. Rules: known_config, next_answer.
create or replace function record_ledger.store_new_and_pass_valid_record(
    config jsonb,
    run_id text,
    built jsonb default '[]',
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
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
#variable_conflict use_column
declare
    v_config jsonb := config;
    v_config_is_new boolean := false;
    v_problem text;
    v_now timestamptz;
    v_next_start timestamptz;
    v_stored integer;
    v_answer record;
    p record_ledger.pipeline;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(store_new_and_pass_valid_record.run_id)
    ) then
        perform record_ledger.refuse_call(store_new_and_pass_valid_record.run_id);
    end if;
    to_build := '[]';

    -- A config that is in force was validated before: comparing it is all that most calls do.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        store_new_and_pass_valid_record.config ->> 'pipeline_id',
        store_new_and_pass_valid_record.config #>> '{default_record,pipeline_id}'
    );
    if p.config is distinct from config then
        perform record_ledger.warn_of_misspelt_keys(config);
        v_config := record_ledger.known_config(config);
        v_config_is_new := p.config is distinct from v_config;
        if v_config_is_new then
            p := record_ledger.read_config(v_config);
        end if;
    end if;

    v_now := record_ledger.clock();
    if built is distinct from '[]' then
        v_problem := record_ledger.built_problem(built, p);
        if v_problem is not null then
            raise exception '%', v_problem using errcode = 'RL005';
        end if;
    else
        if p.has_templates then
            -- Nothing is written before the caller could render everything: a template that fails leaves no trace.
            to_build := record_ledger.windows_to_build(p, v_config_is_new, v_now);
            if to_build <> '[]' then
                exit_dag := true;
                verdict := 'INCOMPLETE';
                reason := format(
                    '%s windows wait to be built: render default_record for each '
                    'and call again with built',
                    jsonb_array_length(to_build)
                );
                return;
            end if;
        end if;
        -- A first look without the lock: an idle pipeline may be asked every minute, and its answer costs no write.
        if not v_config_is_new then
            select l.window_end_time into v_next_start
            from record_ledger.last_window(p.pipeline_id) as l;
            if (
                coalesce(v_next_start, record_ledger.first_window_start(p, v_now))
                >= v_now - p.x_time_back
                or p.is_retired
            )
                and not (p.config_version > 1 and record_ledger.can_build_alone(p, v_now))
            then
                v_answer := record_ledger.next_answer(
                    p, store_new_and_pass_valid_record.run_id, v_now
                );
                if v_answer.verdict <> 'READY'
                    and not v_answer.has_expired
                    and v_answer.lost_before is null
                then
                    exit_dag := true;
                    verdict := v_answer.verdict;
                    reason := v_answer.reason;
                    return;
                end if;
            end if;
        end if;
    end if;

    p := record_ledger.register_config(v_config);
    -- Taken once, after the lock: whatever waited for it judges by the time at which it goes on.
    v_now := record_ledger.clock();
    if built <> '[]' or p.config_version > 1 and record_ledger.can_build_alone(p, v_now) then
        perform record_ledger.build_records(p, built, v_now);
    end if;
    -- What became due since the caller rendered is left to the next call, which has it rendered.
    v_stored := record_ledger.store_windows(
        p, case when p.has_templates or built <> '[]' then built end, v_now
    );
    v_answer := record_ledger.pass_record(p, store_new_and_pass_valid_record.run_id, v_now);
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
end
$$;
comment on function record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb) is
'The whole cycle in one statement: register, store, collect expired leases, pass. (exit_dag, verdict, reason, record, to_build).';
