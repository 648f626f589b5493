-- record_ledger migration 6: claim tokens, and how a claim ends.
-- Tokens are computed from the pipeline's newest one and the clock, so the sequence goes; a claim can be cancelled, and
-- a record given back until an instant.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none; the trigger check_record_change keeps those of the new columns.

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- Who cancelled the claim of a record in progress, when and why; null otherwise.
add column cancellation jsonb,
-- Who gave a pending record back, and until when no run is passed it (retry_at); null when no such instant was named.
add column postponement jsonb;

-- ---------------------------------------------------------------- claim
-- Tokens drawn from it stay valid: those drawn from now on are greater. Only now, when no pass is under way any more:
-- one that has read records and draws its token next would wait for this deploy, which would wait for it.
drop sequence record_ledger.claim_token_seq;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.complete_record(text, bigint, jsonb);
drop function if exists record_ledger.fail_record(text, bigint, text, boolean);
drop function if exists record_ledger.release_record(text, bigint);
drop function if exists record_ledger.extend_lease(text, bigint);
drop function if exists record_ledger.adopt_observations(text, bigint, text);
drop function if exists record_ledger.end_claim(text, bigint, text, jsonb, boolean);
drop function if exists record_ledger.raise_claim_lost(text, bigint);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.status_after(text, text, boolean, boolean);
drop function if exists record_ledger.is_read_committed();
