{# Another run that builds the same relation waits until this transaction ends. #}
{% macro lock_until_commit(relation) %}
    {%- call statement('lock') -%}
        select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('dbt {{ relation }}', 0))
    {%- endcall -%}
{% endmacro %}
