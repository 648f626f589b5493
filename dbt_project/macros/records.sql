{#
  The life of a record step by step, for `dbt run-operation NAME --args '{...}'`. Each macro calls
  the ledger's routine of the same name, commits, prints the answer as one JSON object and returns
  it. A dbt run that processes one record has the hooks start_run and end_run instead.
#}
{% macro register_pipeline(config) %}
    {%- do record_ledger.refuse_templates(config) -%}
    {%- set sql -%}
        select pg_catalog.json_build_object('pipeline_id', r)::text
        from record_ledger.register_pipeline({{ record_ledger.json_literal(config) }}) as r
    {%- endset -%}
    {{ return(record_ledger.operation('register_pipeline', sql)) }}
{% endmacro %}


{% macro store_new_records(pipeline_id) %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations('store_new_records') -%}
    {%- set stored_count = record_ledger.run_alone(record_ledger.store_sql(pipeline_id)) | int -%}
    {{ return(record_ledger.answer({'pipeline_id': pipeline_id, 'stored_count': stored_count})) }}
{% endmacro %}


{% macro pass_valid_record(pipeline_id, run_id=none) %}
    {%- set sql = record_ledger.pass_sql(pipeline_id, run_id) -%}
    {{ return(record_ledger.operation('pass_valid_record', sql)) }}
{% endmacro %}


{% macro store_new_and_pass_valid_record(config, run_id=none) %}
    {%- do record_ledger.refuse_templates(config) -%}
    {%- set sql = record_ledger.store_and_pass_sql(config, run_id) -%}
    {{ return(record_ledger.operation('store_new_and_pass_valid_record', sql)) }}
{% endmacro %}


{% macro complete_record(pipeline_id, claim_token, detail={}, window_start_time=none) %}
    {%- set arguments = [record_ledger.json_literal(detail)] -%}
    {%- set sql = record_ledger.claim_sql(
        'complete_record', pipeline_id, claim_token, arguments, "'outcome', 'completed'",
        window_start_time
    ) -%}
    {{ return(record_ledger.operation('complete_record', sql)) }}
{% endmacro %}


{% macro fail_record(pipeline_id, claim_token, error, retry=true, window_start_time=none) %}
    {%- set arguments = [
        record_ledger.text_literal(error), record_ledger.text_literal(retry) ~ '::boolean'
    ] -%}
    {%- set sql = record_ledger.claim_sql(
        'fail_record', pipeline_id, claim_token, arguments, "'outcome', 'failed'", window_start_time
    ) -%}
    {{ return(record_ledger.operation('fail_record', sql)) }}
{% endmacro %}


{% macro release_record(pipeline_id, claim_token, not_before=none, window_start_time=none) %}
    {%- set arguments = [record_ledger.time_of(pipeline_id, not_before)] -%}
    {%- set sql = record_ledger.claim_sql(
        'release_record', pipeline_id, claim_token, arguments, "'outcome', 'released'",
        window_start_time
    ) -%}
    {{ return(record_ledger.operation('release_record', sql)) }}
{% endmacro %}


{% macro extend_lease(pipeline_id, claim_token, window_start_time=none) %}
    {%- set sql = record_ledger.claim_sql(
        'extend_lease', pipeline_id, claim_token, [], "'outcome', 'extended', 'lease_expires_at', a",
        window_start_time
    ) -%}
    {{ return(record_ledger.operation('extend_lease', sql)) }}
{% endmacro %}


{# Runs a statement that returns JSON text. Only `dbt run-operation` may call it. #}
{% macro operation(name, sql) %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations(name) -%}
    {{ return(record_ledger.answer(fromjson(record_ledger.run_alone(sql)))) }}
{% endmacro %}


{% macro store_sql(pipeline_id) %}
    {{ return("call record_ledger.store_new_records(" ~ record_ledger.text_literal(pipeline_id) ~ ")") }}
{% endmacro %}


{% macro pass_sql(pipeline_id, run_id) %}
    select pg_catalog.json_build_object(
        'exit_dag', a.exit_dag, 'verdict', a.verdict, 'reason', a.reason, 'record', a.record
    )::text
    from record_ledger.pass_valid_record(
        {{ record_ledger.text_literal(pipeline_id) }}, {{ record_ledger.text_literal(run_id) }}
    ) as a
{% endmacro %}


{% macro store_and_pass_sql(config, run_id) %}
    select pg_catalog.json_build_object(
        'exit_dag', a.exit_dag, 'verdict', a.verdict, 'reason', a.reason, 'record', a.record
    )::text
    from record_ledger.store_new_and_pass_valid_record(
        {{ record_ledger.json_literal(config) }}, {{ record_ledger.text_literal(run_id) }}
    ) as a
{% endmacro %}


{# A call of a routine that takes a claim token. The answer names pipeline, token and outcome. #}
{% macro claim_sql(routine, pipeline_id, claim_token, arguments, outcome, window_start_time=none) %}
    {%- set claim = [
        record_ledger.text_literal(pipeline_id), record_ledger.text_literal(claim_token) ~ '::bigint'
    ] -%}
    select pg_catalog.json_build_object(
        'pipeline_id', {{ claim[0] }}, 'claim_token', {{ claim[1] }}, {{ outcome }}
    )::text
    from record_ledger.{{ routine }}(
        {{ (claim + arguments + [record_ledger.time_of(pipeline_id, window_start_time)]) | join(', ') }}
    ) as a
{% endmacro %}


{# The instant of a time in the pipeline's zone, as SQL; null without a time. #}
{% macro time_of(pipeline_id, time) -%}
    {%- if time is none -%}null::timestamptz{%- else -%}
        record_ledger.pipeline_time({{ record_ledger.text_literal(pipeline_id) }}, {{ record_ledger.text_literal(time) }})
    {%- endif -%}
{%- endmacro %}


{#
  Only the runner renders the templates of a config. An unrendered record would keep its braces, or
  would wait for a run of the runner.
#}
{% macro refuse_templates(config) %}
    {%- set found = [] -%}
    {%- for field, value in ((config or {}).get('default_record') or {}).items() -%}
        {%- set text = tojson(record_ledger.plain(value)) -%}
        {%- if field != 'pipeline_id' and ('{{' in text or '{%' in text or '{#' in text) -%}
            {%- do found.append("default_record." ~ field ~ " is " ~ text) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if found -%}
        {{ exceptions.raise_compiler_error(
            "This config has templates, which dbt does not render: " ~ found | join("; ") ~ ". "
            ~ "Have the runner pass the pipeline's records (`record-ledger run` or `exec`), or give "
            ~ "the config without templates. Nothing was written."
        ) }}
    {%- endif -%}
{% endmacro %}
