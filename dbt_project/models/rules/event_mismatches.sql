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
        event in ('completed', 'failed', 'released', 'lease_expired') as ends_claim
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
        lead(event_no) over life is null as is_last
    from events
    window life as (partition by pipeline_id, window_start_time order by event_no)
),

claims as (
    select
        events.*,
        lag(begins_claim, 1, false) over life as is_claimed,
        lag(claim_token) over life as held_token,
        count(*) filter (where begins_claim) over (
            partition by pipeline_id, claim_token
        ) as pass_count,
        case when begins_claim then claim_token end as open_token,
        lead(event_no) over life is null as is_last
    from events
    where begins_claim or ends_claim
    window life as (partition by pipeline_id, window_start_time order by event_no)
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
        ('attempt', expected_attempt::text, attempt::text)
    ) as rules (rule, expected, found)

    union all

    -- Each event of a claim against the claim that was open.
    select
        claims.pipeline_id,
        claims.window_start_time,
        claims.event_no,
        rules.rule,
        rules.expected,
        rules.found
    from claims
    cross join lateral (
        values
        (
            'claim',
            case event
                when 'passed' then 'no claim'
                when 'passed_again' then 'a claim'
                else 'claim ' || claim_token
            end,
            case
                when not is_claimed then 'no claim'
                when event = 'passed_again' then 'a claim'
                else 'claim ' || held_token
            end
        ),
        (
            'claim_token',
            case when begins_claim then 'passed once' end,
            case
                when begins_claim and claim_token is null then 'none'
                when begins_claim and pass_count = 1 then 'passed once'
                when begins_claim then 'passed ' || pass_count || ' times'
            end
        )
    ) as rules (rule, expected, found)

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
    left join claims as last_claim
        on last_claim.pipeline_id = records.pipeline_id
        and last_claim.window_start_time = records.window_start_time
        and last_claim.is_last
    cross join lateral (
        values
        ('record_status', coalesce(last_event.to_status, 'PENDING'), records.status),
        ('record_generation', coalesce(last_event.generation, 1)::text, records.generation::text),
        ('record_attempt', coalesce(last_event.counted_attempt, 0)::text, records.attempt::text),
        ('record_event', last_event.event, records.last_event),
        (
            'record_claim',
            coalesce('claim ' || last_claim.open_token, 'no claim'),
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
