{#
  Stops a build in the ledger's own schema. Only a deploy may write there: a model that replaced or
  dropped an object would break running pipelines. Each model calls this macro, because a project
  that includes this package may replace hooks, generate_schema_name and materializations.
#}
{% macro refuse_ledger_schema() %}
    {%- if execute and this.schema | lower == 'record_ledger' -%}
        {{ exceptions.raise_compiler_error(
            "Model " ~ this.identifier ~ " would be built in schema record_ledger, which belongs "
            ~ "to the ledger. Choose another schema: RECORD_LEDGER_DBT_SCHEMA with this package's "
            ~ "own profile, `schema` in one of yours, or `+schema` for the models of record_ledger."
        ) }}
    {%- endif -%}
{% endmacro %}
