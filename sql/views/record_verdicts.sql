-- record_ledger.record_verdicts: why each open record is passed or not now.
-- One row per open record (PENDING, IN_PROGRESS or FAILED) with exactly one verdict and a sentence that says why.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, is_lost, open_counts_problem, record_verdict, window_timezone.
-- Tests: test_verdicts.py.
create or replace view record_ledger.record_verdicts as
select
    p.pipeline_id,
    r.window_start_time,
    r.window_end_time,
    r.target_day,
    r.status,
    v.verdict,
    v.reason,
    v.ready_at,
    case
        when r.config_version >= p.fields_version then r.missing_fields
        else p.missing_fields
    end as missing_fields,
    r.generation,
    r.attempt,
    r.run_id,
    r.lease_expires_at,
    case
        when r.status = 'IN_PROGRESS' and r.needs_counts and not r.counts_waived
            then record_ledger.open_counts_problem(r.pipeline_id, r.window_start_time)
    end as counts_problem,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone,
    coalesce(r.config_version < p.fields_version, true) as is_outdated
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per record.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral (
    select
        min(o.window_start_time) filter (
            where p.depends_on_past
            -- Lost records hold up nothing: the next pass waives them.
            and (
                not record_ledger.is_lost(o.window_end_time, p.source_retention, moment.as_of)
                or o.lane = 'active' and o.lease_expires_at > moment.as_of
            )
        ) as earliest_open,
        count(*) filter (
            where o.lane = 'active' and o.lease_expires_at > moment.as_of
        ) as active_count
    from record_ledger.record as o
    where o.open_pipeline_id = p.pipeline_id
        and (p.depends_on_past or p.max_active_records is not null)
    -- The offset makes the plan compute it once per pipeline, and not once per record.
    offset 0
) as others
join record_ledger.record as r on r.open_pipeline_id = p.pipeline_id
cross join lateral record_ledger.record_verdict(
    r, p, others.earliest_open, others.active_count, moment.as_of
) as v;
comment on view record_ledger.record_verdicts is
'Why each open record is passed or not now: one row per open record with one verdict and one sentence.';
comment on column record_ledger.record_verdicts.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_verdicts.window_start_time is 'The first instant of the window.';
comment on column record_ledger.record_verdicts.window_end_time is 'The first instant after the window.';
comment on column record_ledger.record_verdicts.target_day is 'The local day of the window''s start.';
comment on column record_ledger.record_verdicts.status is 'PENDING, IN_PROGRESS or FAILED.';
comment on column record_ledger.record_verdicts.verdict is
'LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF, BLOCKED, AT_CAPACITY or READY: the first that applies.';
comment on column record_ledger.record_verdicts.reason is 'One sentence that says why.';
comment on column record_ledger.record_verdicts.ready_at is 'When the record can be passed as things stand; null when a run or an operator must act first.';
comment on column record_ledger.record_verdicts.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.record_verdicts.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.record_verdicts.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.record_verdicts.run_id is 'The run that holds the record; null while it is pending.';
comment on column record_ledger.record_verdicts.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.record_verdicts.counts_problem is 'Why the counts of a record in progress do not let it be completed; null when they do, or when none are required.';
comment on column record_ledger.record_verdicts.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.record_verdicts.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
