-- record_ledger migration 4: observations, and counts that must agree before a record is completed.
-- What was counted of a record, at which stage and under which claim; which stages a pipeline's config asks for.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a count is never negative; observations are numbered per record.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- {"stages": [...], "tolerance": "..."}; null when records are completed without counts.
add column required_counts jsonb;

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- False once a pass has found that the config asks for no counts: completing then looks up nothing. Never false while
-- the config in force asks for some.
add column needs_counts boolean not null default true,
-- Somebody has waived the counts of this generation.
add column counts_waived boolean not null default false;

alter table record_ledger.archived_record
add column counts_waived boolean not null default false;

-- ---------------------------------------------------------------- record_observation
create table record_ledger.record_observation (
    window_start_time timestamptz not null,
    observed_at timestamptz not null,
    row_count bigint not null,
    -- Current when the observation was written; null when it was made without a claim.
    claim_token bigint,
    observation_no integer not null,
    generation integer not null,
    -- The observation of an earlier claim that this one takes over.
    adopted_no integer,
    pipeline_id text not null,
    stage text not null,
    run_id text,
    actor text not null default session_user,
    detail jsonb not null,
    constraint one_observation_per_number primary key (
        pipeline_id, window_start_time, observation_no
    ),
    constraint a_count_is_not_negative check (row_count >= 0)
);
comment on table record_ledger.record_observation is
'Private. Append-only: one row per count of a record, numbered per record. Read through record_observations.';

-- The same columns in the same order: rows are moved and compared whole.
create table record_ledger.archived_record_observation (
    like record_ledger.record_observation,
    constraint one_archived_observation_per_number primary key (
        pipeline_id, window_start_time, observation_no
    )
) partition by range (window_start_time);
comment on table record_ledger.archived_record_observation is
'Private. Append-only: the observations of archived records. Read through archived_record_observations.';
