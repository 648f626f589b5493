-- record_ledger.release_record: gives a passed record back untouched; the attempt is not counted.
-- Pending again at once. Needs the current claim token (RL004 else); repeating it changes nothing.
-- Called by: a run that was stopped before it began.
-- Rules: end_claim.
create or replace function record_ledger.release_record(pipeline_id text, claim_token bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    perform record_ledger.end_claim(pipeline_id, claim_token, 'released', '{}');
end
$$;
comment on function record_ledger.release_record(text, bigint) is
'Gives a passed record back untouched: PENDING at once, the attempt not counted. RL004 unless the claim token is current.';
