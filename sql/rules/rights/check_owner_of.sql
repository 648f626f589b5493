-- record_ledger.check_owner_of: check_owner for calls that name a pipeline and have not read it.
-- It leaves an unknown pipeline to the caller, which has a better sentence about it.
-- Called by: check_counts, end_claim, extend_lease, lock_record.
-- Uses: check_owner.
-- Tests: test_pipeline_owners.py.
create or replace function record_ledger.check_owner_of(pipeline_id text)
returns void
language plpgsql
stable
as $$
begin
    perform record_ledger.check_owner(p.pipeline_id, p.owner_role)
    from record_ledger.pipeline as p
    where p.pipeline_id = check_owner_of.pipeline_id and p.owner_role is not null;
end
$$;
comment on function record_ledger.check_owner_of(text) is
'Private. Raises 42501 when the pipeline of that name belongs to a role that the session''s user is not a member of.';
