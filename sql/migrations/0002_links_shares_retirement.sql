-- record_ledger migration 2: links that can be taken apart at their old end, backfill shares, retired pipelines.
-- What archiving, reopening, backfilling and retiring need to know of records and pipelines.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: each record but a pipeline's first follows the one that ends where it starts.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The least share of passes that backfilled and reopened records get while live ones wait too; the rest is theirs.
add column backfill_share numeric not null default 0,
-- Paused for good: no window is stored any more, and no status or alert speaks of it.
add column is_retired boolean not null default false,
add constraint a_retired_pipeline_is_paused check (not is_retired or paused_at is not null);

-- ---------------------------------------------------------------- record
alter table record_ledger.record disable trigger user;

alter table record_ledger.record
-- The record before this one, null only in the pipeline's first. The key that it is part of finds the next record by
-- its start: when old records go to the archive, nothing has to be searched for.
add column previous_window_start_time timestamptz,
-- Backfilled or reopened: work on the past, which shares the passes with live windows.
add column is_historical boolean not null default false;

update record_ledger.record as r
set previous_window_start_time = f.window_start_time
from record_ledger.record as f
where f.pipeline_id = r.pipeline_id and f.window_end_time = r.previous_window_end_time;

alter table record_ledger.record enable trigger user;

-- Takes the foreign key, the check, and the index of first records with it.
alter table record_ledger.record drop column previous_window_end_time;
alter table record_ledger.record drop constraint one_record_per_window_end;
alter table record_ledger.record
-- The end leads, so that a look-up by pipeline and start has no other index to go by than the primary key.
add constraint one_window_of_these_bounds unique (window_end_time, pipeline_id, window_start_time),
-- No gap and no overlap: starts are unique, so each record has one successor at most, and exactly one has no
-- predecessor. The successor's start is the predecessor's end, because it is the same column.
add constraint window_follows_the_previous_one
foreign key (pipeline_id, previous_window_start_time, window_start_time)
references record_ledger.record (pipeline_id, window_start_time, window_end_time);

create unique index one_first_record_per_pipeline
on record_ledger.record (pipeline_id)
where previous_window_start_time is null;

-- ---------------------------------------------------------------- claim
alter table record_ledger.claim
-- What backfilled and reopened records are owed of the passes, from 0 up to 1, after this pass.
add column historical_credit numeric not null default 0;
comment on column record_ledger.claim.historical_credit is
'Private. Grows by backfill_share per pass while both kinds wait; at 1 a historical record is due.';

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], boolean, integer, boolean);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.last_window_end(text);
