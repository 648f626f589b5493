-- record_ledger migration 10: lanes of their own for records that wait for an instant, and marks for more lanes.
-- With them a pass reads the same few entries for any number of other records, and beside any old snapshot.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a pending record with a retry_at is in the lane 'retry' or 'retryh', or is incomplete.

-- ---------------------------------------------------------------- record
-- Tells which leases and which backoffs are over, by the instants at which they end. Nothing else has an entry here.
create index open_records_by_end
on record_ledger.record (open_pipeline_id, lane, lease_expires_at, retry_at, window_start_time)
where lease_expires_at is not null or retry_at is not null;

-- Parsed anew in every statement: check_bounds, a trigger that fires for nothing else, says the same.
alter table record_ledger.record drop constraint window_ends_after_it_starts;

alter table record_ledger.record disable trigger user;

update record_ledger.record as r
set lane = case when r.is_historical then 'retryh' else 'retry' end
where r.open_pipeline_id is not null and r.retry_at is not null
    and r.lane in ('historical', 'returned');

alter table record_ledger.record enable trigger user;

-- ---------------------------------------------------------------- claim
alter table record_ledger.claim
-- As of this pass no record in these lanes starts before these instants; null when it is not known. A record that was
-- in progress then may have come to one of them since: so they hold from the active_mark on only.
add column historical_mark timestamptz,
add column returned_mark timestamptz,
-- Of the lanes 'retry' and 'retryh'.
add column retry_mark timestamptz,
-- No lease ends before it; null when it is not known. A lease that is shortened makes it void.
add column lease_mark timestamptz,
-- When a pass last saw a record in a lane besides 'waiting' and 'active'; null when none ever did.
add column others_seen_at timestamptz;

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- As of its newest pass no record before this one waited in order.
add column is_first boolean not null default false,
-- And no other one was in progress, and none pending but those that wait in order after this one.
add column is_alone boolean not null default false;

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The newest token when an operation last brought records into lanes: the marks of claims up to it say nothing of them.
add column marks_void_at bigint;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], integer, boolean, boolean);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.next_candidate(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz,
    numeric,
    timestamptz,
    timestamptz
);
drop function if exists record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.no_records_reason(record_ledger.pipeline, timestamptz);
drop function if exists record_ledger.lost_before(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.lane_heads(
    text, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz[]
);
drop function if exists record_ledger.oldest_due(
    text, text, timestamptz, timestamptz, integer
);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, interval, timestamptz
);
drop function if exists record_ledger.collect_expired_leases(
    record_ledger.pipeline, timestamptz, timestamptz
);
