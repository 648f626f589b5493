{#
  What a person does to records and pipelines, for `dbt run-operation NAME --args '{...}'`: each
  macro calls the routine of the ledger that has its name and commits. Times are ISO 8601; without
  an offset they are the pipeline's local time, a date is its first instant.
#}
{% macro waive_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('waive_records', pipeline_id, [from_time, to_time], reason)) }}
{% endmacro %}

{% macro reopen_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('reopen_records', pipeline_id, [from_time, to_time], reason)) }}
{% endmacro %}

{% macro expire_leases(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate('expire_leases', pipeline_id, [from_time, to_time], reason)) }}
{% endmacro %}

{% macro backfill_records(pipeline_id, from_time, reason=none) %}
    {{ return(record_ledger.operate('backfill_records', pipeline_id, [from_time], reason)) }}
{% endmacro %}

{% macro reopen_changed_records(pipeline_id) %}
    {{ return(record_ledger.operate('reopen_changed_records', pipeline_id, [])) }}
{% endmacro %}

{% macro pause_pipeline(pipeline_id, reason) %}
    {{ return(record_ledger.operate('pause_pipeline', pipeline_id, [], reason)) }}
{% endmacro %}

{% macro resume_pipeline(pipeline_id, reason=none) %}
    {{ return(record_ledger.operate('resume_pipeline', pipeline_id, [], reason)) }}
{% endmacro %}

{% macro retire_pipeline(pipeline_id, reason) %}
    {{ return(record_ledger.operate('retire_pipeline', pipeline_id, [], reason)) }}
{% endmacro %}


{# Calls a routine in a transaction of its own, and says what it returned. #}
{% macro operate(routine, pipeline_id, times, reason) %}
    {#- A routine that asks for no reason is called without one. -#}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- if flags.WHICH != 'run-operation' -%}
        {#- A model or a hook would do it anew with every build, in the middle of a transaction. -#}
        {{ exceptions.raise_compiler_error(
            routine ~ " is for people: call it with `dbt run-operation " ~ routine ~ "`."
        ) }}
    {%- endif -%}
    {%- set pipeline = record_ledger.text_literal(pipeline_id) -%}
    {%- set arguments = [pipeline] -%}
    {%- for time in times -%}
        {%- set text = record_ledger.text_literal(time) -%}
        {%- do arguments.append("record_ledger.pipeline_time(" ~ pipeline ~ ", " ~ text ~ ")") -%}
    {%- endfor -%}
    {%- if reason is defined -%}
        {%- do arguments.append(record_ledger.text_literal(reason)) -%}
    {%- endif -%}
    {#- `statement` opens the transaction, which nothing would commit: `run_query` does not. -#}
    {%- call statement('operate', fetch_result=True) -%}
        select record_ledger.{{ routine }}({{ arguments | join(', ') }})
    {%- endcall -%}
    {%- do adapter.commit() -%}
    {%- set returned = load_result('operate')['data'][0][0] -%}
    {#- A routine that returns nothing gives an empty text. -#}
    {%- set said = "done" if returned in (none, "") else returned | string -%}
    {%- do log(routine ~ " of pipeline " ~ pipeline_id ~ ": " ~ said, info=True) -%}
    {{ return(returned) }}
{% endmacro %}


{#
  A value as a string constant of PostgreSQL, null for none. An escape string, because what a
  backslash means in others depends on the session's standard_conforming_strings.
#}
{% macro text_literal(value) %}
    {%- if value is undefined or value is none -%}{{ return("null::text") }}{%- endif -%}
    {%- set text = value | string | replace("\\", "\\\\") | replace("'", "''") -%}
    {{ return("E'" ~ text ~ "'") }}
{% endmacro %}
