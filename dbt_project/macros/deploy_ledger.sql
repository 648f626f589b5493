{#
  Brings the database to this release of the ledger, for `dbt run-operation deploy_ledger`. It runs
  the same script as `record-ledger deploy`: one transaction, safe to repeat. `owner` is the role
  that will own the ledger. The default is the present owner, at the first deploy the user.
#}
{% macro deploy_ledger(owner=none) %}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- do record_ledger.refuse_outside_operations('deploy_ledger') -%}
    {#- The script checks that the schema can be trusted. Before that, read nothing in it. -#}
    {%- set began_at = record_ledger.server_time() -%}
    {%- set no_owner = "set local record_ledger.owner = '';" -%}
    {%- set with_owner = "set local record_ledger.owner = " ~ record_ledger.text_literal(owner or '') ~ ";" -%}
    {#- The script has its own `begin` and `commit`. After an error dbt ends the transaction. -#}
    {%- call statement('deploy', auto_begin=False) -%}
        {{ record_ledger.deploy_script() | replace(no_owner, with_owner) }}
    {%- endcall -%}
    {%- set found = record_ledger.deployed_since(began_at) -%}
    {%- set previous = found.releases | last if found.releases else none -%}
    {%- if previous is none -%}
        {%- set outcome = 'fresh' -%}
    {%- elif found.migrations or previous != found.release -%}
        {%- set outcome = 'upgraded' -%}
    {%- else -%}
        {%- set outcome = 'unchanged' -%}
    {%- endif -%}
    {{ return(record_ledger.answer({
        'outcome': outcome,
        'release': found.release,
        'previous_release': previous,
        'applied_migrations': found.migrations,
    })) }}
{% endmacro %}


{# The server's time as text, which the server reads back as the same instant. #}
{% macro server_time() %}
    {%- set now -%}
        select pg_catalog.json_build_object('at', pg_catalog.clock_timestamp())::text
    {%- endset -%}
    {{ return(fromjson(record_ledger.run_alone(now))['at']) }}
{% endmacro %}


{# The newest release, the releases deployed before a time (oldest first), and the migrations applied since. #}
{% macro deployed_since(began_at) %}
    {%- set instant = record_ledger.text_literal(began_at) ~ "::timestamptz" -%}
    {%- set what -%}
        select pg_catalog.json_build_object(
            'release', (
                select d.release
                from record_ledger.deployment as d
                order by d.deployed_at desc, d.release desc
                limit 1
            ),
            'releases', (
                select coalesce(pg_catalog.json_agg(d.release order by d.deployed_at, d.release), '[]')
                from record_ledger.deployment as d
                where d.deployed_at < {{ instant }}
            ),
            'migrations', (
                select coalesce(pg_catalog.json_agg(m.name order by m.version), '[]')
                from record_ledger.migration as m
                where m.applied_at >= {{ instant }}
            )
        )::text
    {%- endset -%}
    {{ return(fromjson(record_ledger.run_alone(what))) }}
{% endmacro %}
