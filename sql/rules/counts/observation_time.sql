-- record_ledger.observation_time: when an observation of a locked record is made, by the server's clock.
-- It is never before the record's newest change or observation: history must not run backwards when a clock is set
-- back.
-- Called by: adopt_observations, observe_record.
-- Uses: clock.
-- Tests: test_observations.py.
create or replace function record_ledger.observation_time(r record_ledger.record)
returns timestamptz
language sql
volatile
as $$
    select greatest(record_ledger.clock(), r.updated_at, max(o.observed_at))
    from record_ledger.record_observation as o
    where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
$$;
comment on function record_ledger.observation_time(record_ledger.record) is
'Private. When an observation of a locked record is made: now, but not before its newest change or observation.';
