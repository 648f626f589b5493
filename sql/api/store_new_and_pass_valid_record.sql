-- record_ledger.store_new_and_pass_valid_record: the whole cycle in one statement and one commit.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- A config with templates is answered with to_build until the caller has rendered them and sends them back as built.
-- Most calls are alike: a config in force that asks for nothing special, and nothing open but records that wait in
-- order. Such a call costs what a session sets up for it: statements, look-ups, expressions. It is made of the fewest
-- here. Whatever is otherwise goes the long way, which begins anew.
-- Called by: record_ledger_runner, the Python runner, dbt, pass_valid_records.
-- Uses: clock, due_reason, first_look, first_open, first_waiting, is_run_id, is_safe_to_write, is_within_day,
--   last_window, next_claim_token, next_lease_mark, passed_reason, record_object, register_store_and_pass,
--   unstable_reason.
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
    v_now timestamptz;
    v_next_start timestamptz;
    v_pipeline_id text;
    v_row_version xid;
    v_x_time_back interval;
    v_granularity interval;
    v_zone_since timestamptz;
    v_marks_void_at bigint;
    v_timezone text;
    v_horizon timestamptz;
    -- The newest record of a pipeline that is on time starts after it.
    v_reach timestamptz;
    v_newest_start timestamptz;
    v_newest_end timestamptz;
    v_bound_window timestamptz;
    -- Of the pipeline's newest claim; while it is not known, 0, -1 or null.
    v_newest_token bigint;
    v_credit numeric;
    v_waiting_mark timestamptz;
    v_active_mark timestamptz;
    v_lease_mark timestamptz;
    v_others_seen_at timestamptz;
    -- The first record that waits in order.
    v_first_start timestamptz;
    v_first_end timestamptz;
    v_bounds timestamptz[];
    v_is_first boolean;
    v_first_lane text;
    v_first_active timestamptz;
    v_other_lane text;
    v_has_passed boolean;
    v_wall timestamp;
    v_token bigint;
    v_attempt integer;
    s record;
begin
    v_now := record_ledger.clock();
    v_pipeline_id := case
        when record_ledger.is_safe_to_write()
            and record_ledger.is_run_id(store_new_and_pass_valid_record.run_id)
            and built = '[]'
            then coalesce(
                config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
            )
    end;
    select
        '[]',
        q.xmin,
        q.x_time_back,
        v_now - q.x_time_back,
        v_now - q.x_time_back - q.granularity * 2,
        q.granularity,
        q.zone_since,
        coalesce(q.marks_void_at, 0),
        set_config('timezone', q.timezone, true)
    into
        to_build,
        v_row_version,
        v_x_time_back,
        v_horizon,
        v_reach,
        v_granularity,
        v_zone_since,
        v_marks_void_at,
        v_timezone
    from record_ledger.pipeline as q
    where q.pipeline_id = v_pipeline_id
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
        if v_zone_since is null then
            -- Nothing is stored, or nothing with this zone.
            select q.start_at into v_next_start
            from record_ledger.pipeline as q
            where q.pipeline_id = v_pipeline_id and q.xmin = v_row_version;
            exit usual when v_next_start >= v_horizon is not true
                or exists (select from record_ledger.last_window(v_pipeline_id));
            exit_dag := true;
            verdict := 'NO_RECORDS';
            reason := record_ledger.due_reason(v_next_start, v_x_time_back);
            return;
        end if;
        -- The newest record, which waits as a rule, and what the one before it tells: 0 that it waits, too; the token
        -- of its claim that nothing else is open and the newest one comes next; -1 that no other one waits in order.
        select
            true,
            'UNSTABLE',
            w.window_start_time,
            w.window_end_time,
            case when w.lane = 'waiting' and w.window_start_time >= v_zone_since then (
                select case
                        when r.lane = 'waiting' then 0
                        when r.lane is null and r.is_alone and r.claim_token > v_marks_void_at
                            then r.claim_token
                        when r.is_first then -1
                    end
                from record_ledger.record as r
                where r.pipeline_id = v_pipeline_id
                    and r.window_start_time = w.previous_window_start_time
            ) end,
            (
                select b.window_start_time
                from record_ledger.claim as b
                where b.pipeline_id = v_pipeline_id
                    and b.bound_run_id = store_new_and_pass_valid_record.run_id
            )
        into exit_dag, verdict, v_newest_start, v_newest_end, v_newest_token, v_bound_window
        from record_ledger.record as w
        where w.pipeline_id = v_pipeline_id and w.window_start_time >= v_reach
        order by w.window_start_time desc;
        if v_newest_token > 0 and v_bound_window is null and v_newest_end > v_horizon then
            -- When the first one has not settled, no later one has, and none is due. An idle pipeline may be asked
            -- every minute, and that costs no write.
            reason := record_ledger.unstable_reason(
                v_newest_start, v_newest_end, v_x_time_back, config ->> 'x_time_back'
            );
            return;
        end if;
        -- The run had a record, and gets that one or none; or several windows are due.
        exit usual when v_bound_window is not null or v_newest_start is null;
        if v_newest_token > 0 then
            v_first_start := v_newest_start;
            v_first_end := v_newest_end;
        else
            v_is_first := v_newest_token = -1;
            select
                l.newest_token,
                l.historical_credit,
                l.waiting_mark,
                l.active_mark,
                l.lease_mark,
                l.others_seen_at,
                l.line
            into
                v_newest_token,
                v_credit,
                v_waiting_mark,
                v_active_mark,
                v_lease_mark,
                v_others_seen_at,
                v_bounds
            from record_ledger.first_look(v_pipeline_id, v_marks_void_at, v_granularity, null) as l
            order by l.newest_token desc;
            v_first_start := v_bounds[1];
            v_first_end := v_bounds[2];
        end if;
        exit usual when v_first_start < v_zone_since;
        if v_first_start is null or v_first_end is null or v_first_end > v_horizon then
            -- Nothing was passed yet; or another lane held a record within a day.
            exit usual when v_newest_token is null
                or v_others_seen_at > now() - interval '24:00:00';
            if v_newest_end > v_horizon and v_is_first and v_now < v_lease_mark then
                -- Whatever is in progress, its lease runs; whether others are open is looked up below.
                v_first_lane := 'active';
                v_first_start := v_newest_start;
                v_first_end := v_newest_end;
            else
                select o.waiting, o.first_lane into v_bounds, v_first_lane
                from record_ledger.first_open(
                    v_pipeline_id, v_waiting_mark, v_active_mark, v_granularity
                ) as o;
                v_first_start := v_bounds[1];
                v_first_end := v_bounds[2];
            end if;
            -- Leases that run keep no run from being passed a record; any other lane may.
            exit usual when v_first_lane is not null
                and (v_first_lane <> 'active' or v_now < v_lease_mark is not true);
            if v_first_start is null then
                -- Read at one moment, and only where nothing was passed since the look: what was stored after it might
                -- be in progress by now, or wait elsewhere, and nothing would seem to be open.
                select
                    r.window_start_time,
                    r.window_end_time,
                    w.bounds[1],
                    w.bounds[2],
                    exists (
                        select
                        from record_ledger.claim as c
                        where c.pipeline_id = v_pipeline_id and c.claim_token > v_newest_token
                    )
                into v_newest_start, v_newest_end, v_first_start, v_first_end, v_has_passed
                from record_ledger.record as r
                cross join record_ledger.first_waiting(v_pipeline_id, v_waiting_mark) as w (bounds)
                where r.pipeline_id = v_pipeline_id and r.window_start_time >= v_reach
                order by r.window_start_time desc;
                exit usual when not found or v_has_passed;
                if v_first_start is null then
                    exit usual when v_first_lane is not null or v_newest_end < v_horizon;
                    verdict := 'NO_RECORDS';
                    reason := record_ledger.due_reason(v_newest_end, v_x_time_back);
                    return;
                end if;
            end if;
            exit usual when v_first_start < v_zone_since;
            if v_first_end > v_horizon then
                if v_first_lane is not null then
                    exit usual when exists (
                        select
                        from record_ledger.record as o
                        where o.open_pipeline_id = v_pipeline_id and o.lane > 'active'
                            and o.lane < 'waiting'
                    );
                end if;
                reason := record_ledger.unstable_reason(
                    v_first_start, v_first_end, v_x_time_back, config ->> 'x_time_back'
                );
                return;
            end if;
        end if;
        -- What the look has found stands where no other session had the lock since. Operations change the pipeline's
        -- row. And a pass takes the first waiting record from here, unless some were in progress: their claims end
        -- without the lock, and they may come first now.
        select
            q.fields,
            q.config_version,
            q.fields_version,
            q.lease,
            q.max_attempts,
            q.required_counts is not null as needs_counts,
            q.backfill_share > 0 as has_share
        into s
        from record_ledger.pipeline as q
        where q.pipeline_id = v_pipeline_id and q.xmin = v_row_version
        for no key update;
        exit usual when not found;
        v_now := record_ledger.clock();
        if v_first_lane is not null then
            select
                (
                    select a.window_start_time
                    from record_ledger.record as a
                    where a.open_pipeline_id = v_pipeline_id and a.lane = 'active'
                        and a.window_start_time >= v_active_mark
                    order by a.window_start_time
                    limit 1
                ),
                (
                    select o.lane
                    from record_ledger.record as o
                    where o.open_pipeline_id = v_pipeline_id and o.lane > 'active'
                        and o.lane < 'waiting'
                    order by o.lane
                    limit 1
                ),
                exists (
                    select
                    from record_ledger.claim as c
                    where c.pipeline_id = v_pipeline_id and c.claim_token > v_newest_token
                )
            into v_first_active, v_other_lane, v_has_passed;
            exit usual when v_other_lane is not null or v_has_passed
                or v_now < v_lease_mark is not true;
        end if;
        if v_newest_end < v_horizon then
            -- Its local time, as the time zone in force is the pipeline's.
            v_wall := v_newest_end;
            -- More than one is due, or a midnight or a change of clocks ends this one.
            exit usual when v_newest_end + v_granularity < v_now - v_x_time_back
                or not record_ledger.is_within_day(v_newest_end, v_wall, v_granularity, v_timezone);
        end if;
        if s.has_share and v_credit is null then
            select c.historical_credit into v_credit
            from record_ledger.claim as c
            where c.pipeline_id = v_pipeline_id and c.claim_token = v_newest_token;
        end if;
        v_token := record_ledger.next_claim_token(v_newest_token, v_now);
        update record_ledger.record as u
        set attempt = u.attempt + 1,
            claim_token = v_token,
            run_id = store_new_and_pass_valid_record.run_id,
            lease_expires_at = v_now + s.lease,
            is_first = true,
            is_alone = v_first_active is null,
            needs_counts = s.needs_counts,
            last_event = 'passed',
            last_detail = null,
            updated_at = v_now
        where u.pipeline_id = v_pipeline_id and u.window_start_time = v_first_start
            and u.lane = case when v_token < 9007199254740992 then 'waiting' end
            and u.config_version >= s.fields_version
        returning false, 'READY', record_ledger.record_object(u), u.attempt
        into exit_dag, verdict, record, v_attempt;
        -- Another run was passed it; or it is outdated, and to be built first.
        exit usual when not found;
        if v_wall is not null then
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
                v_pipeline_id,
                v_newest_end,
                v_newest_end + v_granularity,
                v_newest_start,
                v_wall::date,
                s.fields,
                s.config_version,
                'waiting',
                v_pipeline_id,
                v_now,
                v_now
            )
            -- Another session has stored it meanwhile.
            on conflict (pipeline_id, window_start_time) do nothing;
        end if;
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
            v_pipeline_id,
            v_token,
            v_first_start,
            store_new_and_pass_valid_record.run_id,
            v_first_start,
            least(v_first_active, v_first_start),
            v_now,
            v_now,
            v_now,
            record_ledger.next_lease_mark(v_first_active, v_lease_mark, v_now + s.lease),
            v_others_seen_at,
            coalesce(v_credit, 0)
        );
        reason := record_ledger.passed_reason(
            record, store_new_and_pass_valid_record.run_id, v_attempt, s.max_attempts
        );
        return;
    end loop;

    select l.exit_dag, l.verdict, l.reason, l.record, l.to_build
    into exit_dag, verdict, reason, record, to_build
    from record_ledger.register_store_and_pass(
        config, store_new_and_pass_valid_record.run_id, built
    ) as l;
end
$$;
comment on function record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb) is
'The whole cycle in one statement: register, store, collect expired leases, pass. (exit_dag, verdict, reason, record, to_build).';
