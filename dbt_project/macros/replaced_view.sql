{#
  A view that is replaced in place.

  dbt's own view is built beside the old one, which is then renamed and dropped with `cascade`:
  grants that somebody made and views that somebody built on it are gone after every run, and of
  two runs at once one fails. `create or replace view` keeps all of that, and under the lock the
  second run of two waits for the first.
#}
{% materialization replaced_view, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set grants = config.get('grants') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- do record_ledger.lock_until_commit(target_relation) -%}
    {#- Looked up under the lock: what dbt noted when it started may have been replaced since. -#}
    {%- set existing = record_ledger.existing_relation(target_relation) -%}
    {%- if existing is not none and not record_ledger.is_replaceable(existing, sql) -%}
        {#- Without `cascade`, so that nothing built on it is dropped unless that is asked for. -#}
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


{# The table or view of that name as it is in the database now; none when there is none. #}
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


{# Whether PostgreSQL can replace it by the query: its columns must come first there, unchanged. #}
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
