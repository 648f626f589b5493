-- record_ledger.pipeline_records: the ledger itself, for analysts.
-- One row per record: its window, its status and its fields; key_x, key_y and key_z are the fields of those names.
-- Read by: record_ledger_reader, the Python runner, dbt, day_coverage, records_as_of.
-- Uses: sees_tokens, time_interval.
-- Tests: test_passing.py, test_zones.py.
create or replace view record_ledger.pipeline_records as
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
    case
        when r.status <> 'IN_PROGRESS' or (select record_ledger.sees_tokens()) then r.claim_token
    end as claim_token,
    r.run_id,
    r.lease_expires_at,
    r.retry_at,
    -- A pass builds an outdated open record first: so the fields that default_record leaves empty are missing.
    case
        when r.open_pipeline_id is null then r.missing_fields
        else (
            select
                case
                    when r.config_version >= p.fields_version then r.missing_fields
                    else p.missing_fields
                end
            from record_ledger.pipeline as p
            where p.pipeline_id = r.pipeline_id
        )
    end as missing_fields,
    r.config_version,
    r.last_event,
    r.last_detail,
    -- Neither a waiver nor a failed attempt publishes or unpublishes a generation.
    case
        when r.status = 'COMPLETED' then r.generation
        when r.generation > 1
            then (
                select max(e.generation)
                from record_ledger.record_event as e
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
    ) as window_timezone,
    coalesce(
        r.config_version < (
            select p.fields_version
            from record_ledger.pipeline as p
            where p.pipeline_id = r.pipeline_id
        ),
        true
    ) as is_outdated
from record_ledger.record as r;
comment on view record_ledger.pipeline_records is
'The ledger: one row per record (a window of a pipeline), with its status and fields.';
comment on column record_ledger.pipeline_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.pipeline_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.pipeline_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.pipeline_records.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.pipeline_records.status is 'PENDING, IN_PROGRESS, COMPLETED, FAILED or WAIVED.';
comment on column record_ledger.pipeline_records.key_x is 'The field key_x of the record.';
comment on column record_ledger.pipeline_records.key_y is 'The field key_y of the record.';
comment on column record_ledger.pipeline_records.key_z is 'The field key_z of the record.';
comment on column record_ledger.pipeline_records.created_at is 'When the record was stored.';
comment on column record_ledger.pipeline_records.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.pipeline_records.fields is 'The record''s own fields.';
comment on column record_ledger.pipeline_records.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.pipeline_records.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.pipeline_records.claim_token is 'The token of the newest claim; null while the record is pending, and to roles other than runners while it is in progress.';
comment on column record_ledger.pipeline_records.run_id is 'The run of the newest claim; null while the record is pending.';
comment on column record_ledger.pipeline_records.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.pipeline_records.retry_at is 'Until when a failed attempt, or a release with not_before, keeps the record from being passed.';
comment on column record_ledger.pipeline_records.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.pipeline_records.config_version is 'The version of the config the fields were built with; null when they are unbuilt.';
comment on column record_ledger.pipeline_records.last_event is 'The newest event of the record; null when it was only stored.';
comment on column record_ledger.pipeline_records.last_detail is 'What the newest event says: an error, a reason, counts.';
comment on column record_ledger.pipeline_records.published_generation is
'The newest generation that was completed: it is published until a later one is completed; null when none was.';
comment on column record_ledger.pipeline_records.counts_waived is 'Whether an operator has waived the counts of this generation.';
comment on column record_ledger.pipeline_records.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.pipeline_records.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
