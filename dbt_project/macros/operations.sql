{#
  Operations of people on records and pipelines, for `dbt run-operation NAME --args '{...}'`. Each
  macro does what the ledger's routine of the same name does, and commits. Times are ISO 8601;
  without an offset they are the pipeline's local time. A date is its first instant. The macros
  refuse a local time that comes twice.
#}
{% macro waive_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate_in_steps('waive_records', 'waive', pipeline_id, from_time, to_time, reason)) }}
{% endmacro %}

{% macro reopen_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate_in_steps('reopen_records', 'reopen', pipeline_id, from_time, to_time, reason)) }}
{% endmacro %}

{% macro expire_leases(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate_in_steps('expire_leases', 'expire', pipeline_id, from_time, to_time, reason)) }}
{% endmacro %}

{% macro cancel_records(pipeline_id, from_time, to_time, reason) %}
    {{ return(record_ledger.operate_in_steps('cancel_records', 'cancel', pipeline_id, from_time, to_time, reason)) }}
{% endmacro %}

{% macro backfill_records(pipeline_id, from_time, reason=none) %}
    {{ return(record_ledger.operate_in_steps('backfill_records', 'backfill', pipeline_id, from_time, none, reason)) }}
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
  Does an operation on a range in steps. Each step commits, so that runs of the pipeline get their
  turn between them. Logs and returns how many records changed. After an interruption every step is
  done or not begun; a second call does the rest.
#}
{% macro operate_in_steps(name, operation, pipeline_id, from_time, to_time, reason) %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations(name) -%}
    {%- set pipeline = record_ledger.text_literal(pipeline_id) -%}
    {%- set to = "null::timestamptz" if to_time is none
        else "record_ledger.pipeline_time(" ~ pipeline ~ ", " ~ record_ledger.text_literal(to_time) ~ ")" -%}
    {%- set so_far = namespace(changed=0, said=0, start=from_time, size=1000, is_done=false) -%}
    {#- Jinja has no `while`. No ledger has more records than 100,000 steps process. -#}
    {%- for _ in range(100000) if not so_far.is_done -%}
        {%- set step = record_ledger.row_of_alone(
            "select s.changed_count, record_ledger.iso_time(s.go_on_from), s.next_max_records"
            ~ " from record_ledger.range_step('" ~ operation ~ "', " ~ pipeline
            ~ ", record_ledger.pipeline_time(" ~ pipeline ~ ", "
            ~ record_ledger.text_literal(so_far.start) ~ "), " ~ to ~ ", "
            ~ record_ledger.text_literal(reason) ~ ", " ~ so_far.size ~ ") as s"
        ) -%}
        {%- set so_far.changed = so_far.changed + step[0] | int -%}
        {%- set so_far.start = step[1] -%}
        {%- set so_far.size = step[2] -%}
        {%- set so_far.is_done = step[1] is none -%}
        {%- if not so_far.is_done and so_far.changed - so_far.said >= 50000 -%}
            {%- set so_far.said = so_far.changed -%}
            {%- do log(
                record_ledger.visible(
                    name ~ " of pipeline " ~ pipeline_id ~ ": " ~ so_far.changed ~ " so far"
                ),
                info=True
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do log(
        record_ledger.visible(name ~ " of pipeline " ~ pipeline_id ~ ": " ~ so_far.changed), info=True
    ) -%}
    {{ return(so_far.changed) }}
{% endmacro %}


{#
  Calls the routine of that name and logs what it returned. Its arguments are the pipeline, `times`
  as people write them, and `more`: SQL expressions. The function `reading` reads the times.
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
    {#- A void routine returns an empty text. -#}
    {%- set said = "done" if returned in (none, "") else returned | string -%}
    {%- do log(
        record_ledger.visible(routine ~ " of pipeline " ~ pipeline_id ~ ": " ~ said), info=True
    ) -%}
    {{ return(returned) }}
{% endmacro %}
