-- record_ledger.refuse_call: the errors for a call that no routine can serve in any state of the ledger.
-- Raises RL005: for a wrong isolation level, for a session whose triggers do not fire, or else for a run id that cannot
-- be bound.
-- Called by: complete_and_pass, complete_records, end_claim, extend_lease, lock_pipeline, lock_record,
--   pass_valid_record, register_pipeline, register_store_and_pass.
-- Uses: is_safe_to_write.
-- Tests: test_replica_sessions.py, test_passing.py.
create or replace function record_ledger.refuse_call(run_id text default null)
returns void
language plpgsql
as $$
begin
    if current_setting('session_replication_role') = 'replica' then
        raise exception
            'the ledger cannot be changed in a session with session_replication_role = replica'
            using errcode = 'RL005',
            hint = 'The triggers that keep the state machine and the history would not fire: '
                'set session_replication_role to origin.';
    end if;
    if not record_ledger.is_safe_to_write() then
        raise exception 'the ledger cannot be changed in a transaction of isolation level %',
            current_setting('transaction_isolation')
            using errcode = 'RL005',
            hint = 'Make the call in a READ COMMITTED transaction, preferably in one of its own.';
    end if;
    raise exception
        'run_id: "%" is not valid; give a text of 1 to 1024 bytes, or null to bind nothing',
        left(run_id, 80)
        using errcode = 'RL005';
end
$$;
comment on function record_ledger.refuse_call(text) is
'Private. Raises RL005 for a call in a wrong isolation level, without triggers, or with an impossible run id.';
