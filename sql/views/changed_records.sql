-- record_ledger.changed_records: the completed records whose source has changed since they were loaded.
-- One row per completed record whose newest count of the source differs from the one that its generation stands on.
-- Retired pipelines have none: nothing would load them again.
-- Read by: record_ledger_reader, the Python runner, dbt, reopen_changed_records.
-- Uses: count_tolerance, window_timezone.
-- Tests: test_recounts.py.
create or replace view record_ledger.changed_records as
select
    p.pipeline_id,
    r.window_start_time,
    r.window_end_time,
    r.target_day,
    r.generation,
    o.row_count - o.changed_by as loaded_count,
    o.row_count as source_count,
    o.changed_by,
    o.observed_at,
    abs(o.changed_by) > coalesce(
        record_ledger.count_tolerance(
            p.required_counts ->> 'tolerance', o.row_count - o.changed_by
        ),
        0
    ) as is_beyond_tolerance,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone
from record_ledger.pipeline as p
-- The offsets make the plan read the few that differ first, and then their records, independent of the statistics.
cross join lateral (
    select q.*
    from record_ledger.record_observation as q
    where q.pipeline_id = p.pipeline_id and q.changed_by <> 0
    offset 0
) as o
cross join lateral (
    select q.*
    from record_ledger.record as q
    where q.pipeline_id = p.pipeline_id and q.window_start_time = o.window_start_time
    offset 0
) as r
where not p.is_retired
    and r.status = 'COMPLETED'
    and r.generation = o.generation
    and not exists (
        select
        from record_ledger.record_observation as n
        where n.pipeline_id = o.pipeline_id
            and n.window_start_time = o.window_start_time
            and n.observation_no > o.observation_no
            and n.changed_by is not null
            and n.generation = o.generation
    );
comment on view record_ledger.changed_records is
'The completed records whose source has changed since: one row per record whose newest count of the source differs from the one that it was loaded with.';
comment on column record_ledger.changed_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.changed_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.changed_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.changed_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.changed_records.generation is 'The generation that was completed before the source changed.';
comment on column record_ledger.changed_records.loaded_count is 'How many rows the source had when the record was loaded.';
comment on column record_ledger.changed_records.source_count is 'How many rows it had when it was last counted.';
comment on column record_ledger.changed_records.changed_by is 'The difference; below 0 when the source has lost rows.';
comment on column record_ledger.changed_records.observed_at is 'When it was last counted.';
comment on column record_ledger.changed_records.is_beyond_tolerance is
'Whether the difference exceeds the tolerance of required_counts (0 rows by default): reopen_changed_records then reopens the record.';
comment on column record_ledger.changed_records.window_timezone is 'The IANA time zone that the window was cut with.';
