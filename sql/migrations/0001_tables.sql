-- record_ledger migration 1: the tables, their constraints and their indexes.
-- All of them are private: callers use the views and routines, and only the owner holds rights here.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: windows tile without gap or overlap, a status has what it needs, a run has one record.

-- ---------------------------------------------------------------- pipeline
create table record_ledger.pipeline (
    pipeline_id text primary key,
    -- What the caller registered, known keys only: compared with each call's config before anything is validated.
    config jsonb not null,
    config_version integer not null default 1,
    timezone text not null,
    -- Durations hold no day part: adding one to an instant is then elapsed time in every session's time zone.
    x_time_back interval not null,
    granularity interval not null,
    -- default_record without pipeline_id, templates unrendered.
    fields jsonb not null,
    has_templates boolean not null,
    check_fields text[] not null,
    start_at timestamptz,
    max_active_records integer,
    depends_on_past boolean not null,
    lease interval not null,
    max_attempts integer not null,
    retry_delay interval not null,
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint durations_are_elapsed_time check (
        extract(day from x_time_back) = 0 and extract(day from granularity) = 0
        and extract(day from lease) = 0 and extract(day from retry_delay) = 0
    ),
    constraint a_paused_pipeline_says_who_and_why check (
        (paused_at is null) = (paused_by is null) and (paused_at is null) = (pause_reason is null)
    )
);
comment on table record_ledger.pipeline is
'Private. One row per pipeline: its config as given and as read. Its row lock orders all passes of the pipeline.';

create table record_ledger.pipeline_event (
    pipeline_id text not null references record_ledger.pipeline (pipeline_id),
    event_no integer not null,
    event_time timestamptz not null,
    event text not null,
    actor text not null default session_user,
    detail jsonb not null default '{}',
    primary key (pipeline_id, event_no)
);
comment on table record_ledger.pipeline_event is
'Private. Append-only: one row per change of a pipeline (registered, reconfigured).';

-- ---------------------------------------------------------------- record
create table record_ledger.record (
    pipeline_id text not null,
    window_start_time timestamptz not null,
    window_end_time timestamptz not null,
    -- Null only in the pipeline's first record. As a foreign key it chains every window to the one before it.
    previous_window_end_time timestamptz,
    target_day date not null,
    status text not null default 'PENDING',
    generation integer not null default 1,
    attempt integer not null default 0,
    -- Of the newest claim; null while the record is pending.
    claim_token bigint,
    run_id text,
    lease_expires_at timestamptz,
    -- Pending again after a failure, but not before this instant.
    retry_at timestamptz,
    fields jsonb not null default '{}',
    -- The config version the fields were built with; null when they were never built.
    config_version integer,
    -- Null when the record is complete.
    missing_fields text[],
    -- Incomplete, and templates of a newer config than the fields' may fill what is missing.
    awaits_build boolean not null default false,
    -- May be older than a record that was passed before this one could be: backfilled, or incomplete when stored.
    out_of_order boolean not null default false,
    event_count integer not null default 0,
    -- The newest event and its detail: record_event holds them all.
    last_event text,
    last_detail jsonb,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Where an open record waits, as rule lane() says; null when it is finished (COMPLETED, WAIVED). Kept by the
    -- trigger check_record_change and by store_windows: a generated column would be parsed anew in every statement.
    lane text,
    -- The pipeline while the record is open, null when it is finished. Only the index of open records has this column:
    -- a look-up of open records by pipeline_id could also be planned, while the table is small, as a walk through the
    -- primary key, and a session would keep that plan while the table grows.
    open_pipeline_id text,
    constraint one_record_per_window_start primary key (pipeline_id, window_start_time),
    -- The end leads, so that a look-up by pipeline and start has no other index to go by than the primary key.
    constraint one_record_per_window_end unique (window_end_time, pipeline_id),
    constraint window_follows_the_previous_one
    foreign key (pipeline_id, previous_window_end_time)
    references record_ledger.record (pipeline_id, window_end_time),
    -- No other checks here: each is parsed anew in every statement, and every change of a row passes the trigger
    -- check_record_change, which knows what a status needs.
    constraint window_starts_where_the_previous_one_ends check (
        previous_window_end_time = window_start_time
    ),
    constraint window_ends_after_it_starts check (window_end_time > window_start_time)
);
comment on table record_ledger.record is
'Private. The ledger: one row per window of a pipeline. Read through pipeline_records.';

create unique index one_first_record_per_pipeline
on record_ledger.record (pipeline_id)
where previous_window_end_time is null;

-- The one index that passes, verdicts and counts of open records read. The lease is its last key so that expired
-- leases are told apart in the index itself.
create index open_records_by_lane
on record_ledger.record (open_pipeline_id, lane, window_start_time, lease_expires_at)
where open_pipeline_id is not null;

create table record_ledger.record_event (
    pipeline_id text not null,
    window_start_time timestamptz not null,
    event_no integer not null,
    event_time timestamptz not null,
    event text not null,
    from_status text not null,
    to_status text not null,
    generation integer not null,
    attempt integer not null,
    claim_token bigint,
    run_id text,
    actor text not null default session_user,
    detail jsonb not null,
    constraint one_event_per_number primary key (pipeline_id, window_start_time, event_no)
);
comment on table record_ledger.record_event is
'Private. Append-only: one row per change of a record, numbered per record. Read through record_events.';

-- ---------------------------------------------------------------- claim
create sequence record_ledger.claim_token_seq as bigint;
comment on sequence record_ledger.claim_token_seq is
'Private. Claim tokens: never drawn twice, and a later pass of a pipeline has a greater one.';

create table record_ledger.claim (
    pipeline_id text not null,
    claim_token bigint not null,
    window_start_time timestamptz not null,
    -- Set in the first claim of a run: the run is bound to this record for good.
    bound_run_id text,
    -- No record of the lane 'waiting' starts at or before this instant, as of this pass.
    waiting_mark timestamptz,
    -- No record in progress starts before this instant, as of this pass.
    active_mark timestamptz not null,
    constraint one_claim_per_token primary key (pipeline_id, claim_token)
);
create unique index one_record_per_run
on record_ledger.claim (pipeline_id, bound_run_id)
where bound_run_id is not null;
comment on table record_ledger.claim is
'Private. Append-only: one row per pass: which token is for which record, which run is bound to it,
and where the next pass may start to look. Marks live here, in rows that are never rewritten,
because an index on the records themselves keeps an entry for each version that an old snapshot can
still see: with an analyst''s query open for hours, a pass would step over every record finished
since.';
