-- record_ledger.pipelines: the registered pipelines and the config each has in force.
-- One row per pipeline, durations as intervals, defaults filled in.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: none.
-- Tests: test_registering.py.
create or replace view record_ledger.pipelines as
select
    p.pipeline_id,
    p.timezone,
    p.x_time_back,
    p.granularity,
    p.check_fields,
    p.start_at,
    p.max_active_records,
    p.depends_on_past,
    p.lease,
    p.max_attempts,
    p.retry_delay,
    p.config -> 'default_record' as default_record,
    p.config_version,
    p.paused_at,
    p.paused_by,
    p.pause_reason,
    p.created_at,
    p.updated_at,
    p.backfill_share,
    p.is_retired,
    p.required_counts,
    p.source_retention,
    p.at_risk_within,
    p.pass_order,
    p.recount_ages,
    p.reopen_budget,
    p.fields_version,
    p.owner_role
from record_ledger.pipeline as p;
comment on view record_ledger.pipelines is
'The registered pipelines: one row per pipeline with the config in force.';
comment on column record_ledger.pipelines.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipelines.timezone is 'The IANA time zone whose midnights cut the windows.';
comment on column record_ledger.pipelines.x_time_back is 'How long after the end of a window its data becomes stable.';
comment on column record_ledger.pipelines.granularity is 'The length of a window; 24 hours or more mean the local day.';
comment on column record_ledger.pipelines.check_fields is 'The fields that must be non-empty in a complete record.';
comment on column record_ledger.pipelines.start_at is 'Where the first window starts, when the config says so; it stays once there are records.';
comment on column record_ledger.pipelines.max_active_records is 'How many records may be in progress at the same time; null means no limit.';
comment on column record_ledger.pipelines.depends_on_past is 'Whether a record waits until all earlier ones are completed or waived.';
comment on column record_ledger.pipelines.lease is 'How long a passed record stays claimed without a heartbeat.';
comment on column record_ledger.pipelines.max_attempts is 'How many attempts a record has per generation.';
comment on column record_ledger.pipelines.retry_delay is 'The backoff after the first failed attempt, doubled after each further one.';
comment on column record_ledger.pipelines.default_record is 'The fields of new records, templates unrendered.';
comment on column record_ledger.pipelines.config_version is 'Counts the configs the pipeline has had.';
comment on column record_ledger.pipelines.paused_at is 'Since when the pipeline is paused; null when it is not.';
comment on column record_ledger.pipelines.paused_by is 'Who paused the pipeline.';
comment on column record_ledger.pipelines.pause_reason is 'Why the pipeline is paused.';
comment on column record_ledger.pipelines.created_at is 'When the pipeline was registered.';
comment on column record_ledger.pipelines.updated_at is 'When the pipeline last changed.';
comment on column record_ledger.pipelines.backfill_share is 'The least share of passes that backfilled and reopened records get while live ones wait too; 0 means oldest first.';
comment on column record_ledger.pipelines.is_retired is 'Whether the pipeline was retired: nothing is stored or passed any more, and no status lists it.';
comment on column record_ledger.pipelines.required_counts is 'The stages whose counts must agree before a record is completed, and the tolerance; null means none.';
comment on column record_ledger.pipelines.source_retention is 'How long after the end of a window its source data is kept; null when the config does not say.';
comment on column record_ledger.pipelines.at_risk_within is 'How long before its source data goes an open record is at risk; null without source_retention.';
comment on column record_ledger.pipelines.pass_order is 'oldest, or deadline: what is at risk goes before the turns of a backfill_share.';
comment on column record_ledger.pipelines.recount_ages is 'How long after its first count the source of a completed window is to be counted again, ascending.';
comment on column record_ledger.pipelines.reopen_budget is 'How many records reopen_changed_records may reopen in one local day.';
comment on column record_ledger.pipelines.fields_version is
'The config_version at which default_record or check_fields last changed: records that were built before it are outdated.';
comment on column record_ledger.pipelines.owner_role is 'The role whose members alone act in the pipeline; null when it is every runner''s.';
