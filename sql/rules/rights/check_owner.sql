-- record_ledger.check_owner: raises 42501 when a pipeline belongs to a role that the session's user is not a member of.
-- A pipeline without an owner is open to every runner.
-- Called by: check_owner_of, complete_records, lock_pipeline, pass_valid_record, register_config, register_pipeline,
--   register_store_and_pass.
-- Uses: may_act.
-- Tests: test_pipeline_owners.py.
create or replace function record_ledger.check_owner(pipeline_id text, owner_role text)
returns void
language plpgsql
stable
as $$
begin
    if owner_role is null or record_ledger.may_act(owner_role) then
        return;
    end if;
    raise exception
        'permission denied: pipeline "%" belongs to role %, and % is not a member of it',
        pipeline_id, quote_ident(owner_role), session_user
        using errcode = '42501',
        hint = case
            when to_regrole(quote_ident(owner_role)) is null then
                'That role does not exist: the ledger''s owner can name another one with '
                'set_pipeline_owner(pipeline_id, role).'
            else 'Connect as a member of that role, or have it granted: grant '
                || quote_ident(owner_role) || ' to ' || quote_ident(session_user) || '.'
        end;
end
$$;
comment on function record_ledger.check_owner(text, text) is
'Private. Raises 42501 when a pipeline belongs to a role that the session''s user is not a member of.';
