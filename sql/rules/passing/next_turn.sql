-- record_ledger.next_turn: whether a pass takes the next live record or the next historical one.
-- Without a backfill_share the older one goes first. With one, and only one of both stable, that one goes first. Where
-- both are stable, a credit grows by the share with each pass; at 1 a historical record takes the turn and the credit
-- drops by 1. So of n passes historical records get at least floor(n * share), and live ones at least floor(n * (1 -
-- share)). With pass_order 'deadline' the older of both goes first while it is at risk; such a pass changes no credit.
-- Called by: next_candidate, planned_passes.
-- Uses: is_at_risk, is_stable.
-- Tests: test_order.py, test_deadline_order.py, test_plan_agrees.py.
create or replace function record_ledger.next_turn(
    p record_ledger.pipeline,
    live_start timestamptz,
    live_end timestamptz,
    -- Of the historical one. A null start means that there is none of the kind.
    past_start timestamptz,
    past_end timestamptz,
    credit numeric,
    as_of timestamptz,
    out is_historical boolean,
    -- After this pass.
    out historical_credit numeric,
    -- The backfill_share chose between two that were stable.
    out is_shared boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_live_is_stable boolean;
    v_past_is_stable boolean;
begin
    historical_credit := credit;
    is_shared := false;
    is_historical := coalesce(past_start < live_start, live_start is null);
    if p.backfill_share > 0 and past_start is not null and live_start is not null then
        v_live_is_stable := record_ledger.is_stable(live_end, p.x_time_back, as_of);
        v_past_is_stable := record_ledger.is_stable(past_end, p.x_time_back, as_of);
        if v_live_is_stable <> v_past_is_stable then
            is_historical := v_past_is_stable;
        elsif v_live_is_stable
            and not (
                p.pass_order = 'deadline'
                and record_ledger.is_at_risk(least(past_end, live_end), p, as_of)
            )
        then
            is_shared := true;
            historical_credit := credit + p.backfill_share;
            is_historical := historical_credit >= 1;
            if is_historical then
                historical_credit := historical_credit - 1;
            end if;
        end if;
    end if;
end
$$;
comment on function record_ledger.next_turn(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz,
    timestamptz,
    numeric,
    timestamptz
) is
'Private. Whether a pass takes the next live record or the next historical one, and the credit of historical ones after it.';
