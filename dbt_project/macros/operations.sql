{#
  What a person does to records and pipelines, for `dbt run-operation NAME --args '{...}'`: each
  macro calls the routine of the ledger that has its name and commits. Times are ISO 8601; without
  an offset they are the pipeline's local time, a date is its first instant. A local time that
  comes twice is refused.
#}
{% macro waive_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('waive_records', pipeline_id, [from_time, to_time], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro reopen_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('reopen_records', pipeline_id, [from_time, to_time], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro expire_leases(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('expire_leases', pipeline_id, [from_time, to_time], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro cancel_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('cancel_records', pipeline_id, [from_time, to_time], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro backfill_records(pipeline_id, from_time, reason=none) %}
    {{ return(record_ledger.operate('backfill_records', pipeline_id, [from_time], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro reopen_changed_records(pipeline_id) %}
    {{ return(record_ledger.operate('reopen_changed_records', pipeline_id)) }}
{% endmacro %}

{% macro pause_pipeline(pipeline_id, reason) %}
    {{ return(record_ledger.operate('pause_pipeline', pipeline_id, [], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro resume_pipeline(pipeline_id, reason=none) %}
    {{ return(record_ledger.operate('resume_pipeline', pipeline_id, [], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro retire_pipeline(pipeline_id, reason) %}
    {{ return(record_ledger.operate('retire_pipeline', pipeline_id, [], [record_ledger.text_literal(reason)])) }}
{% endmacro %}

{% macro set_pipeline_owner(pipeline_id, role=none) %}
    {{ return(record_ledger.operate('set_pipeline_owner', pipeline_id, [], [record_ledger.text_literal(role)])) }}
{% endmacro %}


{#
  Calls the routine of that name and says what it returned. Its arguments are the pipeline, times as
  people write them, which the function `reading` reads, and more: SQL expressions.
#}
{% macro operate(routine, pipeline_id, times=[], more=[], reading='pipeline_time') %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations(routine) -%}
    {%- set pipeline = record_ledger.text_literal(pipeline_id) -%}
    {%- set arguments = [pipeline] -%}
    {%- for time in times -%}
        {%- set text = record_ledger.text_literal(time) -%}
        {%- do arguments.append(
            "record_ledger." ~ reading ~ "(" ~ pipeline ~ ", " ~ text ~ ")"
        ) -%}
    {%- endfor -%}
    {%- do arguments.extend(more) -%}
    {%- set returned = record_ledger.run_alone(
        "select record_ledger." ~ routine ~ "(" ~ arguments | join(", ") ~ ")"
    ) -%}
    {#- A routine that returns nothing gives an empty text. -#}
    {%- set said = "done" if returned in (none, "") else returned | string -%}
    {%- do log(
        record_ledger.visible(routine ~ " of pipeline " ~ pipeline_id ~ ": " ~ said), info=True
    ) -%}
    {{ return(returned) }}
{% endmacro %}
