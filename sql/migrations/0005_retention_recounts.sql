-- record_ledger migration 5: how long source data is kept, and when finished windows are counted again.
-- What order by deadline, lost records, recounts and reopening by them need to know of a pipeline; the index that tells
-- records in backoff apart.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: durations are elapsed time; an order by deadline has deadlines.

alter table record_ledger.pipeline
-- How long after a window's end its source data is kept; null when nothing is said, and nothing is ever lost.
add column source_retention interval,
-- A record is at risk from this long before its source data goes; null without source_retention.
add column at_risk_within interval,
-- 'oldest' or 'deadline'.
add column pass_order text not null default 'oldest',
-- How long after its first count the source of a completed window is to be counted again, ascending.
add column recount_ages interval[] not null default '{01:00:00,24:00:00,168:00:00}',
-- How many records reopen_changed_records may reopen in one local day.
add column reopen_budget integer not null default 10,
add constraint retention_is_elapsed_time check (
    extract(day from source_retention) = 0 and extract(day from at_risk_within) = 0
),
add constraint an_order_by_deadline_has_deadlines check (
    pass_order = 'oldest' or pass_order = 'deadline' and source_retention is not null
);

-- ---------------------------------------------------------------- record_observation
alter table record_ledger.record_observation
-- Of a recount: a count of the source after completion. By how many rows it differs from the count that the completed
-- generation stands on, which is a fact from then on. Null for all others.
add column changed_by bigint;
alter table record_ledger.archived_record_observation add column changed_by bigint;

-- What recount_due looks through: the counts of the last days that are no recounts.
create index source_counts_by_time
on record_ledger.record_observation (pipeline_id, observed_at)
where stage = 'source' and changed_by is null;
-- How late data came, newest windows first. No other look-up has this predicate, so none is planned with this index
-- while the tables are small.
create index first_recounts_by_window
on record_ledger.record_observation (pipeline_id, window_start_time)
where changed_by is not null and generation = 1;
-- Few by nature, so that what has changed is found among any number of records.
create index recounts_that_differ
on record_ledger.record_observation (pipeline_id, window_start_time)
where changed_by <> 0;

-- ---------------------------------------------------------------- record
-- The backoff is a key, too, so that records in backoff are told apart in the index itself, as expired leases are.
drop index record_ledger.open_records_by_lane;
create index open_records_by_lane
on record_ledger.record (
    open_pipeline_id, lane, window_start_time, lease_expires_at, retry_at
)
where open_pipeline_id is not null;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane_heads(text, timestamptz, timestamptz);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.next_candidate(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, numeric, timestamptz
);
drop function if exists record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.retry_time(timestamptz, integer, interval);
drop function if exists record_ledger.status_after(text, text, boolean);
