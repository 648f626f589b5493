-- record_ledger.daily_coverage: how the windows of each pipeline cover each local day, from the first to the newest.
-- One row per pipeline and local day, archived windows included; a date that the zone has skipped has no row. Days are
-- those of the zone in force, even for windows that were cut with another one.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: day_coverage, days_with_windows.
-- Tests: test_sealed_days.py.
create or replace view record_ledger.daily_coverage as
select
    p.pipeline_id,
    d.local_date,
    p.timezone,
    c.day_start_time,
    c.day_end_time,
    c.first_window_start_time,
    extract(epoch from c.day_end_time - c.day_start_time) * interval '1 second' as day_length,
    c.covered_seconds * interval '1 second' as covered_length,
    c.window_count,
    c.published_count,
    c.waived_count,
    c.lost_count,
    c.open_count,
    c.is_published,
    c.is_sealed,
    c.counts
from record_ledger.pipeline as p
cross join lateral record_ledger.days_with_windows(p) as d
cross join lateral record_ledger.day_coverage(p, d.local_date) as c
where c.day_start_time < c.day_end_time;
comment on view record_ledger.daily_coverage is
'How windows cover each local day: one row per pipeline and day from its first to its newest window, the archive included.';
comment on column record_ledger.daily_coverage.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.daily_coverage.local_date is 'The local day in the time zone in force.';
comment on column record_ledger.daily_coverage.timezone is 'The IANA time zone of the pipeline that is in force.';
comment on column record_ledger.daily_coverage.day_start_time is 'The first instant of the day: its local midnight.';
comment on column record_ledger.daily_coverage.day_end_time is 'The first instant after the day: the next local midnight.';
comment on column record_ledger.daily_coverage.first_window_start_time is 'Where the first window that begins in the day starts: at its midnight, unless the pipeline begins in the day or was cut with another zone; null without one.';
comment on column record_ledger.daily_coverage.day_length is 'How long the day is: 24 h unless clocks change.';
comment on column record_ledger.daily_coverage.covered_length is 'How much of the day published or waived windows cover.';
comment on column record_ledger.daily_coverage.window_count is 'How many windows begin in the day.';
comment on column record_ledger.daily_coverage.published_count is 'How many of them have a generation that was completed.';
comment on column record_ledger.daily_coverage.waived_count is 'How many of them are WAIVED.';
comment on column record_ledger.daily_coverage.lost_count is 'How many of these were waived because their source data was gone.';
comment on column record_ledger.daily_coverage.open_count is 'How many of them are PENDING, IN_PROGRESS or FAILED, published or not.';
comment on column record_ledger.daily_coverage.is_published is 'Whether published or waived windows cover the day from its first to its last instant: readers find no gap.';
comment on column record_ledger.daily_coverage.is_sealed is 'Whether completed or waived windows cover the day from its first to its last instant: published, and none of them is open again.';
comment on column record_ledger.daily_coverage.counts is
'The counts that published generations stand on, {stage: {"rows": ..., "windows": ...}}: how many rows, from how many windows.';
