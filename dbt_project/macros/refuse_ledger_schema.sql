{#
  Stops a model that would be built in the ledger's own schema: what is in there is the deploy's,
  and a model that replaced or dropped something would break running pipelines. Each model asks
  for it, not a hook and not generate_schema_name, so that it also holds in a project that
  includes this package, whatever names and materializations that one chooses.
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
