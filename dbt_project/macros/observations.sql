{#
  Counts of records, for `dbt run-operation NAME --args '{...}'`. Each macro calls the ledger's
  routine of the same name and commits. The start of a window names it. Without an offset the start
  is local time of the zone that the window was cut with, as tables show it.
#}
{% macro observe_record(
    pipeline_id, window_start_time, stage, row_count, detail={}, claim_token=none
) %}
    {%- set counted = [
        record_ledger.text_literal(stage),
        record_ledger.text_literal(row_count) ~ "::bigint",
        record_ledger.json_literal(detail),
        record_ledger.text_literal(claim_token) ~ "::bigint",
    ] -%}
    {{ return(
        record_ledger.operate(
            'observe_record', pipeline_id, [window_start_time], counted, 'window_time'
        )
    ) }}
{% endmacro %}

{% macro adopt_observations(pipeline_id, claim_token, stage=none, window_start_time=none) %}
    {%- set adopted = [
        record_ledger.text_literal(claim_token) ~ "::bigint",
        record_ledger.text_literal(stage),
        record_ledger.time_of(pipeline_id, window_start_time),
    ] -%}
    {{ return(record_ledger.operate('adopt_observations', pipeline_id, [], adopted)) }}
{% endmacro %}

{% macro waive_counts(pipeline_id, window_start_time, reason) %}
    {{ return(
        record_ledger.operate(
            'waive_counts', pipeline_id, [window_start_time],
            [record_ledger.text_literal(reason)], 'window_time'
        )
    ) }}
{% endmacro %}
