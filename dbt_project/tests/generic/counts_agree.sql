{#
  Succeeds when the counts of each published window of a pipeline agree: every stage was counted, and
  no count is off from the first stage by more than the tolerance. The default of `stages` is those
  of the pipeline's required_counts, else source and target. The default of `tolerance` ('5 rows',
  '0.1%') is that of required_counts, else 0 rows. `from_date` leaves out the windows of earlier days.
  Windows whose counts an operator waived are left out too: the history has the reason. A row is a
  window.
#}
{% test counts_agree(model, pipeline_id, stages=none, tolerance=none, from_date=none) %}
{%- if stages is not none and (stages is string or stages is not sequence or not stages) -%}
    {#- Without a stage the counts of every window would agree. -#}
    {{ exceptions.raise_compiler_error(
        "record_ledger.counts_agree: stages is " ~ tojson(stages) ~ "; give a list of one or more, "
        ~ 'like ["source", "target"], or leave it out.'
    ) }}
{%- endif -%}
with asked as (
    select
        {% if stages is none -%}
            coalesce(required_counts -> 'stages', '["source", "target"]') as stages,
        {%- else -%}
            {{ record_ledger.text_literal(tojson(stages)) }}::jsonb as stages,
        {%- endif %}
        coalesce(
            {{ record_ledger.text_literal(tolerance) }}, required_counts ->> 'tolerance', '0 rows'
        ) as tolerance
    from {{ source('record_ledger', 'pipelines') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

records as (
    select window_start_time, published_generation
    from (select * from {{ source('record_ledger', 'pipeline_records') }}) as published
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
        and published_generation is not null
        -- The counts of a published generation stay waived while a later one is under way.
        and not exists (
            select
            from (select * from {{ source('record_ledger', 'record_events') }}) as waivers
            where waivers.pipeline_id = published.pipeline_id
                and waivers.window_start_time = published.window_start_time
                and waivers.generation = published.published_generation
                and waivers.event = 'counts_waived'
        )
        {% if from_date is not none -%}
            and target_day >= {{ record_ledger.day_literal('counts_agree', 'from_date', from_date) }}
        {%- endif %}
),

evidence as (
    select observations.window_start_time, observations.stage, observations.row_count
    from (select * from {{ source('record_ledger', 'record_observations') }}) as observations
    join records
        on records.window_start_time = observations.window_start_time
        and records.published_generation = observations.generation
    where observations.pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
        and observations.is_evidence
),

counted as (
    select
        records.window_start_time,
        stages.stage,
        evidence.row_count,
        pg_catalog.first_value(evidence.row_count) over (
            partition by records.window_start_time order by stages.stage_no
        ) as first_count,
        asked.tolerance,
        stages.stage_no
    from records
    cross join asked
    cross join lateral pg_catalog.jsonb_array_elements_text(asked.stages)
        with ordinality as stages (stage, stage_no)
    left join evidence
        on evidence.window_start_time = records.window_start_time
        and evidence.stage = stages.stage
)

{{ record_ledger.unknown_pipeline('counts_agree', pipeline_id) }}

union all

select
    {{ record_ledger.text_literal(pipeline_id) }} as pipeline_id,
    null as window_start_time,
    'tolerance: "' || asked.tolerance || '" is not a valid tolerance; write it like 5 rows or 0.1%' as problem
from asked
where record_ledger.count_tolerance(asked.tolerance, 0) is null

union all

select
    {{ record_ledger.text_literal(pipeline_id) }} as pipeline_id,
    counted.window_start_time,
    'counts do not agree: ' || pg_catalog.string_agg(
        counted.stage || ' ' || coalesce(counted.row_count::text, 'was not counted'),
        ', ' order by counted.stage_no
    ) as problem
from counted
where record_ledger.count_tolerance(counted.tolerance, 0) is not null
group by counted.window_start_time
having not coalesce(
    pg_catalog.bool_and(
        pg_catalog.abs(counted.row_count - counted.first_count)::numeric
        <= record_ledger.count_tolerance(counted.tolerance, counted.first_count)
    ) and pg_catalog.count(*) = pg_catalog.count(counted.row_count),
    false
)
{% endtest %}
