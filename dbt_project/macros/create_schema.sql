{#
  Takes the place of dbt's own macro when this package is run by itself: two runs that create the
  schema at once wait for each other (`create schema if not exists` does not), and the ledger's
  schema is created by nothing but its deploy. A project that includes this package keeps dbt's
  macro.
#}
{% macro postgres__create_schema(relation) %}
    {%- if relation.schema | lower == 'record_ledger' -%}
        {{ exceptions.raise_compiler_error(
            "Schema record_ledger belongs to the ledger: deploy the ledger first, and choose "
            ~ "another schema for the models (RECORD_LEDGER_DBT_SCHEMA)."
        ) }}
    {%- endif -%}
    {%- do record_ledger.lock_until_commit(relation.without_identifier()) -%}
    {%- call statement('create_schema') -%}
        create schema if not exists {{ relation.without_identifier().include(database=False) }}
    {%- endcall -%}
{% endmacro %}
