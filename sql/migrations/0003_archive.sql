-- record_ledger migration 3: the archive, where finished records go with their events.
-- Planned for a billion rows: partitioned by the year of the window, one index, columns of eight bytes first.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: only finished records are archived; a record is deleted only when the archive has it.

-- ---------------------------------------------------------------- archived_record
-- The columns of record that still mean something when it is finished. No foreign key chains the rows: they were
-- chained when they were moved, and archive_records goes on where it stopped.
create table record_ledger.archived_record (
    window_start_time timestamptz not null,
    window_end_time timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz not null,
    claim_token bigint,
    target_day date not null,
    generation integer not null,
    attempt integer not null,
    config_version integer,
    event_count integer not null,
    is_historical boolean not null,
    pipeline_id text not null,
    status text not null,
    run_id text,
    fields jsonb not null,
    missing_fields text[],
    last_event text,
    last_detail jsonb,
    constraint one_archived_record_per_window_start primary key (pipeline_id, window_start_time),
    constraint an_archived_record_is_finished check (status in ('COMPLETED', 'WAIVED')),
    constraint an_archived_window_ends_after_it_starts check (window_end_time > window_start_time)
) partition by range (window_start_time);
comment on table record_ledger.archived_record is
'Private. Append-only: one row per record that archive_records has moved here. Read through archived_records.';

-- ---------------------------------------------------------------- archived_record_event
create table record_ledger.archived_record_event (
    window_start_time timestamptz not null,
    event_time timestamptz not null,
    claim_token bigint,
    event_no integer not null,
    generation integer not null,
    attempt integer not null,
    pipeline_id text not null,
    event text not null,
    from_status text not null,
    to_status text not null,
    run_id text,
    actor text not null,
    detail jsonb not null,
    constraint one_archived_event_per_number primary key (pipeline_id, window_start_time, event_no)
) partition by range (window_start_time);
comment on table record_ledger.archived_record_event is
'Private. Append-only: the events of archived records. Read through archived_record_events.';

-- ---------------------------------------------------------------- triggers that refuse less now
-- Deleting what the archive has is legal: check_record_archived and check_events_archived judge deletes from now on,
-- and refuse_change, when this deploy comes to it, refuses to rewrite events only.
drop trigger if exists refuse_change on record_ledger.record;
drop trigger if exists refuse_change on record_ledger.record_event;
