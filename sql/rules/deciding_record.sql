-- record_ledger.deciding_record: the open record whose verdict a pass exits with when it passes nothing.
-- The oldest pending one, else the oldest in progress, else the oldest failed one; null when none is open.
-- A record whose lease has run out comes as the next pass will leave it: pending again, or failed. Lost ones are passed
-- over, as the next pass waives them.
-- Read by: next_answer. Rules: lane_heads, retry_time.
create or replace function record_ledger.deciding_record(
    p record_ledger.pipeline,
    -- The oldest record of the lane 'waiting', and the oldest in progress; null when there is none.
    oldest_waiting timestamptz,
    first_active timestamptz,
    lost_before timestamptz,
    as_of timestamptz
)
returns record_ledger.record
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_start timestamptz;
    -- Where nothing waits or is in progress, nothing is read: not even the entries of records that did.
    v_waiting_from constant timestamptz := coalesce(oldest_waiting, 'infinity');
    v_from_active constant timestamptz := case
        when first_active is not null then greatest(first_active, lost_before)
    end;
begin
    select o.* into r
    from record_ledger.record as o
    where o.open_pipeline_id = p.pipeline_id and o.lane = 'active'
        and o.window_start_time >= v_from_active
        and o.lease_expires_at <= as_of and o.attempt < p.max_attempts and o.cancellation is null
    order by o.window_start_time
    limit 1;
    select min(h.window_start_time) into v_start
    from record_ledger.lane_heads(
        p.pipeline_id,
        v_waiting_from,
        lost_before => deciding_record.lost_before
    ) as h
    where h.lane not in ('active', 'failed');
    if r.window_start_time < v_start or v_start is null and r.pipeline_id is not null then
        r.status := 'PENDING';
        r.retry_at := record_ledger.retry_time(
            r.lease_expires_at, r.attempt, r.window_end_time, p
        );
        r.last_detail := null;
        return r;
    end if;
    if v_start is null then
        select o.window_start_time into v_start
        from record_ledger.record as o
        where o.open_pipeline_id = p.pipeline_id and o.lane = 'active'
            and o.window_start_time >= deciding_record.first_active and o.lease_expires_at > as_of
        order by o.window_start_time
        limit 1;
    end if;
    if v_start is null then
        select min(h.window_start_time) into v_start
        from record_ledger.lane_heads(
            p.pipeline_id,
            v_waiting_from,
            -- What is in progress has expired by now.
            coalesce(v_from_active, 'infinity'),
            deciding_record.lost_before
        ) as h;
    end if;
    select o.* into r
    from record_ledger.record as o
    where o.pipeline_id = p.pipeline_id and o.window_start_time = v_start;
    if r.status = 'IN_PROGRESS' and r.lease_expires_at <= as_of then
        r.status := 'FAILED';
        r.last_detail := r.cancellation;
        r.updated_at := as_of;
    end if;
    return r;
end
$$;
comment on function record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. The open record whose verdict a pass exits with when it passes nothing.';
