-- record_ledger.public_objects: the one list of what callers may use; all other objects are private.
-- One row per object of api/ and views/: its kind, its name with the types of its arguments, and the role that may use
-- it: 'reader' is record_ledger_reader, and record_ledger_runner too. A new object is added here: grants.sql grants it,
-- verify.sql looks for it, and tests compare the list with the folders and with README.md.
-- Applied by: every deploy, before grants.sql and verify.sql, which read it.
-- Rules: names, arguments and result columns stay as they are within a major release.
create or replace function record_ledger.public_objects()
returns table (kind text, object text, role text)
language sql
immutable
as $$
    values
    ('function', 'adopt_observations(text, bigint, text, timestamptz)', 'runner'),
    ('function', 'archivable_records(text, timestamptz, integer)', 'reader'),
    ('function', 'archive_records(text, timestamptz, integer)', 'runner'),
    ('function', 'backfill_records(text, timestamptz, text)', 'runner'),
    ('function', 'cancel_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'claim_state(text, bigint)', 'runner'),
    ('function', 'complete_and_pass(text, bigint, text, jsonb, timestamptz)', 'runner'),
    ('function', 'complete_record(text, bigint, jsonb, timestamptz)', 'runner'),
    ('function', 'complete_records(text, bigint[], jsonb[], timestamptz[])', 'runner'),
    ('function', 'deployed_release()', 'reader'),
    ('function', 'expire_leases(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'extend_lease(text, bigint, timestamptz)', 'runner'),
    ('function', 'fail_record(text, bigint, text, boolean, timestamptz)', 'runner'),
    ('function', 'is_day_sealed(text, date)', 'reader'),
    ('function', 'new_windows(text, timestamptz, integer)', 'reader'),
    ('function', 'observe_record(text, timestamptz, text, bigint, jsonb, bigint)', 'runner'),
    ('function', 'oldest_pending_record(text)', 'reader'),
    ('function', 'pass_valid_record(text, text)', 'runner'),
    ('function', 'pass_valid_records(jsonb, text, integer, jsonb)', 'runner'),
    ('function', 'pause_pipeline(text, text)', 'runner'),
    ('function', 'pipeline_time(text, text)', 'reader'),
    ('function', 'plan_runs(text, integer, timestamptz, integer, interval)', 'reader'),
    ('function', 'range_effects(text, text, timestamptz, timestamptz)', 'reader'),
    ('procedure', 'range_in_steps(text, text, timestamptz, timestamptz, text, bigint)', 'runner'),
    ('function', 'range_step(text, text, timestamptz, timestamptz, text, integer)', 'runner'),
    ('function', 'records_as_of(timestamptz)', 'reader'),
    ('function', 'recount_due(text)', 'reader'),
    ('function', 'register_pipeline(jsonb)', 'runner'),
    ('function', 'release_record(text, bigint, timestamptz, timestamptz)', 'runner'),
    ('function', 'reopen_changed_records(text)', 'runner'),
    ('function', 'reopen_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'resume_pipeline(text, text)', 'runner'),
    ('function', 'retire_pipeline(text, text)', 'runner'),
    ('function', 'set_pipeline_owner(text, text)', 'runner'),
    ('function', 'store_new_and_pass_valid_record(jsonb, text, jsonb)', 'runner'),
    ('procedure', 'store_new_records(text, jsonb, integer)', 'runner'),
    ('function', 'suggest_x_time_back(text, numeric)', 'reader'),
    ('function', 'waive_counts(text, timestamptz, text)', 'runner'),
    ('function', 'waive_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'window_time(text, text)', 'reader'),
    ('view', 'archived_record_events', 'reader'),
    ('view', 'archived_record_observations', 'reader'),
    ('view', 'archived_records', 'reader'),
    ('view', 'changed_records', 'reader'),
    ('view', 'daily_coverage', 'reader'),
    ('view', 'oldest_valid_record', 'reader'),
    ('view', 'pipeline_events', 'reader'),
    ('view', 'pipeline_lateness', 'reader'),
    ('view', 'pipeline_progress', 'reader'),
    ('view', 'pipeline_records', 'reader'),
    ('view', 'pipelines', 'reader'),
    ('view', 'record_events', 'reader'),
    ('view', 'record_observations', 'reader'),
    ('view', 'record_verdicts', 'reader'),
    ('view', 'records_at_risk', 'reader')
$$;
comment on function record_ledger.public_objects() is
'Private. The objects that callers may use: kind, name with the types of its arguments, and the role that may use it.';
