-- record_ledger.clock: the ledger's only source of time.
-- It is the server's clock at the moment of the call, not the transaction's start: leases must not begin in the past. A
-- routine asks it once per statement or per lock taken. Only a test database replaces it.
-- Called by: the Python runner, dbt, archive_records, backfill_records, batch_to_build, cancel_records,
--   complete_and_pass, complete_record, complete_records, end_claim, expire_leases, extend_lease, new_windows,
--   observation_time, oldest_valid_record, pass_valid_record, pass_valid_records, pause_pipeline, pipeline_progress,
--   plan_runs, range_effects, range_step, record_verdicts, records_at_risk, recount_due, register_config,
--   register_store_and_pass, reopen_changed_records, reopen_records, resume_pipeline, retire_pipeline,
--   set_pipeline_owner, start_problem, store_new_and_pass_valid_record, store_new_records, waive_counts, waive_records.
-- Uses: none.
-- Tests: test_two_sessions.py.
create or replace function record_ledger.clock()
returns timestamptz
language sql
volatile
as $$
    select pg_catalog.clock_timestamp()
$$;
comment on function record_ledger.clock() is
'The instant at which the ledger judges: the server''s clock.';
