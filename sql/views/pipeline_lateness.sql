-- record_ledger.pipeline_lateness: how late data came, per pipeline and recount age.
-- One row per pipeline and age, 0 (the count that windows were loaded with) included. lateness says which windows
-- count.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: lateness.
-- Tests: test_lateness.py.
create or replace view record_ledger.pipeline_lateness as
select
    p.pipeline_id,
    l.recount_age,
    p.x_time_back,
    l.window_count,
    l.late_window_count,
    l.row_count,
    l.min_lateness,
    l.max_lateness,
    l.missed_share,
    l.worst_missed_share
from record_ledger.pipeline as p
cross join lateral record_ledger.lateness(p) as l
where not p.is_retired;
comment on view record_ledger.pipeline_lateness is
'How late data came: one row per pipeline and recount age, 0 included, with the share of rows that came later than the counts of that age.';
comment on column record_ledger.pipeline_lateness.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_lateness.recount_age is 'How long after the count that the window was loaded with; 0 is that count itself.';
comment on column record_ledger.pipeline_lateness.x_time_back is 'The x_time_back in force: at age 0, missed_share is what it missed.';
comment on column record_ledger.pipeline_lateness.window_count is 'From how many windows the row is computed.';
comment on column record_ledger.pipeline_lateness.late_window_count is 'In how many of them rows came later.';
comment on column record_ledger.pipeline_lateness.row_count is 'How many rows these windows have by their newest counts.';
comment on column record_ledger.pipeline_lateness.min_lateness is 'The least time from the end of a window to its count of this age; null without windows.';
comment on column record_ledger.pipeline_lateness.max_lateness is 'The greatest time from the end of a window to its count of this age: an x_time_back of this length misses no more.';
comment on column record_ledger.pipeline_lateness.missed_share is 'The share of all rows that came later than the counts of this age; null when computed from fewer than 20 windows.';
comment on column record_ledger.pipeline_lateness.worst_missed_share is 'The missed share of the window that missed most.';
