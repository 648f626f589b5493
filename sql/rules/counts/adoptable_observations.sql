-- record_ledger.adoptable_observations: the counts that a claim may take over from earlier claims of its generation.
-- Of each stage that the claim has not counted itself: the newest observation of a claim current at that time.
-- Called by: adopt_observations, counts_problem.
-- Uses: none.
-- Tests: test_observations.py, test_counts_model.py.
create or replace function record_ledger.adoptable_observations(
    pipeline_id text, window_start_time timestamptz, claim_token bigint
)
returns setof record_ledger.record_observation
language sql
stable
as $$
    select distinct on (o.stage) o.*
    from record_ledger.record_observation as o
    where o.pipeline_id = adoptable_observations.pipeline_id
        and o.window_start_time = adoptable_observations.window_start_time
        and o.claim_token < adoptable_observations.claim_token
        and o.generation = (
            select r.generation
            from record_ledger.record as r
            where r.pipeline_id = o.pipeline_id and r.window_start_time = o.window_start_time
        )
        and not exists (
            select
            from record_ledger.record_observation as n
            where n.pipeline_id = o.pipeline_id
                and n.window_start_time = o.window_start_time
                and n.claim_token = adoptable_observations.claim_token
                and n.stage = o.stage
        )
    order by o.stage, o.observation_no desc
$$;
comment on function record_ledger.adoptable_observations(text, timestamptz, bigint) is
'Private. The newest observation per stage that a claim may take over from earlier claims of its generation.';
