-- record_ledger.next_answer: what a pass would answer to a run at an instant, without passing anything.
-- READY with the record's window, or why there is none; the routines that pass and the views ask here, so they agree.
-- Where the first look finds none outside the lanes 'waiting' and 'active', the first waiting record comes next.
-- Called by: batch_to_build, pass_record, pass_valid_record, pipeline_answer, register_store_and_pass.
-- Uses: deciding_record, earliest_open, first_look, first_open, first_waiting, incomplete_lanes, is_outdated,
--   is_stable, lane_heads, local_time, lost_before, next_candidate, next_window_start, no_records_reason,
--   record_verdict, window_timezone.
-- Tests: test_passing.py, test_verdicts.py, test_order.py.
create or replace function record_ledger.next_answer(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    -- Leases that have run out were collected just now: what is left of them is the next pass's.
    is_collected boolean default false,
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
    -- Of the pipeline's newest claim: the next one's is greater.
    out newest_token bigint,
    -- What the claim notes when this answer is passed, as first_look says; a lease_mark where some are in progress.
    out waiting_mark timestamptz,
    out historical_mark timestamptz,
    out returned_mark timestamptz,
    out retry_mark timestamptz,
    out lease_mark timestamptz,
    out others_seen_at timestamptz,
    -- And what historical records are owed, in passes.
    out historical_credit numeric,
    -- READY, and no record before this one waits in order.
    out is_first boolean,
    -- READY, and no other record is in progress, and none pending but those that wait in order after this one.
    out is_alone boolean,
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
    -- The first records of the lanes 'active', 'historical', 'retry', 'retryh' and 'returned'; the bounds of 'waiting'.
    v_heads timestamptz[];
    v_waiting timestamptz[];
    -- All other lanes that hold what can be passed are empty.
    v_is_usual boolean;
    v_active_mark timestamptz;
    v_is_looked_up boolean;
    v_first_lane text;
begin
    select
        l.newest_token,
        l.historical_credit,
        l.waiting_mark,
        l.active_mark,
        l.historical_mark,
        l.returned_mark,
        l.retry_mark,
        l.lease_mark,
        l.others_seen_at,
        l.bound_window,
        l.line
    into
        next_answer.newest_token,
        next_answer.historical_credit,
        next_answer.waiting_mark,
        v_active_mark,
        next_answer.historical_mark,
        next_answer.returned_mark,
        next_answer.retry_mark,
        next_answer.lease_mark,
        next_answer.others_seen_at,
        next_answer.bound_window,
        v_waiting
    from record_ledger.first_look(
        p.pipeline_id, p.marks_void_at, p.granularity, next_answer.run_id
    ) as l
    order by l.newest_token desc
    limit 1;
    -- Failed ones may be open before it.
    v_is_looked_up := v_waiting[1] < v_waiting[2] and not p.depends_on_past;
    if v_is_looked_up is not true then
        -- Old snapshots may keep the entries of lanes that held records within a day. It is a day of the server's, as
        -- snapshots know no other time.
        v_is_looked_up := newest_token is not null
            and others_seen_at > now() - interval '24:00:00' is not true;
        select o.waiting, o.first_lane
        into v_waiting, v_first_lane
        from record_ledger.first_open(
            p.pipeline_id,
            next_answer.waiting_mark,
            case when v_is_looked_up then v_active_mark end,
            p.granularity
        ) as o;
    end if;
    if v_waiting is null then
        v_waiting := record_ledger.first_waiting(p.pipeline_id, next_answer.waiting_mark);
    end if;
    is_outdated := false;
    is_first := false;
    is_alone := false;
    has_expired := false;
    if v_first_lane is null and v_is_looked_up and bound_window is null
        and coalesce(p.paused_at, p.filled_from) is null and p.missing_fields is null
        and p.source_retention is null
        and record_ledger.is_stable(v_waiting[2], p.x_time_back, as_of)
    then
        -- Nothing is open but what waits in order.
        verdict := 'READY';
        is_first := true;
        is_alone := true;
        window_start_time := v_waiting[1];
        waiting_mark := window_start_time;
        historical_mark := as_of;
        returned_mark := as_of;
        retry_mark := as_of;
        if p.fields_version > 1 or p.has_templates then
            is_outdated := record_ledger.is_outdated(p, window_start_time);
        end if;
        return;
    end if;
    if not v_is_looked_up or v_first_lane is not null then
        v_heads := array(
            select (
                    select o.window_start_time
                    from record_ledger.record as o
                    where o.open_pipeline_id = p.pipeline_id and o.lane = l.lane
                        and o.window_start_time >= coalesce(l.mark, '-infinity')
                    order by o.window_start_time
                    limit 1
                )
            from (
                values
                    ('active', v_active_mark),
                    ('historical', next_answer.historical_mark),
                    ('retry', next_answer.retry_mark),
                    ('retryh', next_answer.retry_mark),
                    ('returned', next_answer.returned_mark)
            ) as l (lane, mark)
        );
    end if;
    first_active := v_heads[1];
    if coalesce(v_heads[2], v_heads[3], v_heads[4], v_heads[5]) is not null
        or v_first_lane <> 'active'
    then
        others_seen_at := now();
    end if;
    if first_active is not null and as_of < lease_mark is not true then
        lease_mark := (
            select e.lease_expires_at
            from record_ledger.record as e
            where e.open_pipeline_id = p.pipeline_id and e.lane = 'active'
                and e.lease_expires_at >= coalesce(next_answer.lease_mark, '-infinity')
            order by e.lease_expires_at
            limit 1
        );
        has_expired := lease_mark <= as_of and not is_collected;
    end if;
    if first_active is not null and p.max_active_records is not null then
        -- Beyond a limit that was lowered, a thousand are enough to tell.
        select count(*) into v_active_count
        from (
            select
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.lease_expires_at > as_of
            limit p.max_active_records + 1000
        ) as a;
    end if;
    if p.source_retention is not null then
        lost_before := record_ledger.lost_before(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            case when has_expired then lease_mark end,
            has_expired,
            as_of
        );
    end if;
    if lost_before is null then
        -- A mark says that nothing is before it, and lost ones are that still wait to be waived.
        -- An empty lane begins after all windows so far.
        historical_mark := coalesce(v_heads[2], as_of);
        retry_mark := coalesce(least(v_heads[3], v_heads[4]), as_of);
        returned_mark := coalesce(v_heads[5], as_of);
    else
        -- The first ones that are not lost.
        v_heads := first_active || array(
            select (
                    select min(h.window_start_time)
                    from record_ledger.lane_heads(
                        p.pipeline_id, lost_before => next_answer.lost_before
                    ) as h
                    where h.lane = l.lane
                )
            from unnest(array['historical', 'retry', 'retryh', 'returned']) as l (lane)
        );
        v_waiting := record_ledger.first_waiting(
            p.pipeline_id, greatest(waiting_mark, lost_before)
        );
    end if;
    v_is_usual := not has_expired and p.filled_from is null
        and coalesce(v_heads[2], v_heads[3], v_heads[4], v_heads[5]) is null;
    if p.depends_on_past then
        v_earliest_open := record_ledger.earliest_open(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            first_active,
            lost_before,
            as_of
        );
    end if;

    -- A run that had a record gets that one or none: a retried task never takes a second window.
    if bound_window is not null then
        window_start_time := bound_window;
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
        -- Where default_record leaves check_fields empty, only what a caller has filled may come next.
        if p.missing_fields is null then
            v_start := v_waiting[1];
            v_end := v_waiting[2];
        end if;
        -- The next one in order, unless some wait elsewhere.
        if not v_is_usual
            or p.fields_version > 1 and exists (
                select
                from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version)
            )
        then
            select n.window_start_time, n.window_end_time, n.historical_credit
            into v_start, v_end, next_answer.historical_credit
            from record_ledger.next_candidate(
                p,
                v_start,
                v_end,
                v_heads[2:],
                case when has_expired then coalesce(next_answer.lease_mark, '-infinity') end,
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
            if v_start = v_waiting[1] and lost_before is null then
                waiting_mark := v_start;
                is_first := true;
                is_alone := v_is_usual and first_active is null
                    and not exists (
                        select from record_ledger.incomplete_lanes(p.pipeline_id)
                    );
            end if;
            -- Nothing is outdated where nothing has changed and nothing has to be rendered.
            if p.fields_version > 1 or p.has_templates then
                is_outdated := record_ledger.is_outdated(p, v_start);
            end if;
            return;
        end if;

        -- Nothing to pass: the oldest pending record says why, else the oldest in progress, else the oldest failed one.
        r := record_ledger.deciding_record(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            first_active,
            case when has_expired then coalesce(lease_mark, '-infinity') end,
            lost_before,
            as_of
        );
        if r.pipeline_id is null then
            verdict := 'NO_RECORDS';
            reason := record_ledger.no_records_reason(
                p, record_ledger.next_window_start(p, as_of), as_of
            );
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
comment on function record_ledger.next_answer(
    record_ledger.pipeline, text, timestamptz, boolean
) is
'What a pass would answer to a run at an instant: READY and the window, or the verdict and the reason why there is none.';
