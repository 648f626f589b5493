-- record_ledger.records_at_risk: how long the source data of each open window is still there.
-- One row per open record, and per window that is due and not stored yet, of the pipelines with a source_retention.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, is_at_risk, open_windows, window_timezone.
-- Tests: test_retention.py.
create or replace view record_ledger.records_at_risk as
select
    p.pipeline_id,
    w.window_start_time,
    w.window_end_time,
    w.target_day,
    w.status,
    w.window_end_time + p.source_retention as source_kept_until,
    -- Without the day part that the difference of two instants has: it would follow the session's time zone.
    extract(epoch from w.window_end_time + p.source_retention - moment.as_of)
    * interval '1 second' as time_left,
    record_ledger.is_at_risk(w.window_end_time, p, moment.as_of) as is_at_risk,
    case
        when w.status is null then p.timezone
        else record_ledger.window_timezone(p, w.window_start_time)
    end as window_timezone
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per record.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral record_ledger.open_windows(p, moment.as_of) as w
where p.source_retention is not null and not p.is_retired;
comment on view record_ledger.records_at_risk is
'How long the source data of each open window is still there: one row per open record or due window of a pipeline with a source_retention.';
comment on column record_ledger.records_at_risk.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.records_at_risk.window_start_time is 'The first instant of the window.';
comment on column record_ledger.records_at_risk.window_end_time is 'The first instant after the window.';
comment on column record_ledger.records_at_risk.target_day is 'The local day of the window''s start.';
comment on column record_ledger.records_at_risk.status is 'PENDING, IN_PROGRESS or FAILED; null when the window is due and not stored yet.';
comment on column record_ledger.records_at_risk.source_kept_until is 'The first instant at which its source data is gone.';
comment on column record_ledger.records_at_risk.time_left is 'How long until then; below 0 when it is gone, and the next pass waives the record unless a run holds it.';
comment on column record_ledger.records_at_risk.is_at_risk is 'Whether the source data will be gone within at_risk_within.';
comment on column record_ledger.records_at_risk.window_timezone is 'The IANA time zone that the window was cut with, or will be.';
