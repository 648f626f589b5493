-- record_ledger.record_observations: the counts of each record, at each stage.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: sees_tokens.
-- Tests: test_observations.py.
create or replace view record_ledger.record_observations as
select
    o.pipeline_id,
    o.window_start_time,
    o.observation_no,
    o.observed_at,
    o.stage,
    o.row_count,
    o.detail,
    o.generation,
    case
        when (select record_ledger.sees_tokens())
            or not exists (
                select
                from record_ledger.record as c
                where c.pipeline_id = o.pipeline_id
                    and c.window_start_time = o.window_start_time
                    and c.claim_token = o.claim_token
                    and c.status = 'IN_PROGRESS'
            )
            then o.claim_token
    end as claim_token,
    o.run_id,
    o.actor,
    o.adopted_no,
    not exists (
        select
        from record_ledger.record_observation as n
        where n.pipeline_id = o.pipeline_id
            and n.window_start_time = o.window_start_time
            and n.observation_no > o.observation_no
            and n.claim_token = o.claim_token
            and n.stage = o.stage
    )
    and (
        exists (
            select
            from record_ledger.record as r
            where r.pipeline_id = o.pipeline_id
                and r.window_start_time = o.window_start_time
                and r.claim_token = o.claim_token
                and r.status = 'IN_PROGRESS'
        )
        or exists (
            select
            from record_ledger.record_event as e
            where e.pipeline_id = o.pipeline_id
                and e.window_start_time = o.window_start_time
                and e.claim_token = o.claim_token
                and e.event = 'completed'
        )
    ) as is_evidence
from record_ledger.record_observation as o;
comment on view record_ledger.record_observations is
'The counts of each record: one row per observation, never rewritten; archived_record_observations has those of archived records.';
comment on column record_ledger.record_observations.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_observations.window_start_time is 'The window of the record that was counted.';
comment on column record_ledger.record_observations.observation_no is 'Numbers the observations of a record, starting at 1.';
comment on column record_ledger.record_observations.observed_at is 'When the count was recorded.';
comment on column record_ledger.record_observations.stage is 'Where it was counted: source, stage, target or another name that the team chose.';
comment on column record_ledger.record_observations.row_count is 'How many rows were counted.';
comment on column record_ledger.record_observations.detail is 'What else was observed: bytes, digests.';
comment on column record_ledger.record_observations.generation is 'The generation that the record was in.';
comment on column record_ledger.record_observations.claim_token is 'The claim under which it was counted, current at the time; null when it was counted without one, and to roles other than runners while it is still current.';
comment on column record_ledger.record_observations.run_id is 'The run of that claim.';
comment on column record_ledger.record_observations.actor is 'The database role that recorded it.';
comment on column record_ledger.record_observations.adopted_no is 'The observation of an earlier claim that this one takes over; null when it was counted anew.';
comment on column record_ledger.record_observations.is_evidence is
'Whether it decides, or decided, about completing: the newest of its stage under the claim that holds or completed the generation.';
