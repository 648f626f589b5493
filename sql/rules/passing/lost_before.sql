-- record_ledger.lost_before: up to where records are lost; null when none of them waits to be waived.
-- All windows that start before it are past their deadline. Windows end in the order in which they start, so the lost
-- ones are the first of every lane. A record in progress belongs to its run until its lease has run out; then it waits,
-- too.
-- Called by: next_answer.
-- Uses: expired_claims, is_lost, stuck_heads.
-- Tests: test_retention.py.
create or replace function record_ledger.lost_before(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete; null when there is none.
    oldest_pending timestamptz,
    -- Before it no lease ends; null when that is not known.
    lease_mark timestamptz,
    has_expired boolean,
    as_of timestamptz
)
returns timestamptz
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_oldest timestamptz := oldest_pending;
    v_last record;
    v_lost_before timestamptz;
begin
    select least(v_oldest, min(h.window_start_time)) into v_oldest
    from record_ledger.stuck_heads(p.pipeline_id) as h;
    -- Of those in progress only the expired ones count.
    if has_expired then
        select least(v_oldest, min(e.window_start_time)) into v_oldest
        from record_ledger.expired_claims(p.pipeline_id, lost_before.lease_mark, as_of) as e;
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
    record_ledger.pipeline, timestamptz, timestamptz, boolean, timestamptz
) is
'Private. Up to where the records of a pipeline are lost; null when none of them waits to be waived.';
