-- record_ledger migration 11: functions that nothing asks any more, or that return other columns now, go.
-- The columns awaits_build and out_of_order of record stay: views of earlier releases, and views that others have built
-- on these, hold the whole row, and PostgreSQL drops no column that a view depends on.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none.
drop function if exists record_ledger.is_complete(jsonb, text[]);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, timestamptz, integer, interval, timestamptz
);
drop function if exists record_ledger.waiting_for_retry(record_ledger.pipeline, integer);
