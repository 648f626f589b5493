-- record_ledger.store_new_and_pass_valid_record: the whole cycle in one statement and one commit.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- A config with templates is answered with to_build until the caller has rendered them and sends them back as built.
-- Most calls are alike: a config in force that asks for nothing special, and nothing open but records that wait in
-- order. Such a call costs what a session sets up for it: statements, look-ups, expressions. It is made of the fewest
-- here: first_look tells that the first waiting record comes next. Whatever is otherwise goes the long way, through
-- register_config, store_windows and pass_record.
-- Called by: record_ledger_runner, the Python runner, dbt, pass_valid_records.
-- Uses: built_problem, check_owner, clock, configured, first_look, first_waiting, first_window_start, is_run_id,
--   is_safe_to_write, is_same_config, last_window, next_answer, next_claim_token, next_window, no_records_reason,
--   note_start_at, pass_record, record_object, refuse_call, register_config, store_windows, to_build_reason,
--   unstable_reason, warn_of_misspelt_keys, windows_to_build.
-- Tests: test_passing.py, test_usual_call.py, test_usual_call_sessions.py.
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
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_config jsonb := config;
    v_config_is_new boolean := false;
    v_problem text;
    v_is_due boolean;
    v_now timestamptz;
    v_last_start timestamptz;
    v_next_start timestamptz;
    v_stored integer;
    v_answer record;
    v_token bigint;
    v_attempt integer;
    v_horizon timestamptz;
    v_window record;
    v_first_active timestamptz;
    v_other_lane text;
    v_has_passed boolean;
    v_version integer;
    v_timezone text;
    s record;
    f record;
    p record_ledger.pipeline;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(store_new_and_pass_valid_record.run_id)
    ) then
        perform record_ledger.refuse_call(store_new_and_pass_valid_record.run_id);
    end if;
    to_build := '[]';

    -- ---------------------------------------------------------------- most calls
    v_now := record_ledger.clock();
    select
        q.pipeline_id,
        q.x_time_back,
        q.granularity,
        q.timezone,
        q.zone_since,
        q.marks_void_at,
        q.xmin as row_version,
        q as whole
    into s
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
            store_new_and_pass_valid_record.config ->> 'pipeline_id',
            store_new_and_pass_valid_record.config #>> '{default_record,pipeline_id}'
        )
        and q.config = store_new_and_pass_valid_record.config
        and not q.has_templates
        and q.missing_fields is null
        and q.filled_from is null
        and q.paused_at is null
        and q.owner_role is null
        and q.source_retention is null
        and q.max_active_records is null
        and not q.depends_on_past;
    <<usual>>
    loop
        exit usual when not found or built <> '[]';
        v_horizon := v_now - s.x_time_back;
        if s.zone_since is null then
            -- Nothing is stored, or nothing with this zone.
            exit usual when exists (select from record_ledger.last_window(s.pipeline_id));
            p := s.whole;
            v_next_start := record_ledger.first_window_start(p, v_now);
            exit usual when v_next_start < v_horizon;
            exit_dag := true;
            verdict := 'NO_RECORDS';
            reason := record_ledger.no_records_reason(p, v_next_start, v_now);
            return;
        end if;
        select
            l.newest_token,
            l.historical_credit,
            l.waiting_mark,
            l.active_mark,
            l.lease_mark,
            l.others_seen_at,
            l.bound_window,
            l.waiting,
            l.is_looked_up,
            l.first_lane
        into f
        from record_ledger.first_look(
            s.pipeline_id,
            s.marks_void_at,
            s.granularity,
            store_new_and_pass_valid_record.run_id
        ) as l;
        -- Nothing was passed yet; or the run had a record, and gets that one or none.
        exit usual when f.is_looked_up is not true or f.bound_window is not null;
        -- Leases that run keep no run from being passed a record; any other lane may.
        exit usual when f.first_lane is not null
            and (f.first_lane <> 'active' or v_now < f.lease_mark is not true);
        if f.waiting is null then
            -- Read at one moment, and only where nothing was passed since the look: what was stored after it might be
            -- in progress by now, or wait elsewhere, and nothing would seem to be open.
            select
                r.window_start_time,
                r.window_end_time,
                record_ledger.first_waiting(s.pipeline_id, f.waiting_mark),
                exists (
                    select
                    from record_ledger.claim as c
                    where c.pipeline_id = s.pipeline_id and c.claim_token > f.newest_token
                )
            into v_last_start, v_next_start, f.waiting, v_has_passed
            from record_ledger.record as r
            where r.pipeline_id = s.pipeline_id
                and r.window_start_time >= v_horizon - s.granularity * 2
            order by r.window_start_time desc
            limit 1;
            exit usual when not found or v_has_passed;
        end if;
        if f.waiting[2] > v_horizon then
            -- When the first one has not settled, no later one has, and none is due. An idle pipeline may be asked
            -- every minute, and that costs no write.
            exit usual when f.waiting[1] < s.zone_since;
            if f.first_lane is not null then
                exit usual when exists (
                    select
                    from record_ledger.record as o
                    where o.open_pipeline_id = s.pipeline_id and o.lane > 'active'
                        and o.lane < 'waiting'
                );
            end if;
            exit_dag := true;
            verdict := 'UNSTABLE';
            v_timezone := set_config('timezone', s.timezone, true);
            reason := record_ledger.unstable_reason(
                f.waiting[1], f.waiting[2], s.x_time_back, config ->> 'x_time_back'
            );
            return;
        end if;
        -- The newest record of a pipeline that is on time; where it is older, more than one window is due.
        if v_last_start is null then
            select r.window_start_time, r.window_end_time into v_last_start, v_next_start
            from record_ledger.record as r
            where r.pipeline_id = s.pipeline_id
                and r.window_start_time >= v_horizon - s.granularity * 2
            order by r.window_start_time desc
            limit 1;
            exit usual when not found;
        end if;
        v_is_due := v_next_start < v_horizon;
        p := s.whole;
        if f.waiting is null and not v_is_due then
            exit usual when f.first_lane is not null;
            exit_dag := true;
            verdict := 'NO_RECORDS';
            reason := record_ledger.no_records_reason(p, v_next_start, v_now);
            return;
        end if;
        -- What the look has found stands where no other session had the lock since. Operations change the pipeline's
        -- row. And a pass takes the first waiting record from here, unless some were in progress: their claims end
        -- without the lock, and they may come first now.
        perform
        from record_ledger.pipeline as q
        where q.pipeline_id = p.pipeline_id and q.xmin = s.row_version
        for no key update;
        exit usual when not found;
        v_now := record_ledger.clock();
        if f.first_lane is not null then
            select
                (
                    select a.window_start_time
                    from record_ledger.record as a
                    where a.open_pipeline_id = s.pipeline_id and a.lane = 'active'
                        and a.window_start_time >= f.active_mark
                    order by a.window_start_time
                    limit 1
                ),
                (
                    select o.lane
                    from record_ledger.record as o
                    where o.open_pipeline_id = s.pipeline_id and o.lane > 'active'
                        and o.lane < 'waiting'
                    order by o.lane
                    limit 1
                ),
                exists (
                    select
                    from record_ledger.claim as c
                    where c.pipeline_id = s.pipeline_id and c.claim_token > f.newest_token
                )
            into v_first_active, v_other_lane, v_has_passed;
            exit usual when v_other_lane is not null or v_has_passed
                or v_now < f.lease_mark is not true;
        end if;
        v_horizon := v_now - p.x_time_back;
        if v_is_due then
            v_window := record_ledger.next_window(v_next_start, p.granularity, p.timezone);
            -- More than one is due.
            exit usual when v_window.window_end_time < v_horizon;
            insert into record_ledger.record (
                pipeline_id,
                window_start_time,
                window_end_time,
                previous_window_start_time,
                target_day,
                fields,
                config_version,
                lane,
                open_pipeline_id,
                created_at,
                updated_at
            )
            values (
                p.pipeline_id,
                v_next_start,
                v_window.window_end_time,
                v_last_start,
                v_window.target_day,
                p.fields,
                p.config_version,
                'waiting',
                p.pipeline_id,
                v_now,
                v_now
            )
            -- Another session has stored it meanwhile.
            on conflict do nothing;
            if f.waiting is null then
                f.waiting := array[v_next_start, v_window.window_end_time];
            end if;
        end if;
        exit usual when f.waiting[2] > v_horizon or f.waiting[1] < p.zone_since;
        if p.fields_version > 1 then
            select r.config_version into v_version
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.window_start_time = f.waiting[1];
            exit usual when v_version >= p.fields_version is not true;
        end if;
        v_token := record_ledger.next_claim_token(f.newest_token, v_now);
        exit usual when v_token >= 9007199254740992;
        v_timezone := set_config('timezone', p.timezone, true);
        update record_ledger.record as u
        set attempt = u.attempt + 1,
            claim_token = v_token,
            run_id = store_new_and_pass_valid_record.run_id,
            lease_expires_at = v_now + p.lease,
            needs_counts = p.required_counts is not null,
            last_event = 'passed',
            last_detail = null,
            updated_at = v_now
        where u.pipeline_id = p.pipeline_id and u.window_start_time = f.waiting[1]
            and u.lane = 'waiting'
        returning record_ledger.record_object(u), u.attempt into record, v_attempt;
        -- Another run was passed it.
        exit usual when not found;
        insert into record_ledger.claim (
            pipeline_id,
            claim_token,
            window_start_time,
            bound_run_id,
            waiting_mark,
            active_mark,
            historical_mark,
            returned_mark,
            retry_mark,
            lease_mark,
            others_seen_at,
            historical_credit
        )
        values (
            p.pipeline_id,
            v_token,
            f.waiting[1],
            store_new_and_pass_valid_record.run_id,
            f.waiting[1],
            least(v_first_active, f.waiting[1]),
            v_now,
            v_now,
            v_now,
            case
                when v_first_active is null then v_now + p.lease
                else least(f.lease_mark, v_now + p.lease)
            end,
            f.others_seen_at,
            f.historical_credit
        );
        exit_dag := false;
        verdict := 'READY';
        reason := concat(
            'window ', record ->> 'window_start_time', ' is passed',
            ' to run ' || store_new_and_pass_valid_record.run_id,
            ', attempt ', v_attempt, ' of ', p.max_attempts
        );
        return;
    end loop;

    -- ---------------------------------------------------------------- all others
    -- A config that is in force was validated before: comparing it is all that most calls do.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        store_new_and_pass_valid_record.config ->> 'pipeline_id',
        store_new_and_pass_valid_record.config #>> '{default_record,pipeline_id}'
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
                p, store_new_and_pass_valid_record.run_id, v_now
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
        p, store_new_and_pass_valid_record.run_id, v_now, built
    );
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
    if exit_dag and p.has_templates and (v_answer.awaits_build or built <> '[]') then
        -- Another config was registered meanwhile, or other runs were passed what was rendered: asked for again.
        v_answer := record_ledger.next_answer(p, store_new_and_pass_valid_record.run_id, v_now);
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
comment on function record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb) is
'The whole cycle in one statement: register, store, collect expired leases, pass. (exit_dag, verdict, reason, record, to_build).';
