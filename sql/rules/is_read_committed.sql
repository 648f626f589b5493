-- record_ledger.is_read_committed: may this transaction change the ledger?
-- After waiting for a lock a routine must see what the others did; stricter levels would show it the past.
-- Read by: every routine that takes a lock.
-- Rules: none.
create or replace function record_ledger.is_read_committed()
returns boolean
language sql
stable
as $$
    select current_setting('transaction_isolation') in ('read committed', 'read uncommitted')
$$;
comment on function record_ledger.is_read_committed() is
'Whether the transaction sees what others committed while it waited for a lock.';
