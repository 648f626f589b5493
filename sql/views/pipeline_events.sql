-- record_ledger.pipeline_events: the changes of each pipeline as a whole: what was done, by which role and when.
-- One row per change, never updated or deleted.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: none.
-- Tests: test_registering.py, test_pausing.py.
create or replace view record_ledger.pipeline_events as
select
    e.pipeline_id,
    e.event_no,
    e.event_time,
    e.event,
    e.actor,
    e.detail
from record_ledger.pipeline_event as e;
comment on view record_ledger.pipeline_events is
'The changes of each pipeline: one row per change, with who made it and when.';
comment on column record_ledger.pipeline_events.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_events.event_no is 'Numbers the changes of a pipeline, starting at 1.';
comment on column record_ledger.pipeline_events.event_time is 'When the change was made.';
comment on column record_ledger.pipeline_events.event is 'What happened: registered, reconfigured, backfilled, lost, changed_reopened, archived, paused, resumed or retired.';
comment on column record_ledger.pipeline_events.actor is 'The database role that made the change.';
comment on column record_ledger.pipeline_events.detail is 'What the change says: the config and its version, or same_config_as_version where a config returns, a reason, what a backfill added, what was archived, lost or reopened.';
