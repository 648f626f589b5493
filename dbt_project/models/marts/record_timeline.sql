-- record_timeline: the life of each record, archived or not, from its window's end to its completion.
-- One row per record, that is per stored window of a pipeline. Durations are elapsed seconds.
{{ record_ledger.refuse_ledger_schema() }}
{%- set columns = [
    'pipeline_id', 'target_day', 'window_start_time', 'window_end_time', 'status', 'generation',
    'attempt', 'run_id', 'created_at'
] %}
with pipelines as (
    select * from {{ source('record_ledger', 'pipelines') }}
),

backfills as (
    -- A backfill adds windows before the first one: all of them end before the latest backfill's end.
    select
        pipeline_id,
        pg_catalog.max((detail ->> 'to_time')::timestamptz) as backfilled_until
    from {{ source('record_ledger', 'pipeline_events') }}
    where event = 'backfilled'
    group by pipeline_id
),

records as (
    select {{ columns | join(', ') }}, false as is_archived
    from {{ source('record_ledger', 'pipeline_records') }}
    union all
    select {{ columns | join(', ') }}, true as is_archived
    from {{ source('record_ledger', 'archived_records') }}
),

events as (
    select pipeline_id, window_start_time, event_no, event_time, event, generation, attempt, run_id
    from {{ source('record_ledger', 'record_events') }}
    union all
    select pipeline_id, window_start_time, event_no, event_time, event, generation, attempt, run_id
    from {{ source('record_ledger', 'archived_record_events') }}
),

followed as (
    select
        events.*,
        -- When this event's attempt began.
        pg_catalog.max(event_time) filter (where event = 'passed') over life as passed_at
    from events
    window life as (
        partition by pipeline_id, window_start_time
        order by event_no
        rows unbounded preceding
    )
),

histories as (
    select
        pipeline_id,
        window_start_time,
        pg_catalog.min(event_time) filter (where event = 'passed') as first_passed_at,
        pg_catalog.max(event_time) filter (where event = 'passed') as last_passed_at,
        pg_catalog.min(event_time) filter (where event = 'completed') as first_completed_at,
        pg_catalog.max(event_time) filter (where event = 'completed') as last_completed_at,
        pg_catalog.count(*) filter (where event = 'passed') as pass_count,
        pg_catalog.count(*) filter (where event = 'passed_again') as repeat_count,
        pg_catalog.count(*) filter (where event = 'failed') as failure_count,
        pg_catalog.count(*) filter (where event = 'lease_expired') as expiry_count,
        pg_catalog.count(*) filter (where event = 'released') as release_count,
        -- Attempts whose lease expired do not count: the ledger does not know when such a run died.
        pg_catalog.sum(event_time - passed_at) filter (
            where event in ('completed', 'failed', 'released')
        ) as run_time,
        pg_catalog.jsonb_agg(
            pg_catalog.jsonb_build_object(
                'generation', generation, 'attempt', attempt, 'run_id', run_id,
                'passed_at', passed_at, 'ended_at', event_time, 'ended_by', event
            )
            order by event_no
        ) filter (
            where event in ('completed', 'failed', 'released', 'lease_expired')
        ) as ended_attempts
    from followed
    group by pipeline_id, window_start_time
),

dated as (
    select
        records.*,
        pipelines.timezone,
        records.window_end_time + pipelines.x_time_back as stable_at,
        records.window_end_time + pipelines.x_time_back < pipelines.created_at
        or coalesce(records.window_start_time < backfills.backfilled_until, false) as is_backfill
    from records
    join pipelines
        on pipelines.pipeline_id = records.pipeline_id
    left join backfills
        on backfills.pipeline_id = records.pipeline_id
)

select
    dated.pipeline_id,
    dated.timezone,
    dated.target_day,
    dated.window_start_time,
    dated.window_end_time,
    dated.status,
    dated.generation,
    dated.is_archived,
    dated.is_backfill,
    dated.created_at,
    dated.stable_at,
    histories.first_passed_at,
    histories.first_completed_at,
    case when dated.status = 'COMPLETED' then histories.last_completed_at end as completed_at,
    coalesce(histories.pass_count, 0) as pass_count,
    coalesce(histories.repeat_count, 0) as repeat_count,
    coalesce(histories.failure_count, 0) as failure_count,
    coalesce(histories.expiry_count, 0) as expiry_count,
    coalesce(histories.release_count, 0) as release_count,
    extract(epoch from moment.as_of - dated.stable_at)::double precision as stable_for_seconds,
    extract(
        epoch from histories.first_passed_at - greatest(dated.stable_at, dated.created_at)
    )::double precision as wait_seconds,
    extract(epoch from coalesce(histories.run_time, interval '0'))::double precision as run_seconds,
    extract(
        epoch from histories.first_completed_at - dated.stable_at
    )::double precision as completed_after_seconds,
    coalesce(histories.ended_attempts, '[]')
    || case
        when dated.status = 'IN_PROGRESS'
            then pg_catalog.jsonb_build_object(
                'generation', dated.generation, 'attempt', dated.attempt, 'run_id', dated.run_id,
                'passed_at', histories.last_passed_at, 'ended_at', null, 'ended_by', null
            )
        else '[]'
    end as attempts
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per record.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join dated
left join histories
    on histories.pipeline_id = dated.pipeline_id
    and histories.window_start_time = dated.window_start_time
