-- record_ledger.next_answer: what a pass would answer to a run at an instant, without passing anything.
-- READY with the record's window, or why there is none; the routine that passes and the views ask here, so they agree.
-- Read by: pass_record, pass_valid_record, store_new_and_pass_valid_record, oldest_valid_record, pipeline_progress.
-- Rules: is_stable, retry_time, lane_heads, record_verdict.
create or replace function record_ledger.next_answer(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    out verdict text,
    -- Null when READY.
    out reason text,
    out ready_at timestamptz,
    out window_start_time timestamptz,
    -- The marks of the pipeline's newest pass.
    out live_mark timestamptz,
    out active_mark timestamptz
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
#variable_conflict use_column
declare
    r record_ledger.record;
    v_active_count bigint := 0;
    v_earliest_open timestamptz;
    v_candidate record;
begin
    select c.live_mark, c.active_mark into next_answer.live_mark, next_answer.active_mark
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id
    order by c.claim_token desc
    limit 1;
    if p.max_active_records is not null then
        select count(*) into v_active_count
        from record_ledger.record as a
        where a.pipeline_id = p.pipeline_id and a.lane = 'active'
            and a.window_start_time >= coalesce(next_answer.active_mark, '-infinity')
            and a.lease_expires_at > as_of;
    end if;
    if p.depends_on_past then
        select min(h.window_start_time) into v_earliest_open
        from record_ledger.lane_heads(p.pipeline_id, next_answer.live_mark, next_answer.active_mark) as h;
    end if;

    -- A run that had a record gets that one or none: a retried task never takes a second window.
    if next_answer.run_id is not null then
        select c.window_start_time into next_answer.window_start_time
        from record_ledger.claim as c
        where c.pipeline_id = p.pipeline_id and c.bound_run_id = next_answer.run_id;
        if found then
            select b.* into r
            from record_ledger.record as b
            where b.pipeline_id = p.pipeline_id and b.window_start_time = next_answer.window_start_time;
            if r.status in ('COMPLETED', 'WAIVED') then
                verdict := 'ALREADY_DONE';
                reason := format(
                    'run %s was passed window %s, which is %s', next_answer.run_id,
                    record_ledger.local_time(r.window_start_time, p.timezone), r.status
                );
            elsif r.status = 'IN_PROGRESS' and r.run_id = next_answer.run_id and r.lease_expires_at > as_of then
                verdict := 'READY';
            else
                -- Its own backoff does not keep the run that failed from trying again.
                r.retry_at := null;
                select v.* into verdict, reason, ready_at
                from record_ledger.record_verdict(r, p, v_earliest_open, v_active_count, as_of) as v;
            end if;
            return;
        end if;
    end if;

    if p.paused_at is null and v_active_count < coalesce(p.max_active_records, 2147483647) then
        -- The oldest of three: the next one in order, one that is pending again, one whose lease the next pass collects.
        select a.window_start_time, a.window_end_time into v_candidate
        from (
            (
                select l.window_start_time, l.window_end_time
                from record_ledger.record as l
                where l.pipeline_id = p.pipeline_id and l.lane = 'live'
                    and l.window_start_time >= coalesce(next_answer.live_mark, '-infinity')
                order by l.window_start_time
                limit 1
            )
            union all
            (
                select b.window_start_time, b.window_end_time
                from record_ledger.record as b
                where b.pipeline_id = p.pipeline_id and b.lane = 'returned'
                    and (b.retry_at is null or b.retry_at <= as_of)
                order by b.window_start_time
                limit 1
            )
            union all
            (
                select e.window_start_time, e.window_end_time
                from record_ledger.record as e
                where e.pipeline_id = p.pipeline_id and e.lane = 'active'
                    and e.window_start_time >= coalesce(next_answer.active_mark, '-infinity')
                    and e.lease_expires_at <= as_of
                    and e.attempt < p.max_attempts
                    and e.missing_fields is null
                    and record_ledger.retry_time(e.lease_expires_at, e.attempt, p.retry_delay) <= as_of
                order by e.window_start_time
                limit 1
            )
        ) as a
        order by a.window_start_time
        limit 1;
        -- Checked after the fetch: when the oldest has not settled, no later one has.
        if record_ledger.is_stable(v_candidate.window_end_time, p.x_time_back, as_of)
            and not (p.depends_on_past and v_earliest_open < v_candidate.window_start_time)
        then
            verdict := 'READY';
            window_start_time := v_candidate.window_start_time;
            return;
        end if;
    end if;

    -- Nothing to pass: the oldest pending record says why, else the oldest in progress, else the oldest failed one.
    select o.* into r
    from (
        select h.window_start_time
        from record_ledger.lane_heads(p.pipeline_id, next_answer.live_mark, next_answer.active_mark) as h
        order by case h.lane when 'active' then 2 when 'failed' then 3 else 1 end, h.window_start_time
        limit 1
    ) as h
    join record_ledger.record as o on o.pipeline_id = p.pipeline_id and o.window_start_time = h.window_start_time;
    if found then
        select v.* into verdict, reason, ready_at
        from record_ledger.record_verdict(r, p, v_earliest_open, v_active_count, as_of) as v;
    else
        verdict := 'NO_RECORDS';
        reason := record_ledger.no_records_reason(p, as_of);
    end if;
end
$$;
comment on function record_ledger.next_answer(record_ledger.pipeline, text, timestamptz) is
'What a pass would answer to a run at an instant: READY and the window, or the verdict and the reason why there is none.';
