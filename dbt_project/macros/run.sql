{#
  A dbt run that processes one record. The ledger passes the record to start_run, models read its
  window from window_start and window_end, keep_claim extends the lease, and end_run completes or
  fails the record. A project calls these macros in its own hooks; without hooks nothing happens.

  start_run keeps the record in dbt's `graph`, one dict for all threads of a run. Asking the ledger
  by run id would not do: a new run may have the id of a run that seemed dead. Only the claim token
  says which of the two holds the record.
#}
{% macro start_run(pipeline_id=none, config=none, run_id=none) %}
    {#- compile, docs and other commands render the hooks too, and build nothing. -#}
    {%- if not execute or flags.WHICH not in ('run', 'build') -%}{{ return('') }}{%- endif -%}
    {%- do record_ledger.refuse_other_than_whole_window() -%}
    {%- do record_ledger.refuse_unsafe_nodes() -%}
    {%- set passed_before = record_ledger.record_of_exec() -%}
    {%- if passed_before -%}
        {%- set run = {'record': passed_before, 'is_ours': false} -%}
        {%- do record_ledger.refuse_other_pipeline(run.record, pipeline_id, config) -%}
        {%- do record_ledger.refuse_other_batches(run.record) -%}
        {%- do record_ledger.run_alone(record_ledger.extension_sql(run.record)) -%}
        {%- set reason = "the record was passed before dbt was started" -%}
    {%- else -%}
        {%- do record_ledger.refuse_to_pass(pipeline_id, config, run_id) -%}
        {%- set run_id_used = run_id or invocation_id -%}
        {%- if config is none -%}
            {%- do record_ledger.run_alone(record_ledger.store_sql(pipeline_id)) -%}
            {%- set sql = record_ledger.pass_sql(pipeline_id, run_id_used) -%}
        {%- else -%}
            {%- set sql = record_ledger.store_and_pass_sql(config, run_id_used) -%}
        {%- endif -%}
        {%- set passed = fromjson(record_ledger.run_alone(sql)) -%}
        {%- set run = {
            'record': passed.record, 'is_ours': true, 'is_used': false, 'has_own_run_id': not run_id
        } -%}
        {%- set reason = passed.reason -%}
        {%- if passed.record is none -%}
            {%- set reason = "nothing to do, " ~ passed.verdict ~ ": " ~ reason -%}
        {%- endif -%}
    {%- endif -%}
    {%- do graph.update({'record_ledger': run}) -%}
    {%- do log("record_ledger: " ~ record_ledger.visible(reason), info=True) -%}
    {{ return('') }}
{% endmacro %}


{#
  The record that was passed before dbt was started, or nothing. `record-ledger exec` puts a record
  that is too long for a variable into the file RECORD_LEDGER_RECORD_FILE, which dbt cannot read.
  The columns that a dbt run needs are in variables of their own.
#}
{% macro record_of_exec() %}
    {%- set text = env_var('RECORD_LEDGER_RECORD', '') -%}
    {%- if text -%}{{ return(fromjson(text)) }}{%- endif -%}
    {%- if not env_var('RECORD_LEDGER_RECORD_FILE', '') -%}{{ return(none) }}{%- endif -%}
    {%- set record = {} -%}
    {%- for column in ['pipeline_id', 'window_start_time', 'window_end_time', 'claim_token'] -%}
        {%- do record.update({column: env_var('RECORD_LEDGER_' ~ column | upper)}) -%}
    {%- endfor -%}
    {{ return(record) }}
{% endmacro %}


{#
  Completes the record when every result is a success, fails it otherwise, and releases it when no
  model built its window; for on-run-end. Returns the statement: dbt runs it and reports a lost
  claim as an error of the run.
#}
{% macro end_run(results) %}
    {%- set run = record_ledger.current_run() -%}
    {%- if not run.is_ours or not run.record -%}{{ return('') }}{%- endif -%}
    {%- set record = run.record -%}
    {%- set claim = (
        record_ledger.text_literal(record.pipeline_id) ~ ", " ~ record.claim_token
        ~ ", window_start_time => " ~ record_ledger.text_literal(record.window_start_time)
    ) -%}
    {%- set what = record_ledger.visible(
        "window " ~ record.window_start_time ~ " of pipeline " ~ record.pipeline_id
    ) -%}
    {%- set left_out = record_ledger.left_out_of(results) -%}
    {%- set problems = record_ledger.problems_of(results, left_out if run.has_own_run_id else []) -%}
    {%- if results and problems -%}
        {%- do log(
            "record_ledger: failing " ~ what ~ ": " ~ record_ledger.visible(problems), info=True
        ) -%}
        {%- set error = record_ledger.text_literal(problems) -%}
        {{ return("select record_ledger.fail_record(" ~ claim ~ ", error => " ~ error ~ ")") }}
    {%- endif -%}
    {%- if not results or (not run.is_used and selected_resources and not left_out) -%}
        {#-
          Another hook failed before the first model, or no selected model uses the window.
          Completing the record would lose its window. A retry is different: it may run only models
          that do not use the window, because the earlier try built the others.
        -#}
        {%- do log("record_ledger: releasing " ~ what ~ ", which no model loaded", info=True) -%}
        {{ return("select record_ledger.release_record(" ~ claim ~ ")") }}
    {%- endif -%}
    {%- set counts = record_ledger.counts_problem_of(record) -%}
    {%- if counts -%}
        {#- Nothing else failed: without this error dbt would report a success. -#}
        {%- set problem = "counts do not agree: " ~ what ~ " is not completed: " ~ counts -%}
        {%- do record_ledger.run_alone(
            "select record_ledger.fail_record("
            ~ claim ~ ", error => " ~ record_ledger.text_literal(problem) ~ ")"
        ) -%}
        {{ exceptions.raise_compiler_error(record_ledger.visible(problem)) }}
    {%- endif -%}
    {%- do log("record_ledger: completing " ~ what, info=True) -%}
    {%- set detail = {'dbt_invocation_id': invocation_id, 'nodes': results | length} -%}
    {{ return(
        "select record_ledger.complete_record("
        ~ claim ~ ", detail => " ~ record_ledger.json_literal(detail) ~ ")"
    ) }}
{% endmacro %}


{# The first instant of the record's window; null without a record. #}
{% macro window_start() %}
    {{ return(record_ledger.window_bound('window_start_time')) }}
{% endmacro %}


{# The first instant after the record's window; null without a record. #}
{% macro window_end() %}
    {{ return(record_ledger.window_bound('window_end_time')) }}
{% endmacro %}


{#
  Extends the lease as a model ends; for post-hook. It runs in the model's transaction: when the run
  has lost its claim, the server rolls back what the model wrote.
#}
{% macro keep_claim() %}
    {%- set run = record_ledger.current_run() -%}
    {%- if not run.record -%}{{ return('') }}{%- endif -%}
    {{ return(record_ledger.extension_sql(run.record)) }}
{% endmacro %}


{% macro window_bound(column) %}
    {%- if not execute -%}{{ return('null::timestamptz') }}{%- endif -%}
    {%- do record_ledger.refuse_unsafe_node(model) -%}
    {%- set run = record_ledger.current_run() -%}
    {%- if flags.WHICH in ('run', 'build') and not run -%}
        {{ exceptions.raise_compiler_error(
            "No record was asked for: window_start and window_end need a run that start_run began. "
            ~ "Put it into on-run-start, and end_run into on-run-end."
        ) }}
    {%- endif -%}
    {%- if not run.record -%}{{ return('null::timestamptz') }}{%- endif -%}
    {%- do record_ledger.refuse_lost_claim(run.record) -%}
    {%- if model.resource_type == 'model' -%}{%- do run.update({'is_used': true}) -%}{%- endif -%}
    {{ return("'" ~ run.record[column] ~ "'::timestamptz") }}
{% endmacro %}


{# What start_run stored; empty when it was not called, and in commands that build nothing. #}
{% macro current_run() %}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {{ return(graph.get('record_ledger', {})) }}
    {%- endif -%}
    {{ return({}) }}
{% endmacro %}


{#
  Only reads. Extending the lease would lock the record until the model's transaction ends. A commit
  here would leave dbt without a transaction for the rest of the model.
#}
{% macro refuse_lost_claim(record) %}
    {%- set held -%}
        select
            (
                select pg_catalog.count(*)
                from record_ledger.pipeline_records
                where pipeline_id = {{ record_ledger.text_literal(record.pipeline_id) }}
                    and window_start_time
                        = {{ record_ledger.text_literal(record.window_start_time) }}
                    and claim_token = {{ record.claim_token }} and status = 'IN_PROGRESS'
            ),
            'cancelled by ' || s.cancelled_by || ': ' || s.reason
        from record_ledger.claim_state(
            {{ record_ledger.text_literal(record.pipeline_id) }}, {{ record.claim_token }}
        ) as s
    {%- endset -%}
    {%- set found = run_query(held).rows[0] -%}
    {%- if found[0] == 0 -%}
        {#- This call raises ClaimLost and says what ended the claim. -#}
        {%- do run_query(record_ledger.extension_sql(record)) -%}
    {%- elif found[1] -%}
        {{ exceptions.raise_compiler_error(record_ledger.visible(
            "the claim on window " ~ record.window_start_time ~ " of pipeline "
            ~ record.pipeline_id ~ " was " ~ found[1]
        )) }}
    {%- endif -%}
{% endmacro %}


{% macro extension_sql(record) %}
    {{ return(
        "select record_ledger.extend_lease("
        ~ record_ledger.text_literal(record.pipeline_id) ~ ", " ~ record.claim_token
        ~ ", window_start_time => " ~ record_ledger.text_literal(record.window_start_time) ~ ")"
    ) }}
{% endmacro %}


{# The failures of a run as one line; empty when it is a success. #}
{% macro problems_of(results, left_out) %}
    {%- set failed = [] -%}
    {%- set skipped = [] -%}
    {%- for result in results -%}
        {%- if result.status | string == 'skipped' -%}
            {%- do skipped.append(result.node.name) -%}
        {%- elif result.status | string not in ('success', 'pass', 'warn', 'no-op') -%}
            {%- set message = (result.message or '') | string -%}
            {%- do failed.append(
                result.node.name ~ " (" ~ result.status ~ "): "
                ~ message.split() | join(' ') | truncate(300)
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set problems = failed[:10] -%}
    {%- if failed | length > 10 -%}
        {%- do problems.append((failed | length - 10) ~ " more failed") -%}
    {%- endif -%}
    {%- if skipped -%}{%- do problems.append("skipped: " ~ skipped | join(', ')) -%}{%- endif -%}
    {%- if left_out -%}
        {%- do problems.append("selected but not built: " ~ left_out | join(', ')) -%}
    {%- endif -%}
    {{ return(problems | join('; ')) }}
{% endmacro %}


{# The names of selected nodes without a result: a retry in the same process runs only a part of them. #}
{% macro left_out_of(results) %}
    {%- set built = results | map(attribute='node.unique_id') | list -%}
    {%- set left_out = [] -%}
    {%- for id in selected_resources if id in graph.nodes and id not in built -%}
        {%- if graph.nodes[id].config.materialized != 'ephemeral' -%}
            {%- do left_out.append(graph.nodes[id].name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(left_out) }}
{% endmacro %}


{# Why the required counts keep the record from being completed; empty when they agree. #}
{% macro counts_problem_of(record) %}
    {%- set sql -%}
        select coalesce(pg_catalog.max(counts_problem), '')
        from record_ledger.record_verdicts
        where pipeline_id = {{ record_ledger.text_literal(record.pipeline_id) }}
            and window_start_time = {{ record_ledger.text_literal(record.window_start_time) }}
    {%- endset -%}
    {{ return(run_query(sql).columns[0].values()[0]) }}
{% endmacro %}
