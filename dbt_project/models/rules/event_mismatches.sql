-- event_mismatches: places where the history of a record and the record itself do not agree.
-- One row per record, event and rule that does not hold. A rule about the record as a whole stands
-- at its last event, or at 0. The package's overview says what each rule asks.
{{ record_ledger.refuse_ledger_schema() }}
with pipeline_records as (
    select * from {{ source('record_ledger', 'pipeline_records') }}
),

record_events as (
    select * from {{ source('record_ledger', 'record_events') }}
),

-- Read three times and not materialized: a scan of a large history costs less than a copy.
events as not materialized (
    select
        pipeline_id,
        window_start_time,
        event_no,
        event,
        from_status,
        to_status,
        generation,
        attempt,
        claim_token,
        -- The event of a release names its attempt, but the record does not count it.
        attempt - (event = 'released')::integer as counted_attempt,
        event in ('passed', 'passed_again') as begins_claim,
        event in ('completed', 'failed', 'released', 'lease_expired') as ends_claim,
        case
            when event in ('passed', 'passed_again') then claim_token
            -- After a waiver of its counts or a cancellation, the run keeps a record in progress.
            when event in ('counts_waived', 'cancelled') and to_status = 'IN_PROGRESS' then claim_token
        end as held_token
    from record_events
),

chained as (
    select
        events.*,
        pg_catalog.row_number() over life as expected_no,
        pg_catalog.lag(to_status, 1, 'PENDING') over life as expected_from_status,
        pg_catalog.lag(generation, 1, 1) over life + (event = 'reopened')::integer as expected_generation,
        case
            when event = 'reopened' then 0
            else pg_catalog.lag(counted_attempt, 1, 0) over life + (event = 'passed')::integer
        end as expected_attempt,
        -- Only a pass, or a waiver or cancellation after it, leaves a claim open for the next event.
        pg_catalog.lag(held_token) over life as open_token,
        pg_catalog.lead(event_no) over life is null as is_last
    from events
    window life as (partition by pipeline_id, window_start_time order by event_no)
),

-- A sound history has no odd event. The names and texts are added below, to few rows. This is
-- materialized, because its sort costs most.
judged as materialized (
    select *
    from (
        select
            chained.*,
            (event_no, from_status, generation, attempt)
            is distinct from
            (expected_no, expected_from_status, expected_generation, expected_attempt)
            or case
                when event = 'passed' then open_token is not null
                when event = 'passed_again' then open_token is null
                when ends_claim then (open_token = claim_token) is not true
                else false
            end as is_odd
        from chained
    ) as every_event
    where is_odd or is_last
),

tokens as (
    select
        pipeline_id,
        claim_token,
        case when claim_token is null then 'none' else 'passed ' || pg_catalog.count(*)::text || ' times' end as found
    from events
    where begins_claim
    group by pipeline_id, claim_token
    -- The ledger hides the tokens of current claims from roles that only read.
    having
        pg_catalog.count(*) > 1 and claim_token is not null
        or claim_token is null and (select record_ledger.sees_tokens())
),

records as (
    select
        pipeline_id,
        window_start_time,
        status,
        generation,
        attempt,
        last_event,
        case status when 'IN_PROGRESS' then claim_token end as held_token
    from pipeline_records
),

ended as (
    select
        coalesce(records.pipeline_id, last_event.pipeline_id) as pipeline_id,
        coalesce(records.window_start_time, last_event.window_start_time) as window_start_time,
        coalesce(last_event.event_no, 0) as event_no,
        records.pipeline_id is not null as has_record,
        coalesce(last_event.to_status, 'PENDING') as expected_status,
        records.status,
        coalesce(last_event.generation, 1) as expected_generation,
        records.generation,
        coalesce(last_event.counted_attempt, 0) as expected_attempt,
        records.attempt,
        last_event.event as expected_event,
        records.last_event as event,
        last_event.held_token as expected_token,
        records.held_token
    from records
    full join (select * from judged where is_last) as last_event
        on last_event.pipeline_id = records.pipeline_id
        and last_event.window_start_time = records.window_start_time
),

checked as (
    -- Each event against the one before it.
    select
        judged.pipeline_id,
        judged.window_start_time,
        judged.event_no,
        rules.rule,
        rules.expected,
        rules.found
    from judged
    cross join lateral (
        values
        ('event_no', expected_no::text, event_no::text),
        ('from_status', expected_from_status, from_status),
        ('generation', expected_generation::text, generation::text),
        ('attempt', expected_attempt::text, attempt::text),
        (
            'claim',
            case
                when event = 'passed' then 'no claim'
                when event = 'passed_again' then 'a claim'
                when ends_claim then 'claim ' || claim_token::text
            end,
            case
                when not begins_claim and not ends_claim then null
                when open_token is null then 'no claim'
                when event = 'passed_again' then 'a claim'
                else 'claim ' || open_token::text
            end
        )
    ) as rules (rule, expected, found)
    where judged.is_odd

    union all

    -- Each pass against all others of the pipeline.
    select
        events.pipeline_id,
        events.window_start_time,
        events.event_no,
        'claim_token' as rule,
        'passed once' as expected,
        tokens.found
    from events
    join tokens
        on tokens.pipeline_id = events.pipeline_id
        and tokens.claim_token is not distinct from events.claim_token
    where events.begins_claim

    union all

    -- Each record against its events. Events without a record are reported as such.
    select
        ended.pipeline_id,
        ended.window_start_time,
        ended.event_no,
        rules.rule,
        rules.expected,
        rules.found
    from ended
    cross join lateral (
        values
        ('record', 'a record', case when has_record then 'a record' else 'no record' end),
        ('record_status', expected_status, status),
        ('record_generation', expected_generation::text, generation::text),
        ('record_attempt', expected_attempt::text, attempt::text),
        ('record_event', expected_event, event),
        (
            'record_claim',
            coalesce('claim ' || expected_token::text, 'no claim'),
            coalesce('claim ' || held_token::text, 'no claim')
        )
    ) as rules (rule, expected, found)
    where (expected_status, expected_generation, expected_attempt, expected_event, expected_token)
        is distinct from (status, generation, attempt, event, held_token)
        and (has_record or rules.rule = 'record')
)

select
    checked.pipeline_id,
    checked.window_start_time,
    checked.event_no,
    checked.rule,
    checked.expected,
    checked.found
from checked
where checked.expected is distinct from checked.found
