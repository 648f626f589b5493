{#
  A view that is replaced in place.

  dbt's own materialization builds a view beside the old one, then renames and drops the old one with
  `cascade`. Every run would drop grants on the view and views built on it, and one of two
  simultaneous runs would fail. `create or replace view` keeps them, and the lock makes the second
  run wait for the first.
#}
{% materialization replaced_view, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set grants = config.get('grants') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- do record_ledger.lock_until_commit(target_relation) -%}
    {#- Read under the lock: another run may have replaced what dbt cached at its start. -#}
    {%- set existing = record_ledger.existing_relation(target_relation) -%}
    {%- if existing is not none and not record_ledger.is_replaceable(existing, sql) -%}
        {#- Only --full-refresh drops dependent views, with `cascade`. -#}
        {%- call statement('drop') -%}
            drop {{ existing.type | replace('_', ' ') }} {{ existing }}
            {{- ' cascade' if flags.FULL_REFRESH }}
        {%- endcall -%}
    {%- endif -%}

    {% call statement('main') -%}
        create or replace view {{ target_relation }}
        {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
        as (
            {{ sql }}
        )
    {%- endcall %}

    {% do apply_grants(target_relation, grants, should_revoke=True) %}
    {% do persist_docs(target_relation, model) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{# The table or view of that name as the database has it now, else none. #}
{% macro existing_relation(relation) %}
    {%- set found -%}
        select
            case c.relkind
                when 'v' then 'view'
                when 'm' then 'materialized_view'
                else 'table'
            end as type
        from pg_catalog.pg_class as c
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = '{{ relation.schema }}' and c.relname = '{{ relation.identifier }}'
    {%- endset -%}
    {%- set types = run_query(found).columns[0].values() -%}
    {{ return(relation.incorporate(type=types[0]) if types else none) }}
{% endmacro %}


{# Whether PostgreSQL can replace the view by the query: the query must begin with the view's columns, unchanged. #}
{% macro is_replaceable(existing, sql) %}
    {%- if existing.type != 'view' -%}{{ return(false) }}{%- endif -%}
    {%- set columns = [] -%}
    {%- for query in ['select * from ' ~ existing, sql] -%}
        {%- set names_and_types = [] -%}
        {%- for column in get_column_schema_from_query(query) -%}
            {%- do names_and_types.append([column.name, column.data_type]) -%}
        {%- endfor -%}
        {%- do columns.append(names_and_types) -%}
    {%- endfor -%}
    {{ return(columns[0] == columns[1][:columns[0] | length]) }}
{% endmacro %}
