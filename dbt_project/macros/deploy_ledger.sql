{#
  Brings the database to this release of the ledger, for `dbt run-operation deploy_ledger`: the one
  script that `record-ledger deploy` runs, which is a transaction by itself and may be run again.
#}
{% macro deploy_ledger() %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations('deploy_ledger') -%}
    {%- set before = record_ledger.deployed() -%}
    {#- With its own `begin` and `commit`; an error leaves the transaction to the end of dbt. -#}
    {%- call statement('deploy', auto_begin=False) -%}
        {{ record_ledger.deploy_script() }}
    {%- endcall -%}
    {%- set after = record_ledger.deployed() -%}
    {%- if not before.releases -%}
        {%- set outcome = 'fresh' -%}
    {%- else -%}
        {%- set outcome = 'unchanged' if after == before else 'upgraded' -%}
    {%- endif -%}
    {{ return(record_ledger.answer({
        'outcome': outcome,
        'release': after.releases | last,
        'previous_release': before.releases | last if before.releases else none,
        'applied_migrations': after.migrations | reject('in', before.migrations) | list,
    })) }}
{% endmacro %}


{# The releases and migrations in the database, oldest first; none where there is no ledger. #}
{% macro deployed() %}
    {%- set is_deployed -%}
        select json_build_object('is', to_regclass('record_ledger.deployment') is not null)::text
    {%- endset -%}
    {%- if not fromjson(record_ledger.run_alone(is_deployed))['is'] -%}
        {{ return({'releases': [], 'migrations': []}) }}
    {%- endif -%}
    {%- set what -%}
        select json_build_object(
            'releases', (
                select json_agg(d.release order by d.deployed_at, d.release)
                from record_ledger.deployment as d
            ),
            'migrations', (
                select json_agg(m.name order by m.version) from record_ledger.migration as m
            )
        )::text
    {%- endset -%}
    {{ return(fromjson(record_ledger.run_alone(what))) }}
{% endmacro %}
