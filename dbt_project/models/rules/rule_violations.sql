-- rule_violations: the violations of all models of rules, each as a sentence.
-- One row per violation. The model that the rule is named after has the facts in columns.
{{ record_ledger.refuse_ledger_schema() }}
with pipelines as (
    select * from {{ source('record_ledger', 'pipelines') }}
),

violations as (
    select
        'window_gaps' as rule,
        pipeline_id,
        gap_end_time as window_start_time,
        'no window covers the time from %1$s to %2$s' as sentence,
        gap_start_time as first_time,
        gap_end_time as second_time,
        null as found
    from {{ ref('window_gaps') }}

    union all

    select
        'window_overlaps' as rule,
        pipeline_id,
        window_start_time,
        'earlier windows cover the time from %1$s to %2$s already' as sentence,
        window_start_time as first_time,
        least(covered_until, window_end_time) as second_time,
        null as found
    from {{ ref('window_overlaps') }}

    union all

    select
        'claim_mismatches' as rule,
        pipeline_id,
        window_start_time,
        'window %1$s is %3$s' as sentence,
        window_start_time as first_time,
        null as second_time,
        status || ' with '
        || case when claim_token is null then 'no claim' else 'claim ' || claim_token::text end
        || case when run_id is null then '' else ' of run ' || run_id end
        || case when lease_expires_at is null then ', no lease' else ', a lease' end
        || case when retry_at is null then '' else ', a time to try again' end as found
    from {{ ref('claim_mismatches') }}

    union all

    select
        'run_conflicts' as rule,
        pipeline_id,
        first_window_start_time as window_start_time,
        'run %3$s, from window %1$s to window %2$s' as sentence,
        first_window_start_time as first_time,
        last_window_start_time as second_time,
        run_id || ' was passed ' || record_count::text || ' records' as found
    from {{ ref('run_conflicts') }}

    union all

    select
        'event_mismatches' as rule,
        pipeline_id,
        window_start_time,
        'window %1$s, %3$s' as sentence,
        window_start_time as first_time,
        null as second_time,
        case event_no when 0 then 'which has no event: ' else 'event ' || event_no::text || ': ' end
        || rule || ' must be ' || coalesce(expected, 'none') || ', but is '
        || coalesce(found, 'none') as found
    from {{ ref('event_mismatches') }}
)

select
    violations.rule,
    violations.pipeline_id,
    violations.window_start_time,
    pg_catalog.format(
        violations.sentence,
        record_ledger.local_time(violations.first_time, coalesce(pipelines.timezone, 'UTC')),
        record_ledger.local_time(violations.second_time, coalesce(pipelines.timezone, 'UTC')),
        violations.found
    ) as what
from violations
left join pipelines
    on pipelines.pipeline_id = violations.pipeline_id
