-- record_ledger.record_events: the history of each record, one row per change of its state.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record. Storing a record
-- and a heartbeat are not events.
-- Read by: record_ledger_reader, the Python runner, dbt, claim_loss, records_as_of.
-- Uses: sees_tokens.
-- Tests: test_state_machine.py.
create or replace view record_ledger.record_events as
select
    e.pipeline_id,
    e.window_start_time,
    e.event_no,
    e.event_time,
    e.event,
    e.from_status,
    e.to_status,
    e.generation,
    e.attempt,
    case
        when (select record_ledger.sees_tokens())
            or not exists (
                select
                from record_ledger.record as c
                where c.pipeline_id = e.pipeline_id
                    and c.window_start_time = e.window_start_time
                    and c.claim_token = e.claim_token
                    and c.status = 'IN_PROGRESS'
            )
            then e.claim_token
    end as claim_token,
    e.run_id,
    e.actor,
    e.detail
from record_ledger.record_event as e;
comment on view record_ledger.record_events is
'The history: one row per change of a record, never rewritten; archived_record_events has that of archived records.';
comment on column record_ledger.record_events.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_events.window_start_time is 'The window of the record that changed.';
comment on column record_ledger.record_events.event_no is 'Numbers the events of a record, starting at 1.';
comment on column record_ledger.record_events.event_time is 'When the change was made.';
comment on column record_ledger.record_events.event is
'passed, passed_again, completed, failed, released, lease_expired, cancelled, waived, reopened, rebuilt or counts_waived.';
comment on column record_ledger.record_events.from_status is 'The status before the change.';
comment on column record_ledger.record_events.to_status is 'The status after the change.';
comment on column record_ledger.record_events.generation is 'The generation the change belongs to.';
comment on column record_ledger.record_events.attempt is 'The attempt the change belongs to.';
comment on column record_ledger.record_events.claim_token is 'The claim that made the change or was ended by it; null to roles other than runners while that claim is current.';
comment on column record_ledger.record_events.run_id is 'The run of that claim.';
comment on column record_ledger.record_events.actor is 'The database role that made the change.';
comment on column record_ledger.record_events.detail is 'What the change says: an error, a reason, counts, the fields before.';
