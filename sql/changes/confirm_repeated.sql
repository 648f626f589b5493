-- record_ledger.confirm_repeated: has the answer to a repeated call wait for the standbys that confirm commits.
-- What the first call did may have been committed on this server alone: its session may have ended while it waited for
-- a standby. A call that only reads waits for none, and would acknowledge what a failover takes back.
-- Called when the claim was ended so before.
-- Called by: complete_records, end_claim.
-- Uses: none.
-- Tests: test_claims.py, test_complete_records.py.
create or replace function record_ledger.confirm_repeated()
returns void
language plpgsql
as $$
begin
    -- The smallest thing that is written to the log; nothing reads it.
    perform pg_catalog.pg_logical_emit_message(true, 'record_ledger', '');
end
$$;
comment on function record_ledger.confirm_repeated() is
'Private. Has the answer to a repeated call wait for the standbys that confirm commits.';
