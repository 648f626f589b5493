-- record_ledger.next_candidate: which of a pipeline's pending records comes next, when not all wait in order.
-- Oldest first; with a backfill_share, backfilled and reopened records take turns with live ones while both are stable:
-- a credit grows by the share per such pass, and at 1 it is spent on a historical record. So of n passes they get
-- floor(n * share) at least, and live windows floor(n * (1 - share)). With pass_order 'deadline', the older of both
-- goes first while it is at risk, whosever turn it is; such a pass is nobody's turn.
-- Outdated records are complete where default_record fills all check_fields, and only current ones may be elsewhere.
-- Read by: next_answer. Rules: oldest_due, incomplete_lanes, is_stable, is_at_risk, retry_time.
create or replace function record_ledger.next_candidate(
    p record_ledger.pipeline,
    -- The oldest record of the lane 'waiting', if there is one that default_record completes.
    live_start timestamptz,
    live_end timestamptz,
    -- Where expired leases are looked for; null when none has expired.
    first_active timestamptz,
    credit numeric,
    -- What starts before it is passed over; null when nothing is lost.
    lost_before timestamptz,
    as_of timestamptz,
    out window_start_time timestamptz,
    out window_end_time timestamptz,
    out historical_credit numeric
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_past_start timestamptz;
    v_past_end timestamptz;
    v_lane text;
    v_other record;
    v_kinds boolean[] := '{}';
    v_live_is_stable boolean;
    v_past_is_stable boolean;
    -- Where default_record leaves check_fields empty, only what a caller has filled with its own fields is complete.
    v_built_since constant integer := case
        when p.missing_fields is not null then p.fields_version
    end;
    v_from constant timestamptz := coalesce(
        greatest(
            lost_before,
            case when p.missing_fields is not null then coalesce(p.filled_from, 'infinity') end
        ),
        '-infinity'
    );
    -- Where none has expired, nothing is read: not even the entries of records that were in progress.
    v_from_active constant timestamptz := case
        when first_active is not null then greatest(first_active, lost_before)
    end;
begin
    historical_credit := credit;
    select b.window_start_time, b.window_end_time into v_past_start, v_past_end
    from record_ledger.oldest_due(
        p.pipeline_id, 'historical', v_from, as_of, v_built_since
    ) as b;
    select b.window_start_time, b.window_end_time into v_other
    from record_ledger.oldest_due(p.pipeline_id, 'returned', v_from, as_of, v_built_since) as b;
    if v_other.window_start_time < live_start or live_start is null then
        live_start := v_other.window_start_time;
        live_end := v_other.window_end_time;
    end if;
    if v_built_since is not null then
        select b.window_start_time, b.window_end_time into v_other
        from record_ledger.oldest_due(
            p.pipeline_id, 'waiting', v_from, as_of, v_built_since
        ) as b;
        if v_other.window_start_time < live_start or live_start is null then
            live_start := v_other.window_start_time;
            live_end := v_other.window_end_time;
        end if;
    elsif p.fields_version > 1 then
        -- Incomplete by an older config, and the one in force fills what was missing.
        for v_lane in
            select l.lane
            from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
        loop
            select b.window_start_time, b.window_end_time into v_other
            from record_ledger.oldest_due(p.pipeline_id, v_lane, v_from, as_of) as b;
            if right(v_lane, 1) = 'h' then
                if v_other.window_start_time < v_past_start or v_past_start is null then
                    v_past_start := v_other.window_start_time;
                    v_past_end := v_other.window_end_time;
                end if;
            elsif v_other.window_start_time < live_start or live_start is null then
                live_start := v_other.window_start_time;
                live_end := v_other.window_end_time;
            end if;
        end loop;
    end if;
    -- What the next pass takes back and could pass at once.
    for v_other in
        select e.is_historical, e.window_start_time, e.window_end_time
        from record_ledger.record as e
        where e.open_pipeline_id = p.pipeline_id and e.lane = 'active'
            and e.window_start_time >= v_from_active
            and e.lease_expires_at <= as_of
            and e.attempt < p.max_attempts and e.cancellation is null
            and case
                when e.config_version >= p.fields_version then e.missing_fields
                else p.missing_fields
            end is null
            and record_ledger.retry_time(e.lease_expires_at, e.attempt, e.window_end_time, p)
                <= as_of
        order by e.window_start_time
    loop
        if v_other.is_historical then
            if v_other.window_start_time < v_past_start or v_past_start is null then
                v_past_start := v_other.window_start_time;
                v_past_end := v_other.window_end_time;
            end if;
        elsif v_other.window_start_time < live_start or live_start is null then
            live_start := v_other.window_start_time;
            live_end := v_other.window_end_time;
        end if;
        v_kinds := v_kinds || v_other.is_historical;
        -- The oldest of each kind is enough, and without a share the oldest of all.
        exit when p.backfill_share = 0 or v_kinds @> '{t,f}';
    end loop;

    if p.backfill_share > 0 and v_past_start is not null and live_start is not null then
        v_live_is_stable := record_ledger.is_stable(live_end, p.x_time_back, as_of);
        v_past_is_stable := record_ledger.is_stable(v_past_end, p.x_time_back, as_of);
        if v_live_is_stable and v_past_is_stable
            and p.pass_order = 'deadline'
            and record_ledger.is_at_risk(least(v_past_end, live_end), p, as_of)
        then
            -- Below, the older one.
            null;
        elsif v_live_is_stable and v_past_is_stable then
            historical_credit := credit + p.backfill_share;
            if historical_credit >= 1 then
                historical_credit := historical_credit - 1;
                live_start := null;
            else
                v_past_start := null;
            end if;
        elsif v_past_is_stable then
            live_start := null;
        elsif v_live_is_stable then
            v_past_start := null;
        end if;
    end if;
    if v_past_start < live_start or live_start is null then
        window_start_time := v_past_start;
        window_end_time := v_past_end;
    else
        window_start_time := live_start;
        window_end_time := live_end;
    end if;
end
$$;
comment on function record_ledger.next_candidate(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz,
    numeric,
    timestamptz,
    timestamptz
) is
'Private. Which of a pipeline''s pending records comes next: oldest first, or by the backfill_share.';
