-- record_ledger.sees_tokens: may the caller see the claim tokens of records in progress?
-- Runners may, as whoever knows a token can end its claim; analysts, who only read, need none. Claims that have ended
-- are seen by all: their tokens end nothing any more.
-- By current_user, which is the ledger's owner inside of its routines.
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
