{#
  Succeeds when the lag of a pipeline is not greater than `within`, a duration like 2h: every window
  that has been stable for longer is completed or waived. The lag also grows while no run comes. The
  only row says how far the pipeline is behind and why.
#}
{% test caught_up(model, pipeline_id, within) %}
{%- if not within -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger.caught_up: within is missing; give a duration like 2h under `arguments:`."
    ) }}
{%- endif -%}
{%- set within = record_ledger.text_literal(within) -%}
with pipelines as (
    select
        *,
        record_ledger.duration({{ within }}) as greatest_lag
    from {{ source('record_ledger', 'pipelines') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

progress as (
    select * from {{ source('record_ledger', 'pipeline_progress') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
)

{{ record_ledger.unknown_pipeline('caught_up', pipeline_id) }}

union all

select
    pipelines.pipeline_id,
    null as window_start_time,
    case
        when pipelines.greatest_lag is null
            then 'within: "' || {{ within }} || '" is not a valid duration; write it like 2h or 1d2h30m'
        when pipelines.is_retired
            then 'retired, so nothing is stored or passed any more: resume it, or drop this test'
        else pg_catalog.format(
            'behind by %s (h:mm:ss), done until %s: %s',
            pg_catalog.to_char(pg_catalog.make_interval(secs => extract(epoch from progress.lag)), 'FMHH24:MI:SS'),
            record_ledger.local_time(progress.done_until, pipelines.timezone),
            progress.reason
        )
    end as problem
from pipelines
left join progress on progress.pipeline_id = pipelines.pipeline_id
-- A pipeline without progress has not caught up, and a null limit is an error.
where (progress.lag <= pipelines.greatest_lag) is not true
{% endtest %}
