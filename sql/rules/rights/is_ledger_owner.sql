-- record_ledger.is_ledger_owner: is a role the owner of the ledger, or a member of it?
-- Superusers are members of every role. The ledger's owner may do anything in it.
-- Called by: may_act, sees_tokens.
-- Uses: none.
-- Tests: test_pipeline_owners.py.
create or replace function record_ledger.is_ledger_owner(role name)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select pg_has_role(role, n.nspowner, 'MEMBER')
    from pg_namespace as n
    where n.nspname = 'record_ledger'
$$;
comment on function record_ledger.is_ledger_owner(name) is
'Whether a role owns the ledger or is a member of the role that does.';
