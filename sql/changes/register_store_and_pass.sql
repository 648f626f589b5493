-- record_ledger.register_store_and_pass: the whole cycle for a call of any kind; what a usual call is spared is here.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- It runs with the settings of store_new_and_pass_valid_record.
-- Called by: store_new_and_pass_valid_record.
-- Uses: built_problem, check_owner, clock, configured, first_window_start, is_run_id, is_safe_to_write, is_same_config,
--   last_window, next_answer, note_start_at, pass_record, refuse_call, register_config, store_windows, to_build_reason,
--   warn_of_misspelt_keys, windows_to_build.
-- Tests: test_passing.py, test_usual_call.py.
create or replace function record_ledger.register_store_and_pass(
    config jsonb,
    run_id text,
    built jsonb,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
    out to_build jsonb
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_config jsonb := config;
    v_config_is_new boolean := false;
    v_problem text;
    v_is_due boolean;
    v_now timestamptz;
    v_next_start timestamptz;
    v_stored integer;
    v_answer record;
    p record_ledger.pipeline;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(register_store_and_pass.run_id)
    ) then
        perform record_ledger.refuse_call(register_store_and_pass.run_id);
    end if;
    to_build := '[]';
    -- A config that is in force was validated before: comparing it is all that most calls do.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_store_and_pass.config ->> 'pipeline_id',
        register_store_and_pass.config #>> '{default_record,pipeline_id}'
    );
    if p.config is distinct from config then
        perform record_ledger.warn_of_misspelt_keys(config);
        if record_ledger.is_same_config(p, config) then
            perform record_ledger.note_start_at(p, config);
        else
            v_config_is_new := true;
            p := record_ledger.configured(p, config);
        end if;
        -- In the words that were first given, or those that are stored now.
        v_config := p.config;
    end if;

    -- Before any answer: others are not told either when its next window is due.
    if p.owner_role is not null then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    end if;
    v_now := record_ledger.clock();
    if built is distinct from '[]' then
        v_problem := record_ledger.built_problem(built, p);
        if v_problem is not null then
            raise exception '%', v_problem
                using errcode = 'RL005',
                hint = 'Send back what to_build names. '
                    'A runner of an older release names less: upgrade it.';
        end if;
    else
        select l.window_end_time into v_next_start
        from record_ledger.last_window(p.pipeline_id) as l;
        v_is_due := coalesce(v_next_start, record_ledger.first_window_start(p, v_now))
            < v_now - p.x_time_back
            and not p.is_retired;
        -- A first look without the lock: an idle pipeline may be asked every minute, and its answer costs no write.
        if p.has_templates or not v_config_is_new and not v_is_due then
            v_answer := record_ledger.next_answer(
                p, register_store_and_pass.run_id, v_now
            );
            if p.has_templates
                and (v_answer.is_outdated or v_is_due and v_answer.bound_window is null)
            then
                -- Nothing is written before the caller could render everything: a template that fails leaves no trace.
                to_build := record_ledger.windows_to_build(
                    p,
                    case when v_answer.is_outdated then v_answer.window_start_time end,
                    v_answer.bound_window is not null,
                    v_answer.waiting_mark,
                    10,
                    v_now
                );
                exit_dag := true;
                verdict := 'INCOMPLETE';
                reason := record_ledger.to_build_reason(to_build);
                return;
            end if;
            if v_answer.verdict <> 'READY'
                and not v_config_is_new
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

    p := record_ledger.register_config(v_config);
    -- Taken once, after the lock: whatever waited for it judges by the time at which it goes on.
    v_now := record_ledger.clock();
    -- What became due since the caller rendered is left to the next call, which has it rendered.
    v_stored := record_ledger.store_windows(
        p, case when p.has_templates or built <> '[]' then built end, v_now
    );
    if p.missing_fields is not null then
        -- A window that the caller filled may have been stored.
        select q.filled_from into p.filled_from
        from record_ledger.pipeline as q
        where q.pipeline_id = p.pipeline_id;
    end if;
    v_answer := record_ledger.pass_record(
        p, register_store_and_pass.run_id, v_now, built
    );
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
    if exit_dag and p.has_templates and (v_answer.awaits_build or built <> '[]') then
        -- Another config was registered meanwhile, or other runs were passed what was rendered: asked for again.
        v_answer := record_ledger.next_answer(p, register_store_and_pass.run_id, v_now);
        to_build := record_ledger.windows_to_build(
            p,
            case when v_answer.is_outdated then v_answer.window_start_time end,
            v_answer.bound_window is not null,
            v_answer.waiting_mark,
            10,
            v_now
        );
        if to_build <> '[]' then
            verdict := 'INCOMPLETE';
            reason := record_ledger.to_build_reason(to_build);
        end if;
    end if;
end
$$;
comment on function record_ledger.register_store_and_pass(jsonb, text, jsonb) is
'Private. The whole cycle for a call of any kind: register, store, collect expired leases, pass.';
