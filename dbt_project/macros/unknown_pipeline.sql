{#
  The query of what is wrong with the pipeline id that a data test was given: one row when nobody
  registered such a pipeline, because a test of nothing must not pass; no row otherwise.
#}
{% macro unknown_pipeline(test, pipeline_id) %}
{%- if pipeline_id is undefined or pipeline_id is not string or not pipeline_id -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger." ~ test ~ ": pipeline_id is missing or no text; give the name of a "
        ~ "registered pipeline under `arguments:`, in quotes when it looks like a number."
    ) }}
{%- endif -%}
{%- set pipeline = record_ledger.text_literal(pipeline_id) -%}
select
    {{ pipeline }} as pipeline_id,
    null::timestamptz as window_start_time,
    'nobody registered a pipeline of this name'
    || coalesce(
        '; did you mean "' || nullif(array_to_string(near.names, '" or "'), '') || '"?', ''
    ) as problem
from (
    select
        record_ledger.near_names(
            {{ pipeline }}, coalesce(array_agg(pipeline_id order by pipeline_id), '{}')
        ) as names,
        coalesce(bool_or(pipeline_id = {{ pipeline }}), false) as is_known
    from {{ source('record_ledger', 'pipelines') }}
) as near
where not near.is_known
{% endmacro %}
