{# What the other macros send to the ledger, and how. #}

{# A model or a hook would do it anew with every build, in the middle of a transaction. #}
{% macro refuse_outside_operations(name) %}
    {%- if flags.WHICH != 'run-operation' -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is for people and scripts: call it with `dbt run-operation " ~ name ~ "`."
        ) }}
    {%- endif -%}
{% endmacro %}


{#
  Runs one statement in a transaction of its own; returns the first value of its first row. For
  operations and on-run-start, where each statement is committed by itself. Not for a model: psycopg2
  takes no notice of a COMMIT that is sent as text and would begin no other transaction, so that what
  the model does would be committed bit by bit.
#}
{% macro run_alone(sql) %}
    {{ return(record_ledger.row_of_alone(sql)[0]) }}
{% endmacro %}


{# The same, and returns all of the first row. #}
{% macro row_of_alone(sql) %}
    {#- `statement` opens the transaction, which nothing would commit: `run_query` does not. -#}
    {%- call statement('run_alone', fetch_result=True) -%}
        {{ sql }}
    {%- endcall -%}
    {%- do adapter.commit() -%}
    {{ return(load_result('run_alone')['data'][0]) }}
{% endmacro %}


{# Prints an answer as one JSON object, also with --quiet, so that a script can read it. #}
{% macro answer(value) %}
    {%- do print(tojson(value)) -%}
    {{ return(value) }}
{% endmacro %}


{#
  Text of others as dbt may show it, on one line: what cannot be seen, and could move a cursor or turn a line around,
  is replaced by U+FFFD. dbt prints what it is given as it is.
#}
{% macro visible(value) %}
    {%- set text = value | string -%}
    {%- if text.isprintable() -%}{{ return(text) }}{%- endif -%}
    {%- set shown = [] -%}
    {%- for char in text -%}{%- do shown.append(char if char.isprintable() else "\uFFFD") -%}{%- endfor -%}
    {{ return(shown | join) }}
{% endmacro %}


{#
  A value as a string constant of PostgreSQL, null for none. An escape string, because what a
  backslash means in others depends on the session's standard_conforming_strings.
#}
{% macro text_literal(value) %}
    {%- if value is undefined or value is none -%}{{ return("null::text") }}{%- endif -%}
    {%- set text = value | string | replace("\\", "\\\\") | replace("'", "''") -%}
    {{ return("E'" ~ text ~ "'") }}
{% endmacro %}


{# A value as a JSON constant of PostgreSQL. YAML makes dates of what looks like one. #}
{% macro json_literal(value) %}
    {{ return(record_ledger.text_literal(tojson(record_ledger.plain(value))) ~ "::jsonb") }}
{% endmacro %}


{#
  A value as JSON can carry it, at any depth: dates and times as ISO 8601 text, a Decimal (what
  queries answer) as a number, an object of another kind as its text.
#}
{% macro plain(value) %}
    {%- if value is undefined -%}
        {#- An argument that nobody gave, which Jinja would take for an empty list. -#}
        {{ return(none) }}
    {%- elif value is mapping -%}
        {%- set parts = {} -%}
        {%- for key, part in value.items() -%}
            {%- do parts.update({key | string: record_ledger.plain(part)}) -%}
        {%- endfor -%}
        {{ return(parts) }}
    {%- elif value is sequence and value is not string -%}
        {%- set parts = [] -%}
        {%- for part in value -%}{%- do parts.append(record_ledger.plain(part)) -%}{%- endfor -%}
        {{ return(parts) }}
    {%- elif value.isoformat is defined -%}
        {{ return(value.isoformat()) }}
    {%- elif value is none or value is boolean or value is integer or value is float
        or value is string -%}
        {{ return(value) }}
    {%- elif value is number -%}
        {{ return(value | int if value == value | int else value | float) }}
    {%- endif -%}
    {{ return(value | string) }}
{% endmacro %}
