-- record_ledger.raise_claim_lost: the one error for a claim token that is not current; it says what ended the claim.
-- Raises RL004; RL002 for an unknown pipeline, RL005 when no token was given.
-- Called by: adopt_observations, end_claim, extend_lease, lock_record.
-- Uses: claim_loss.
-- Tests: test_claims.py.
create or replace function record_ledger.raise_claim_lost(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns void
language plpgsql
as $$
begin
    raise exception 'claim lost: %',
        record_ledger.claim_loss(pipeline_id, claim_token, window_start_time)
        using errcode = 'RL004',
        hint = 'Stop working on this record: only its current claim token counts.';
end
$$;
comment on function record_ledger.raise_claim_lost(text, bigint, timestamptz) is
'Private. Raises RL004 and says what became of the claim.';
