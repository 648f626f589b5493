-- record_ledger.lock_record: locks a record for this transaction and returns it as it then is.
-- A claim token, when given, must be the current one of this very record (RL004 otherwise).
-- Called by: adopt_observations, observe_record, waive_counts.
-- Uses: check_owner_of, is_safe_to_write, raise_claim_lost, raise_no_record, refuse_call.
-- Tests: test_two_counters.py.
create or replace function record_ledger.lock_record(
    pipeline_id text, window_start_time timestamptz, claim_token bigint default null
)
returns record_ledger.record
language plpgsql
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.check_owner_of(lock_record.pipeline_id);
    -- Another session may be completing, collecting, reopening or archiving the record: the second of both waits for
    -- the first one's commit. So no count is recorded under a token that was lost meanwhile, and a completion misses
    -- none.
    select q.* into r
    from record_ledger.record as q
    where q.pipeline_id = lock_record.pipeline_id
        and q.window_start_time = lock_record.window_start_time
    for no key update;
    if not found then
        -- Already archived: raise ClaimLost with the event that ended the caller's claim. A ledger that was restored
        -- from a backup may not have the window of a claim that it passed before.
        if lock_record.claim_token is not null then
            perform record_ledger.raise_claim_lost(
                lock_record.pipeline_id, lock_record.claim_token, lock_record.window_start_time
            );
        end if;
        perform record_ledger.raise_no_record(
            lock_record.pipeline_id, lock_record.window_start_time
        );
    end if;
    if lock_record.claim_token is null
        or r.claim_token = lock_record.claim_token and r.status = 'IN_PROGRESS'
    then
        return r;
    end if;
    perform record_ledger.raise_claim_lost(
        r.pipeline_id, lock_record.claim_token, r.window_start_time
    );
end
$$;
comment on function record_ledger.lock_record(text, timestamptz, bigint) is
'Private. Locks a record and returns it; RL005 when there is none, RL004 when a token is given that is not current.';
