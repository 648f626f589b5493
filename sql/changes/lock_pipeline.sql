-- record_ledger.lock_pipeline: locks a pipeline's row for this transaction and returns it as it then is.
-- It is a statement of its own: the caller's next statement sees all that was committed before the lock was granted.
-- Called by: archive_records, backfill_records, cancel_records, complete_and_pass, expire_leases, extend_lease,
--   pass_valid_record, pass_valid_records, pause_pipeline, range_step, reopen_changed_records, reopen_records,
--   resume_pipeline, retire_pipeline, set_pipeline_owner, store_new_records, waive_counts, waive_records.
-- Uses: check_owner, is_safe_to_write, raise_unknown_pipeline, refuse_call.
-- Tests: test_two_sessions.py, test_two_operators.py.
create or replace function record_ledger.lock_pipeline(pipeline_id text)
returns record_ledger.pipeline
language plpgsql
as $$
declare
    p record_ledger.pipeline;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    -- Otherwise two runs could find the same oldest record, or store the same window.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = lock_pipeline.pipeline_id
    for no key update;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    return p;
end
$$;
comment on function record_ledger.lock_pipeline(text) is
'Private. Locks a pipeline''s row and returns it; RL002 when there is none, 42501 when it belongs to a role that the user is not a member of.';
