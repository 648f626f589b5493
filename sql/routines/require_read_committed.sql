-- record_ledger.require_read_committed: refuses to change the ledger under a frozen snapshot.
-- After waiting for a lock a routine must see what the others did; REPEATABLE READ and SERIALIZABLE would show it the past.
-- Called by: every routine that takes a lock.
-- Rules: none.
create or replace function record_ledger.require_read_committed()
returns void
language plpgsql
stable
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'the ledger cannot be changed in a transaction of isolation level %',
            current_setting('transaction_isolation')
            using errcode = 'RL005', hint = 'Call it in a READ COMMITTED transaction, best in one of its own.';
    end if;
end
$$;
comment on function record_ledger.require_read_committed() is
'Private. Raises RL005 unless the transaction is READ COMMITTED.';
