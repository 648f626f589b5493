{# What a run that processes one record refuses, before it writes anything. #}

{% macro refuse_other_than_whole_window() %}
    {%- set problems = [] -%}
    {%- if flags.FULL_REFRESH -%}
        {%- do problems.append("--full-refresh would replace whole tables by its window") -%}
    {%- endif -%}
    {%- if flags.EMPTY -%}{%- do problems.append("--empty would load nothing of it") -%}{%- endif -%}
    {%- if invocation_args_dict.sample -%}
        {%- do problems.append("--sample would load a part of it") -%}
    {%- endif -%}
    {%- if problems -%}
        {{ exceptions.raise_compiler_error(
            "This run is about one record: " ~ problems | join(", ") ~ ". To build everything anew, "
            ~ "drop the tables and reopen their records (dbt run-operation reopen_records)."
        ) }}
    {%- endif -%}
{% endmacro %}


{#
  Checks the nodes that use the window in their own text. A node that uses it through a macro of the
  project is refused later, when it reads the window; then the record fails.
#}
{% macro refuse_unsafe_nodes() %}
    {%- set window = [
        'macro.record_ledger.window_start', 'macro.record_ledger.window_end',
        'macro.record_ledger.in_window',
    ] -%}
    {%- for id in selected_resources if id in graph.nodes -%}
        {%- set node = graph.nodes[id] -%}
        {%- if node.depends_on.macros | select('in', window) | list -%}
            {%- do record_ledger.refuse_unsafe_node(node) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{# A table or a view that is filtered by the window would keep nothing but that window. #}
{% macro refuse_unsafe_node(node) %}
    {%- if node.resource_type in ('test', 'unit_test', 'operation', 'sql_operation', 'analysis') -%}
        {{ return('') }}
    {%- endif -%}
    {%- set kind = node.config.materialized -%}
    {%- if node.resource_type != 'model' or kind != 'incremental' -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " is materialized as " ~ kind ~ ", so all of it would be replaced by one "
            ~ "window, and by nothing in a run with nothing to do: only incremental models may use "
            ~ "window_start, window_end and in_window."
        ) }}
    {%- elif flags.WHICH in ('run', 'build') and node.config.full_refresh -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " has full_refresh, so all of it would be replaced by one window."
        ) }}
    {%- endif -%}
{% endmacro %}


{% macro refuse_to_pass(pipeline_id, config, run_id) %}
    {%- if (pipeline_id is none) == (config is none) -%}
        {{ exceptions.raise_compiler_error(
            "start_run: give either pipeline_id, of a registered pipeline, or config."
        ) }}
    {%- endif -%}
    {%- if not run_id and not selected_resources -%}
        {#- A retry runs only what failed. With another record, only those models would load its window. -#}
        {{ exceptions.raise_compiler_error(
            "dbt retry is a run of its own, which would be passed another record: have start_run "
            ~ "take a run_id that stays the same, such as var('run_id'), or run dbt build again."
        ) }}
    {%- endif -%}
    {%- for node in record_ledger.microbatch_models() if node.unique_id in selected_resources -%}
        {{ exceptions.raise_compiler_error(
            "Model " ~ node.name ~ " is microbatch: its range comes from dbt's command line, so "
            ~ "have the record passed before dbt is started (record-ledger exec), or exclude it."
        ) }}
    {%- endfor -%}
    {%- if config is not none -%}
        {%- do record_ledger.refuse_templates(config) -%}
    {%- else -%}
        {%- set sql -%}
            select default_record::text
            from record_ledger.pipelines
            where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
        {%- endset -%}
        {#- For an unknown pipeline the query returns no row; the ledger raises the error later. -#}
        {%- for found in run_query(sql).columns[0].values() -%}
            {%- do record_ledger.refuse_templates({'default_record': fromjson(found)}) -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}


{% macro refuse_other_pipeline(record, pipeline_id, config) %}
    {%- set config = config or {} -%}
    {%- set expected = pipeline_id or config.get('pipeline_id')
        or config.get('default_record', {}).get('pipeline_id') -%}
    {%- if expected and expected != record.pipeline_id -%}
        {{ exceptions.raise_compiler_error(
            "RECORD_LEDGER_RECORD holds a record of pipeline " ~ record.pipeline_id ~ ", and "
            ~ "start_run is about pipeline " ~ expected ~ ": run each by itself."
        ) }}
    {%- endif -%}
{% endmacro %}


{# dbt reads a range in UTC and rounds it out to whole batches, so it may differ from the window. #}
{% macro refuse_other_batches(record) %}
    {%- set start = record_ledger.text_literal(record.window_start_time) ~ "::timestamptz" -%}
    {%- set end = record_ledger.text_literal(record.window_end_time) ~ "::timestamptz" -%}
    {%- for node in record_ledger.microbatch_models()
        if node.unique_id in selected_resources or not selected_resources -%}
        {%- set sql -%}
            select pg_catalog.json_build_object(
                'start', w.window_start,
                'end', w.window_end,
                'is_on_grid', pg_catalog.date_trunc(g.size, w.window_start) = w.window_start
                    and pg_catalog.date_trunc(g.size, w.window_end) = w.window_end
            )::text
            from (select {{ start }} at time zone 'UTC', {{ end }} at time zone 'UTC')
                as w (window_start, window_end)
            cross join (select {{ record_ledger.text_literal(node.config.batch_size) }}) as g (size)
        {%- endset -%}
        {%- set window = fromjson(record_ledger.run_alone(sql)) -%}
        {%- set given = [] -%}
        {%- for option in ('event_time_start', 'event_time_end') -%}
            {%- set time = invocation_args_dict[option] -%}
            {%- do given.append(time.isoformat() if time else 'not given') -%}
        {%- endfor -%}
        {%- if not window.is_on_grid -%}
            {{ exceptions.raise_compiler_error(
                "Model " ~ node.name ~ ": its batches of a " ~ node.config.batch_size ~ " in UTC do "
                ~ "not fit the window " ~ record.window_start_time ~ " to " ~ record.window_end_time
                ~ " (" ~ window.start ~ " to " ~ window.end ~ " in UTC), and dbt would round it out. "
                ~ "Choose a smaller batch_size, or windows that begin and end with its batches."
            ) }}
        {%- elif given != [window.start, window.end] -%}
            {{ exceptions.raise_compiler_error(
                "Model " ~ node.name ~ " is microbatch, and dbt's range is not the window of the "
                ~ "record: --event-time-start is " ~ given[0] ~ " and must be " ~ window.start
                ~ "; --event-time-end is " ~ given[1] ~ " and must be " ~ window.end ~ " (in UTC)."
            ) }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{% macro microbatch_models() %}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
        {%- if node.config.materialized == 'incremental'
            and node.config.incremental_strategy == 'microbatch' -%}
            {%- do found.append(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
