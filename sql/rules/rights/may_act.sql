-- record_ledger.may_act: may the session's user act in a pipeline that belongs to a role?
-- Members of that role and owners of the ledger may; when the role does not exist any more, only the latter. It is
-- asked only for pipelines that have an owner. It judges the session_user, because routines run with the rights of the
-- ledger's owner.
-- Called by: check_owner, set_pipeline_owner.
-- Uses: is_ledger_owner.
-- Tests: test_pipeline_owners.py.
create or replace function record_ledger.may_act(owner_role text)
returns boolean
language sql
stable
as $$
    select case
        when to_regrole(quote_ident(owner_role)) is null then false
        else pg_has_role(session_user, to_regrole(quote_ident(owner_role)), 'MEMBER')
    end
    or record_ledger.is_ledger_owner(session_user)
$$;
comment on function record_ledger.may_act(text) is
'Private. Whether the session''s user is a member of the role that a pipeline belongs to, or owns the ledger.';
