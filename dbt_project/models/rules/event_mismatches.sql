-- event_mismatches: places where the history of a record and the record itself do not add up.
-- One row per record, event and rule that does not hold. What the record as a whole breaks stands
-- at its last event, or at 0. The package's overview says what each rule asks.
{{ record_ledger.refuse_ledger_schema() }}
with pipeline_records as (
    select * from {{ source('record_ledger', 'pipeline_records') }}
),

record_events as (
    select * from {{ source('record_ledger', 'record_events') }}
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

events as (
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
        -- A released attempt is told in its event, but the record does not count it.
        attempt - (event = 'released')::integer as counted_attempt,
        event in ('passed', 'passed_again') as begins_claim,
        event in ('completed', 'failed', 'released', 'lease_expired') as ends_claim,
        case
            when event in ('passed', 'passed_again') then claim_token
            -- Waiving the counts of a record in progress leaves it to whoever holds it.
            when event = 'counts_waived' and to_status = 'IN_PROGRESS' then claim_token
        end as held_token
    from record_events
),

chained as (
    select
        events.*,
        row_number() over life as expected_no,
        lag(to_status, 1, 'PENDING') over life as expected_from_status,
        lag(generation, 1, 1) over life + (event = 'reopened')::integer as expected_generation,
        case
            when event = 'reopened' then 0
            else lag(counted_attempt, 1, 0) over life + (event = 'passed')::integer
        end as expected_attempt,
        -- Nothing but a pass, or a waiver after it, leaves a claim open for the next event.
        lag(held_token) over life as open_token,
        lead(event_no) over life is null as is_last
    from events
    window life as (partition by pipeline_id, window_start_time order by event_no)
),

tokens as (
    select
        pipeline_id,
        claim_token,
        case when claim_token is null then 'none' else 'passed ' || count(*) || ' times' end as found
    from events
    where begins_claim
    group by pipeline_id, claim_token
    having count(*) > 1 or claim_token is null
),

checked as (
    -- Each event against the one before it.
    select
        chained.pipeline_id,
        chained.window_start_time,
        chained.event_no,
        rules.rule,
        rules.expected,
        rules.found
    from chained
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
                when ends_claim then 'claim ' || claim_token
            end,
            case
                when not begins_claim and not ends_claim then null
                when open_token is null then 'no claim'
                when event = 'passed_again' then 'a claim'
                else 'claim ' || open_token
            end
        )
    ) as rules (rule, expected, found)

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

    -- Each record against what its events made of it.
    select
        records.pipeline_id,
        records.window_start_time,
        coalesce(last_event.event_no, 0) as event_no,
        rules.rule,
        rules.expected,
        rules.found
    from records
    left join chained as last_event
        on last_event.pipeline_id = records.pipeline_id
        and last_event.window_start_time = records.window_start_time
        and last_event.is_last
    cross join lateral (
        values
        ('record_status', coalesce(last_event.to_status, 'PENDING'), records.status),
        ('record_generation', coalesce(last_event.generation, 1)::text, records.generation::text),
        ('record_attempt', coalesce(last_event.counted_attempt, 0)::text, records.attempt::text),
        ('record_event', last_event.event, records.last_event),
        (
            'record_claim',
            coalesce('claim ' || last_event.held_token, 'no claim'),
            coalesce('claim ' || records.held_token, 'no claim')
        )
    ) as rules (rule, expected, found)

    union all

    -- Events of a record that is not there.
    select
        chained.pipeline_id,
        chained.window_start_time,
        chained.event_no,
        'record' as rule,
        'a record' as expected,
        'no record' as found
    from chained
    left join records
        on records.pipeline_id = chained.pipeline_id
        and records.window_start_time = chained.window_start_time
    where chained.is_last and records.pipeline_id is null
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
