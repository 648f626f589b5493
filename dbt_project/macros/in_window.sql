{#
  The condition that a time lies in the record's window, for the filter of an incremental model. It
  does not depend on the session's time zone.

  `column` has type timestamptz. With `time_zone` it has type timestamp and holds that zone's wall
  clock. The server's `at time zone` gives each wall clock one instant, and so one window. A wall
  clock that comes twice is the later instant. A skipped one counts as if the clock had not been put
  forward. A column of another type fails, because `<@` needs exactly the type of its range.
#}
{% macro in_window(column, time_zone=none) %}
    {%- set start = record_ledger.window_start() -%}
    {%- set end = record_ledger.window_end() -%}
    {%- if time_zone is none -%}
        {%- set type = 'pg_catalog.tstzrange' -%}
        {%- set note = 'without a zone: give time_zone too' -%}
        {%- set instant = '(' ~ column ~ ')' -%}
        {%- set first = start -%}
        {%- set last = end -%}
    {%- else -%}
        {%- do record_ledger.refuse_unknown_zone(time_zone) -%}
        {%- set type = 'pg_catalog.tsrange' -%}
        {%- set note = 'time_zone is for timestamp alone' -%}
        {%- set zone = record_ledger.text_literal(time_zone) -%}
        {%- set instant = 'pg_catalog.timezone(' ~ zone ~ ', (' ~ column ~ ')::timestamp)' -%}
        {%- set first = record_ledger.wall_clock_bound('min', start, start, end, zone) -%}
        {%- set last = record_ledger.wall_clock_bound('max', end, start, end, zone) -%}
    {%- endif -%}
    {#- The server's error quotes the operator's line, if it is short: so the line holds the remedy. #}
    (
        ({{ column }})
/* {{ note }} */ operator(pg_catalog.<@)
        {{ type }}({{ first }}, {{ last }}, '[]')
        and ({{ column }}) operator(pg_catalog.>=) {{ first }}
        and ({{ column }}) operator(pg_catalog.<=) {{ last }}
        and {{ instant }} operator(pg_catalog.>=) {{ start }}
        and {{ instant }} operator(pg_catalog.<) {{ end }}
    )
{%- endmacro %}


{#
  The first or the last wall clock of a zone that can lie in a window. The filter by it can use an
  index on the column; the filter by instants cannot. The bound is off by at most the change of the
  clocks. A skipped time has the offset that was in force before the change, a day ago at most.
#}
{% macro wall_clock_bound(aggregate, instant, start, end, zone) -%}
(
            select pg_catalog.timezone('UTC', {{ instant }})
                operator(pg_catalog.+) pg_catalog.{{ aggregate }}(
                    pg_catalog.timezone({{ zone }}, i.instant)
                    operator(pg_catalog.-) pg_catalog.timezone('UTC', i.instant)
                )
            from (
                select pg_catalog.generate_series(
                    {{ start }} operator(pg_catalog.-) '26 hours'::pg_catalog.interval,
                    {{ end }},
                    '15 minutes'::pg_catalog.interval
                )
                union all
                select {{ end }}
            ) as i (instant)
        )
{%- endmacro %}


{#
  `at time zone` also accepts 'UTC+2' and '+02:00', whose signs mean the opposite. It reads the names
  of four zones as abbreviations, which have no summer time.
#}
{% macro refuse_unknown_zone(time_zone) %}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set known -%}
        select count(*)
        from pg_catalog.pg_timezone_names as z
        where z.name operator(pg_catalog.=) {{ record_ledger.text_literal(time_zone) }}
            and z.name not in ('CET', 'EET', 'MET', 'WET')
    {%- endset -%}
    {%- if run_query(known).columns[0].values()[0] == 0 -%}
        {{ exceptions.raise_compiler_error(
            "in_window: time_zone " ~ tojson(time_zone) ~ " is not a time zone of the server; give an "
            ~ 'IANA name such as "Europe/Berlin".'
        ) }}
    {%- endif -%}
{% endmacro %}
