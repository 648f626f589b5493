-- record_ledger migration 9: owners of pipelines, and bounds of texts.
-- A pipeline may belong to a role, whose members alone register, pass, end and operate on it.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The name of the role that it belongs to; null when it is every runner's. Not its number: a dump that is restored on
-- another server finds the role of that name there.
add column owner_role text;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.check_reason(text);
