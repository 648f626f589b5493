-- record_ledger.lost_before: up to where records are lost; null when none of them waits to be waived.
-- All windows that start before it are past their deadline: they end in the order in which they start, so the lost ones
-- are the first of every lane. A record in progress waits once its lease has run out, before that it is its holder's.
-- Read by: next_answer. Rules: is_lost, lane_heads.
create or replace function record_ledger.lost_before(
    p record_ledger.pipeline,
    waiting_mark timestamptz,
    -- Where expired leases are looked for; null when none has expired.
    first_active timestamptz,
    as_of timestamptz
)
returns timestamptz
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_oldest timestamptz;
    v_last record;
    v_lost_before timestamptz;
begin
    -- Of those in progress only the expired ones count.
    select min(h.window_start_time) into v_oldest
    from record_ledger.lane_heads(p.pipeline_id, lost_before.waiting_mark, 'infinity') as h;
    if lost_before.first_active is not null then
        select least(v_oldest, min(e.window_start_time)) into v_oldest
        from record_ledger.record as e
        where e.open_pipeline_id = p.pipeline_id and e.lane = 'active'
            and e.window_start_time >= lost_before.first_active and e.lease_expires_at <= as_of;
    end if;
    -- A window that starts later than this ends later, too.
    if v_oldest is null or v_oldest >= as_of - p.source_retention then
        return null;
    end if;
    select r.window_start_time, r.window_end_time into v_last
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time < as_of - p.source_retention
    order by r.window_start_time desc
    limit 1;
    v_lost_before := case
        when record_ledger.is_lost(v_last.window_end_time, p.source_retention, as_of)
            then v_last.window_end_time
        else v_last.window_start_time
    end;
    return case when v_oldest < v_lost_before then v_lost_before end;
end
$$;
comment on function record_ledger.lost_before(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz
) is
'Private. Up to where the records of a pipeline are lost; null when none of them waits to be waived.';
