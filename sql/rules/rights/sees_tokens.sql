-- record_ledger.sees_tokens: may the caller see the claim tokens of records in progress?
-- Runners may, because a token lets its holder end the claim; analysts, who only read, need none. All may see the
-- tokens of claims that have ended: they end nothing any more.
-- It judges the current_user, which is the ledger's owner inside of its routines.
-- Called by: dbt, pipeline_records, record_events, record_observations.
-- Uses: is_ledger_owner.
-- Tests: test_roles.py.
create or replace function record_ledger.sees_tokens()
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select case
        when to_regrole('record_ledger_runner') is null then false
        else pg_has_role(current_user, to_regrole('record_ledger_runner'), 'MEMBER')
    end
    or record_ledger.is_ledger_owner(current_user)
$$;
comment on function record_ledger.sees_tokens() is
'Whether the caller may see the claim tokens of records in progress: runners may, readers may not.';
