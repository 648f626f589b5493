-- record_ledger.oldest_valid_record: the record that each pipeline would be passed next.
-- One row per pipeline: its oldest pending record that is stable and complete; no row when there is none. A record
-- whose lease has expired counts when the next pass would hand it out.
-- It asks next_answer, as a pass does.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, pipeline_answer, time_interval, window_timezone.
-- Tests: test_passing.py.
create or replace view record_ledger.oldest_valid_record as
select
    p.pipeline_id,
    r.target_day,
    r.window_start_time,
    r.window_end_time,
    record_ledger.time_interval(r.window_start_time, r.window_end_time) as time_interval,
    r.status,
    r.generation,
    r.attempt,
    r.fields,
    r.created_at,
    r.updated_at,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone,
    coalesce(r.config_version < p.fields_version, true) as is_outdated
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per pipeline.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral (
    select a.window_start_time
    from record_ledger.pipeline_answer(p, moment.as_of) as a
    where a.verdict = 'READY'
    limit 1
) as answer
join record_ledger.record as r
    on r.pipeline_id = p.pipeline_id and r.window_start_time = answer.window_start_time;
comment on view record_ledger.oldest_valid_record is
'The record that each pipeline would be passed next: its oldest pending one that is stable and complete; no row when there is none.';
comment on column record_ledger.oldest_valid_record.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.oldest_valid_record.target_day is 'The local day of the window''s start.';
comment on column record_ledger.oldest_valid_record.window_start_time is 'The first instant of the window.';
comment on column record_ledger.oldest_valid_record.window_end_time is 'The first instant after the window.';
comment on column record_ledger.oldest_valid_record.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.oldest_valid_record.status is 'PENDING; IN_PROGRESS when its lease has expired and no pass has collected it yet.';
comment on column record_ledger.oldest_valid_record.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.oldest_valid_record.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.oldest_valid_record.fields is 'The record''s own fields, as they are stored.';
comment on column record_ledger.oldest_valid_record.created_at is 'When the record was stored.';
comment on column record_ledger.oldest_valid_record.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.oldest_valid_record.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.oldest_valid_record.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; the pass builds the record first.';
