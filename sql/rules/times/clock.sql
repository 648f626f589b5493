-- record_ledger.clock: the ledger's only source of time.
-- The server's clock at the moment of the call, not the transaction's start: leases must not begin in the past.
-- Read by: every routine and view, once per statement or per lock taken. Only a test database replaces it.
-- Rules: none.
create or replace function record_ledger.clock()
returns timestamptz
language sql
volatile
as $$
    select pg_catalog.clock_timestamp()
$$;
comment on function record_ledger.clock() is
'The instant at which the ledger judges: the server''s clock.';
