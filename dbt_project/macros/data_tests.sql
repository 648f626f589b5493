{#
  The query that finds an unknown pipeline id of a data test: one row when no such pipeline is
  registered, no row otherwise. A test of an unknown pipeline checks nothing, so it must not succeed.
  The query reads the source itself: `dbt build --empty` sees no row of it and would know no pipeline.
#}
{% macro unknown_pipeline(test, pipeline_id) %}
{%- if pipeline_id is undefined or pipeline_id is not string or not pipeline_id -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger." ~ test ~ ": pipeline_id is missing or not text; give the name of a "
        ~ "registered pipeline under `arguments:`, in quotes when it looks like a number."
    ) }}
{%- endif -%}
{%- set pipeline = record_ledger.text_literal(pipeline_id) -%}
select
    {{ pipeline }} as pipeline_id,
    null::timestamptz as window_start_time,
    'no pipeline of this name is registered'
    || coalesce(
        '; did you mean "' || nullif(pg_catalog.array_to_string(near.names, '" or "'), '') || '"?', ''
    ) as problem
from (
    select
        record_ledger.near_names(
            {{ pipeline }}, coalesce(pg_catalog.array_agg(pipeline_id order by pipeline_id), '{}')
        ) as names,
        coalesce(pg_catalog.bool_or(pipeline_id = {{ pipeline }}), false) as is_known
    from {{ source('record_ledger', 'pipelines').render() }}
) as near
where not near.is_known
{% endmacro %}


{# A day as an argument of a data test. PostgreSQL would also accept 'yesterday' and 01/02/2026. #}
{% macro day_literal(test, name, value) %}
{%- if not modules.re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}', value | string) -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger." ~ test ~ ": " ~ name ~ " is " ~ value ~ "; give a day, like 2026-11-22."
    ) }}
{%- endif -%}
{{ return(record_ledger.text_literal(value) ~ "::date") }}
{% endmacro %}
