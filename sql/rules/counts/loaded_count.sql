-- record_ledger.loaded_count: the count of its source that a completed generation of a record stands on.
-- It is the newest count under the claim that completed the generation, or else the newest one without a claim until
-- then. No row when the source was not counted by then. A count that is recorded before a completion never changes
-- after it.
-- Called by: lateness, observe_record, recount_due.
-- Uses: none.
-- Tests: test_recount_model.py.
create or replace function record_ledger.loaded_count(
    pipeline_id text, window_start_time timestamptz, generation integer
)
returns table (observation_no integer, observed_at timestamptz, row_count bigint)
language sql
stable
as $$
    select o.observation_no, coalesce(a.observed_at, o.observed_at), o.row_count
    from record_ledger.record_event as e
    -- The offset makes the plan read the counts of one record, independent of the tables' statistics.
    cross join lateral (
        select q.*
        from record_ledger.record_observation as q
        where q.pipeline_id = loaded_count.pipeline_id
            and q.window_start_time = loaded_count.window_start_time
        offset 0
    ) as o
    -- The time of the count itself, also when a later claim adopted it.
    left join record_ledger.record_observation as a
        on a.pipeline_id = loaded_count.pipeline_id
            and a.window_start_time = loaded_count.window_start_time
            and a.observation_no = o.adopted_no
    where e.pipeline_id = loaded_count.pipeline_id
        and e.window_start_time = loaded_count.window_start_time
        and e.generation = loaded_count.generation
        and e.event = 'completed'
        and o.generation = e.generation
        and o.stage = 'source'
        and o.changed_by is null
        and (
            o.claim_token = e.claim_token
            or o.claim_token is null and o.observed_at <= e.event_time
        )
    order by (o.claim_token is not null) desc, o.observation_no desc
    limit 1
$$;
comment on function record_ledger.loaded_count(text, timestamptz, integer) is
'Private. The count of its source that a completed generation of a record stands on; no row when there is none.';
