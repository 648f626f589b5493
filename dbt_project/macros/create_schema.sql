{#
  Replaces dbt's own macro when this package is run by itself. Two runs that create the schema at
  the same time wait for each other; with `create schema if not exists` alone, one would fail. Only
  a deploy creates the ledger's schema. A project that includes this package keeps dbt's macro.
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
