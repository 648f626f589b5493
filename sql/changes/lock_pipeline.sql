-- record_ledger.lock_pipeline: locks a pipeline's row for this transaction and returns it as it then is.
-- In a statement of its own: whatever is read next sees all that was committed before the lock was granted.
-- Called by: store_new_records, pass_valid_record, pass_valid_records, complete_and_pass, archive_records, operators'
-- routines.
-- Rules: check_owner.
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
    -- Two runs would otherwise find the same oldest record, or store the same window.
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
'Private. Locks a pipeline''s row and returns it; RL002 when there is none, 42501 when it belongs to a role of others.';
