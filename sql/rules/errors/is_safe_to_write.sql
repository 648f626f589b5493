-- record_ledger.is_safe_to_write: may this transaction change the ledger?
-- After waiting for a lock, a routine must see what the others did; stricter isolation levels would show it the past.
-- The triggers that keep the state machine and the history must fire, too: a replica session would skip them.
-- refuse_call says which of both it was.
-- Called by: complete_and_pass, complete_record, complete_records, end_claim, extend_lease, lock_pipeline, lock_record,
--   pass_valid_record, refuse_call, register_pipeline, register_store_and_pass, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_replica_sessions.py, test_two_sessions.py.
create or replace function record_ledger.is_safe_to_write()
returns boolean
language sql
stable
as $$
    select current_setting('transaction_isolation') in ('read committed', 'read uncommitted')
        and current_setting('session_replication_role') <> 'replica'
$$;
comment on function record_ledger.is_safe_to_write() is
'Whether the transaction sees what others committed while it waited for a lock, and fires the ledger''s triggers.';
