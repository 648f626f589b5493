-- record_ledger.confirm_repeated: makes the answer to a repeated call wait for the standbys that confirm commits.
-- The first call may have been committed on this server alone: its session may have ended while it waited for a
-- standby. A call that only reads waits for no standby, and would acknowledge what a failover takes back.
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
'Private. Makes the answer to a repeated call wait for the standbys that confirm commits.';
