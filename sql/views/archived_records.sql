-- record_ledger.archived_records: the finished records that archive_records has moved out of the ledger, for analysts.
-- One row per archived record, with the columns of pipeline_records and when it was archived.
-- Read by: record_ledger_reader, the Python runner, dbt, day_coverage, records_as_of.
-- Uses: time_interval.
-- Tests: test_archive.py.
create or replace view record_ledger.archived_records as
select
    r.pipeline_id,
    r.target_day,
    r.window_start_time,
    r.window_end_time,
    record_ledger.time_interval(r.window_start_time, r.window_end_time) as time_interval,
    r.status,
    r.fields ->> 'key_x' as key_x,
    r.fields ->> 'key_y' as key_y,
    r.fields ->> 'key_z' as key_z,
    r.created_at,
    r.updated_at,
    r.fields,
    r.generation,
    r.attempt,
    r.claim_token,
    r.run_id,
    null::timestamptz as lease_expires_at,
    null::timestamptz as retry_at,
    r.missing_fields,
    r.config_version,
    r.last_event,
    r.last_detail,
    r.archived_at,
    -- Neither a waiver nor a failed attempt publishes or unpublishes a generation.
    case
        when r.status = 'COMPLETED' then r.generation
        when r.generation > 1
            then (
                select max(e.generation)
                from record_ledger.archived_record_event as e
                where e.pipeline_id = r.pipeline_id
                    and e.window_start_time = r.window_start_time
                    and e.event = 'completed'
            )
    end as published_generation,
    r.counts_waived,
    (
        select z.timezone
        from record_ledger.pipeline_zone as z
        where z.pipeline_id = r.pipeline_id and z.from_time <= r.window_start_time
        order by z.from_time desc
        limit 1
    ) as window_timezone
from record_ledger.archived_record as r;
comment on view record_ledger.archived_records is
'The archive: one row per finished record that was moved out of the ledger, as it was in pipeline_records.';
comment on column record_ledger.archived_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.archived_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.archived_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.archived_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.archived_records.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.archived_records.status is 'COMPLETED or WAIVED.';
comment on column record_ledger.archived_records.key_x is 'The field key_x of the record.';
comment on column record_ledger.archived_records.key_y is 'The field key_y of the record.';
comment on column record_ledger.archived_records.key_z is 'The field key_z of the record.';
comment on column record_ledger.archived_records.created_at is 'When the record was stored.';
comment on column record_ledger.archived_records.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.archived_records.fields is 'The record''s own fields.';
comment on column record_ledger.archived_records.generation is 'Counts from 1; one more each time the record was reopened.';
comment on column record_ledger.archived_records.attempt is 'How many attempts of this generation had begun.';
comment on column record_ledger.archived_records.claim_token is 'The token of the newest claim; null when there was none.';
comment on column record_ledger.archived_records.run_id is 'The run of the newest claim; null when there was none.';
comment on column record_ledger.archived_records.lease_expires_at is 'Always null: a finished record is not claimed.';
comment on column record_ledger.archived_records.retry_at is 'Always null: a finished record is not tried again.';
comment on column record_ledger.archived_records.missing_fields is 'The fields that were empty but must not be; null when the record was complete.';
comment on column record_ledger.archived_records.config_version is 'The version of the config the fields were built with; null when they were unbuilt.';
comment on column record_ledger.archived_records.last_event is 'The newest event of the record.';
comment on column record_ledger.archived_records.last_detail is 'What the newest event says: a reason, counts.';
comment on column record_ledger.archived_records.archived_at is 'When the record was moved to the archive.';
comment on column record_ledger.archived_records.published_generation is
'The newest generation that was completed: it is published until a later one is completed; null when none was.';
comment on column record_ledger.archived_records.counts_waived is 'Whether an operator has waived the counts of this generation.';
comment on column record_ledger.archived_records.window_timezone is 'The IANA time zone that the window was cut with.';
