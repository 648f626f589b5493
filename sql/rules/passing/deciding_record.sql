-- record_ledger.deciding_record: the open record whose verdict a pass exits with when it passes nothing.
-- It is the oldest pending one, else the oldest in progress, else the oldest failed one; null when none is open. A
-- record whose lease has run out counts as the next pass will leave it: pending again, or failed. Lost records are
-- skipped, because the next pass waives them.
-- Called by: next_answer.
-- Uses: expired_claims, retry_time, stuck_heads.
-- Tests: test_verdicts.py.
create or replace function record_ledger.deciding_record(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete; null when there is none.
    oldest_pending timestamptz,
    first_active timestamptz,
    -- Before it no lease ends; null when none has run out.
    lease_mark timestamptz,
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
    v_start timestamptz := oldest_pending;
    v_failed timestamptz;
    v_expired timestamptz[] := '{}';
    v_other record;
begin
    if lease_mark is not null then
        v_expired := array(
            select e.window_start_time
            from record_ledger.expired_claims(p.pipeline_id, deciding_record.lease_mark, as_of)
                as e
        );
        select e.* into r
        from record_ledger.expired_claims(p.pipeline_id, deciding_record.lease_mark, as_of) as e
        where e.window_start_time >= coalesce(deciding_record.lost_before, '-infinity')
            and e.attempt < p.max_attempts and e.cancellation is null
        order by e.window_start_time
        limit 1;
    end if;
    if p.fields_version > 1 or p.check_fields <> '{}' or v_start is null then
        select
            min(h.window_start_time) filter (where h.lane <> 'failed') as incomplete,
            min(h.window_start_time) filter (where h.lane = 'failed') as failed
        into v_other
        from record_ledger.stuck_heads(p.pipeline_id, deciding_record.lost_before) as h;
        v_start := least(v_start, v_other.incomplete);
    end if;
    if r.window_start_time < v_start or v_start is null and r.pipeline_id is not null then
        r.status := 'PENDING';
        r.retry_at := record_ledger.retry_time(
            r.lease_expires_at, r.attempt, r.window_end_time, p
        );
        r.last_detail := null;
        return r;
    end if;
    if v_start is null and first_active is not null then
        v_start := (
            select a.window_start_time
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.window_start_time >= deciding_record.first_active
                and a.window_start_time <> all (v_expired)
            order by a.window_start_time
            limit 1
        );
    end if;
    if v_start is null then
        v_start := least(
            v_other.failed,
            (
                select min(e.window_start_time)
                from unnest(v_expired) as e (window_start_time)
                where e.window_start_time >= coalesce(deciding_record.lost_before, '-infinity')
            )
        );
    end if;
    select o.* into r
    from record_ledger.record as o
    where o.pipeline_id = p.pipeline_id and o.window_start_time = v_start;
    if r.window_start_time = any (v_expired) then
        r.status := 'FAILED';
        r.last_detail := r.cancellation;
        r.updated_at := as_of;
    end if;
    return r;
end
$$;
comment on function record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. The open record whose verdict a pass exits with when it passes nothing.';
