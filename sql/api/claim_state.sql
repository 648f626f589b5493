-- record_ledger.claim_state: whether a claim is current, cancelled or lost, and why; reads only.
--   current    the record is this claim's; reason is null
--   cancelled  it still is, but an operator asks the run to stop: fail it without a retry; reason is the operator's
--   lost       it is not; reason says what ended the claim, or that no record was passed with this token
-- A run that works for long asks at least every 30 seconds: a heartbeat does not report a cancellation.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: claim_loss.
-- Tests: test_cancelling.py, test_two_ledgers.py.
create or replace function record_ledger.claim_state(
    pipeline_id text,
    claim_token bigint,
    out state text,
    out reason text,
    out cancelled_by text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
begin
    select
        case when r.cancellation is null then 'current' else 'cancelled' end,
        r.cancellation ->> 'cancel_reason',
        r.cancellation ->> 'cancelled_by'
    into claim_state.state, claim_state.reason, claim_state.cancelled_by
    from record_ledger.claim as c
    join record_ledger.record as r
        on r.pipeline_id = c.pipeline_id and r.window_start_time = c.window_start_time
    where c.pipeline_id = claim_state.pipeline_id and c.claim_token = claim_state.claim_token
        and r.claim_token = claim_state.claim_token and r.status = 'IN_PROGRESS';
    if not found then
        state := 'lost';
        reason := record_ledger.claim_loss(claim_state.pipeline_id, claim_state.claim_token);
    end if;
end
$$;
comment on function record_ledger.claim_state(text, bigint) is
'Whether a claim is current, cancelled (by whom, why) or lost: (state, reason, cancelled_by). Reads only.';
