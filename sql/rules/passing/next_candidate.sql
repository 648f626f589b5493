-- record_ledger.next_candidate: which of a pipeline's pending records comes next, when not all wait in order.
-- The oldest comes first. With a backfill_share, backfilled and reopened records take turns with live ones: next_turn.
-- Where default_record fills all check_fields, outdated records are complete; otherwise only current ones can be.
-- Called by: next_answer.
-- Uses: expired_claims, incomplete_lanes, next_turn, oldest_due, retry_time.
-- Tests: test_order.py, test_deadline_order.py.
create or replace function record_ledger.next_candidate(
    p record_ledger.pipeline,
    -- The first record of the lane 'waiting', if default_record completes it.
    live_start timestamptz,
    live_end timestamptz,
    -- The first ones of the lanes 'historical', 'retry', 'retryh' and 'returned'.
    heads timestamptz[],
    -- Before it no lease ends; null when none has run out.
    lease_mark timestamptz,
    credit numeric,
    -- Records that start before it are skipped; null when none is lost.
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
    v_live timestamptz := live_start;
    v_live_end timestamptz := live_end;
    v_past timestamptz;
    v_past_end timestamptz;
    v_other record;
    v_is_past boolean;
    v_turn record;
    -- Where default_record leaves check_fields empty, only records that a caller has filled are complete.
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
begin
    historical_credit := credit;
    if v_built_since is null then
        v_past := heads[1];
        v_live := least(v_live, heads[4]);
    else
        v_past := record_ledger.oldest_due(
            p.pipeline_id, 'historical', v_from, as_of, v_built_since
        );
        v_live := least(
            record_ledger.oldest_due(p.pipeline_id, 'returned', v_from, as_of, v_built_since),
            record_ledger.oldest_due(p.pipeline_id, 'waiting', v_from, as_of, v_built_since)
        );
    end if;
    if heads[2] is not null then
        v_live := least(
            v_live,
            record_ledger.oldest_due(
                p.pipeline_id, 'retry', greatest(v_from, heads[2]), as_of, v_built_since
            )
        );
    end if;
    if heads[3] is not null then
        v_past := least(
            v_past,
            record_ledger.oldest_due(
                p.pipeline_id, 'retryh', greatest(v_from, heads[3]), as_of, v_built_since
            )
        );
    end if;
    if v_built_since is null and p.fields_version > 1 then
        -- Incomplete by an older config, while the config in force fills the missing fields.
        select
            min(d.window_start_time) filter (where l.lane not like '%h') as live,
            min(d.window_start_time) filter (where l.lane like '%h') as past
        into v_other
        from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
        cross join lateral record_ledger.oldest_due(
            p.pipeline_id, l.lane, v_from, as_of
        ) as d (window_start_time);
        v_live := least(v_live, v_other.live);
        v_past := least(v_past, v_other.past);
    end if;
    if lease_mark is not null then
        -- Records that the next pass takes back and could pass immediately.
        select
            min(e.window_start_time) filter (where not e.is_historical) as live,
            min(e.window_start_time) filter (where e.is_historical) as past
        into v_other
        from record_ledger.expired_claims(p.pipeline_id, next_candidate.lease_mark, as_of) as e
        where e.attempt < p.max_attempts and e.cancellation is null
            and e.window_start_time >= coalesce(next_candidate.lost_before, '-infinity')
            and case
                when e.config_version >= p.fields_version then e.missing_fields
                else p.missing_fields
            end is null
            and record_ledger.retry_time(e.lease_expires_at, e.attempt, e.window_end_time, p)
                <= as_of;
        v_live := least(v_live, v_other.live);
        v_past := least(v_past, v_other.past);
    end if;
    if v_live is distinct from live_start then
        v_live_end := (
            select r.window_end_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.window_start_time = v_live
        );
    end if;
    if v_past is not null then
        v_past_end := (
            select r.window_end_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.window_start_time = v_past
        );
    end if;

    v_is_past := v_past < v_live or v_live is null;
    if p.backfill_share > 0 and v_past is not null and v_live is not null then
        v_turn := record_ledger.next_turn(p, v_live, v_live_end, v_past, v_past_end, credit, as_of);
        v_is_past := v_turn.is_historical;
        historical_credit := v_turn.historical_credit;
    end if;
    if v_is_past then
        window_start_time := v_past;
        window_end_time := v_past_end;
    else
        window_start_time := v_live;
        window_end_time := v_live_end;
    end if;
end
$$;
comment on function record_ledger.next_candidate(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz[],
    timestamptz,
    numeric,
    timestamptz,
    timestamptz
) is
'Private. Which of a pipeline''s pending records comes next: oldest first, or by the backfill_share.';
