{#
  Succeeds when the data of a pipeline have no hole: every window before its newest completed one is
  completed or waived, and windows tile time. A row is a window that is not done, or the one after
  a gap.
#}
{% test no_gaps(model, pipeline_id) %}
with pipelines as (
    select * from {{ source('record_ledger', 'pipelines') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

completed as (
    select pg_catalog.max(window_start_time) as last_start_time
    from {{ source('record_ledger', 'pipeline_records') }}
    where status = 'COMPLETED' and pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

verdicts as (
    select * from {{ source('record_ledger', 'record_verdicts') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

gaps as (
    {{ record_ledger.gaps_between_windows(source('record_ledger', 'pipeline_records')) }}
)

{{ record_ledger.unknown_pipeline('no_gaps', pipeline_id) }}

union all

select
    verdicts.pipeline_id,
    verdicts.window_start_time,
    'not done, though a later window is: ' || verdicts.reason as problem
from verdicts
join completed on completed.last_start_time > verdicts.window_start_time

union all

select
    gaps.pipeline_id,
    gaps.gap_end_time as window_start_time,
    pg_catalog.format(
        'no window covers the time from %s to %s',
        record_ledger.local_time(gaps.gap_start_time, pipelines.timezone),
        record_ledger.local_time(gaps.gap_end_time, pipelines.timezone)
    ) as problem
from gaps
join pipelines on pipelines.pipeline_id = gaps.pipeline_id
where gaps.pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
{% endtest %}
