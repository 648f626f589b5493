-- record_ledger.deployed_release: the release of the ledger that is deployed here.
-- It is the newest release that was ever deployed: a deploy never goes back.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: release_numbers.
-- Tests: test_deploy.py, test_deploy_trust.py.
create or replace function record_ledger.deployed_release()
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select d.release
    from record_ledger.deployment as d
    order by record_ledger.release_numbers(d.release) desc, d.deployed_at desc
    limit 1
$$;
comment on function record_ledger.deployed_release() is
'The release of the ledger that is deployed here.';
