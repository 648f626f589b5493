-- record_ledger.next_answer: what a pass would answer to a run at an instant, without passing anything.
-- READY with the record's window, or why there is none; the routines that pass and the views ask here, so they agree.
-- Read by: pass_record, pass_valid_record, store_new_and_pass_valid_record, batch_to_build, pipeline_answer.
-- Rules: is_stable, lost_before, next_candidate, deciding_record, record_verdict.
create or replace function record_ledger.next_answer(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    out verdict text,
    -- Null when READY.
    out reason text,
    out ready_at timestamptz,
    out window_start_time timestamptz,
    -- The record that the run is bound to.
    out bound_window timestamptz,
    -- Leases that have run out wait to be collected.
    out has_expired boolean,
    -- Records before this instant are lost, and some wait to be waived; null when none does.
    out lost_before timestamptz,
    -- The oldest record in progress.
    out first_active timestamptz,
    -- What the claim notes when this answer is passed: where the lane 'waiting' begins after it, where the records in
    -- progress begin, and what historical records are owed, in passes.
    out waiting_mark timestamptz,
    out active_mark timestamptz,
    out historical_credit numeric,
    -- Of the pipeline's newest claim: the next one's is greater.
    out newest_token bigint,
    -- READY, and the record is to be built first: with an older config, or never, it was not what is in force now.
    out is_outdated boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_verdict record;
    v_active_count bigint := 0;
    v_earliest_open timestamptz;
    v_start timestamptz;
    v_end timestamptz;
    v_oldest timestamptz;
    v_lane text;
begin
    -- The marks of the newest pass, and the record that the run is bound to if it is.
    select
        c.waiting_mark,
        c.active_mark,
        c.historical_credit,
        c.claim_token,
        (
            select b.window_start_time
            from record_ledger.claim as b
            where b.pipeline_id = p.pipeline_id and b.bound_run_id = next_answer.run_id
        )
    into
        next_answer.waiting_mark,
        next_answer.active_mark,
        next_answer.historical_credit,
        next_answer.newest_token,
        next_answer.bound_window
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id
    order by c.claim_token desc
    limit 1;
    has_expired := false;
    is_outdated := false;
    -- Most pipelines have nothing in progress and nothing in any of the rare lanes: one look finds out.
    select o.lane, o.window_start_time into v_lane, next_answer.first_active
    from record_ledger.record as o
    where o.open_pipeline_id = p.pipeline_id and o.lane < 'waiting'
        and (o.lane, o.window_start_time)
            >= ('active', coalesce(next_answer.active_mark, '-infinity'))
    order by o.lane, o.window_start_time
    limit 1;
    if v_lane <> 'active' then
        first_active := null;
    elsif v_lane is not null then
        select r.lane into v_lane
        from record_ledger.record as r
        where r.open_pipeline_id = p.pipeline_id and r.lane > 'active' and r.lane < 'waiting'
        order by r.lane
        limit 1;
        has_expired := exists (
            select
            from record_ledger.record as e
            where e.open_pipeline_id = p.pipeline_id and e.lane = 'active'
                and e.window_start_time >= next_answer.first_active and e.lease_expires_at <= as_of
        );
        if p.max_active_records is not null then
            select count(*) into v_active_count
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.window_start_time >= next_answer.first_active and a.lease_expires_at > as_of;
        end if;
    end if;
    if p.source_retention is not null then
        lost_before := record_ledger.lost_before(
            p, next_answer.waiting_mark, case when has_expired then first_active end, as_of
        );
    end if;
    if p.depends_on_past then
        select min(h.window_start_time) into v_earliest_open
        from record_ledger.lane_heads(
            p.pipeline_id,
            next_answer.waiting_mark,
            next_answer.active_mark,
            next_answer.lost_before
        ) as h
        where h.lane <> 'active' or next_answer.lost_before is null;
        if lost_before is not null then
            -- A lost record in progress holds up later ones for as long as its lease runs.
            select least(v_earliest_open, min(a.window_start_time)) into v_earliest_open
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.window_start_time >= next_answer.first_active
                and (
                    a.lease_expires_at > as_of
                    or a.window_start_time >= next_answer.lost_before
                );
        end if;
    end if;

    -- A run that had a record gets that one or none: a retried task never takes a second window.
    if next_answer.bound_window is not null then
        next_answer.window_start_time := next_answer.bound_window;
        select b.* into r
        from record_ledger.record as b
        where b.pipeline_id = p.pipeline_id and b.window_start_time = next_answer.bound_window;
        -- A record that is gone from here was archived, and only finished ones are.
        if coalesce(r.status, 'archived') in ('COMPLETED', 'WAIVED', 'archived') then
            verdict := 'ALREADY_DONE';
            reason := format(
                'run %s was passed window %s, which is %s', next_answer.run_id,
                record_ledger.local_time(
                    next_answer.bound_window,
                    record_ledger.window_timezone(p, next_answer.bound_window)
                ),
                coalesce(r.status, 'archived')
            );
            return;
        end if;
        if r.status = 'IN_PROGRESS'
            and r.run_id = next_answer.run_id
            and r.lease_expires_at > as_of
            -- No run is passed a cancelled record before it is reopened.
            and r.cancellation is null
        then
            verdict := 'READY';
            return;
        end if;
        -- Its own backoff does not keep the run that failed from trying again. A time that it named does.
        if r.postponement is null then
            r.retry_at := null;
        end if;
    else
        -- The next one in order, ...
        select w.* into r
        from record_ledger.record as w
        where w.open_pipeline_id = p.pipeline_id and w.lane = 'waiting'
            and w.window_start_time >= coalesce(
                greatest(next_answer.waiting_mark, next_answer.lost_before), '-infinity'
            )
        order by w.window_start_time
        limit 1;
        v_oldest := r.window_start_time;
        -- Where default_record leaves check_fields empty, only what a caller has filled may come next.
        if p.missing_fields is null then
            v_start := v_oldest;
            v_end := r.window_end_time;
        end if;
        -- ... unless some wait elsewhere.
        if v_lane is not null or has_expired or p.filled_from is not null then
            select n.window_start_time, n.window_end_time, n.historical_credit
            into v_start, v_end, next_answer.historical_credit
            from record_ledger.next_candidate(
                p,
                v_start,
                v_end,
                case when has_expired then next_answer.first_active end,
                coalesce(next_answer.historical_credit, 0),
                next_answer.lost_before,
                as_of
            ) as n;
        end if;
        -- When the one that comes next has not settled, no later one has.
        if record_ledger.is_stable(v_end, p.x_time_back, as_of)
            and p.paused_at is null
            and v_active_count < coalesce(p.max_active_records, 2147483647)
            and (not p.depends_on_past or v_earliest_open >= v_start)
        then
            verdict := 'READY';
            window_start_time := v_start;
            -- The mark of a lane says that nothing is before it, and lost ones are that still wait to be waived.
            if v_start = v_oldest and lost_before is null then
                waiting_mark := v_start;
            end if;
            -- Nothing is outdated where nothing has changed and nothing has to be rendered.
            if p.fields_version > 1 or p.has_templates then
                if v_start is distinct from v_oldest then
                    select c.config_version into r.config_version
                    from record_ledger.record as c
                    where c.pipeline_id = p.pipeline_id and c.window_start_time = v_start;
                end if;
                is_outdated := coalesce(r.config_version < p.fields_version, true);
            end if;
            return;
        end if;

        -- Nothing to pass: the oldest pending record says why, else the oldest in progress, else the oldest failed one.
        if v_lane is not null or has_expired then
            r := record_ledger.deciding_record(
                p, v_oldest, next_answer.first_active, next_answer.lost_before, as_of
            );
        elsif v_oldest is null and next_answer.first_active is not null then
            select o.* into r
            from record_ledger.record as o
            where o.pipeline_id = p.pipeline_id
                and o.window_start_time = next_answer.first_active;
        end if;
        if r.pipeline_id is null then
            verdict := 'NO_RECORDS';
            reason := record_ledger.no_records_reason(p, as_of);
            return;
        end if;
    end if;
    v_verdict := record_ledger.record_verdict(r, p, v_earliest_open, v_active_count, as_of);
    verdict := v_verdict.verdict;
    reason := v_verdict.reason;
    ready_at := v_verdict.ready_at;
    is_outdated := verdict = 'READY' and coalesce(r.config_version < p.fields_version, true);
end
$$;
comment on function record_ledger.next_answer(record_ledger.pipeline, text, timestamptz) is
'What a pass would answer to a run at an instant: READY and the window, or the verdict and the reason why there is none.';
