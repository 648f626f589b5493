{# What the other macros send to the ledger, and how. #}

{# A model or a hook would repeat the operation with every build, in the middle of a transaction. #}
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
  does not notice a COMMIT that is sent as text, and begins no new transaction. Then each later
  statement of the model would commit by itself.
#}
{% macro run_alone(sql) %}
    {{ return(record_ledger.row_of_alone(sql)[0]) }}
{% endmacro %}


{# Runs one statement like run_alone; returns its whole first row. #}
{% macro row_of_alone(sql) %}
    {#- `statement` opens the transaction, `adapter.commit` ends it. `run_query` would open none. -#}
    {%- call statement('run_alone', fetch_result=True) -%}
        {{ sql }}
    {%- endcall -%}
    {%- do adapter.commit() -%}
    {{ return(load_result('run_alone')['data'][0]) }}
{% endmacro %}


{# Prints an answer as one JSON object for scripts, also with --quiet. #}
{% macro answer(value) %}
    {%- do print(tojson(value)) -%}
    {{ return(value) }}
{% endmacro %}


{#
  Text of other authors, made safe for dbt's output, which escapes nothing. U+FFFD replaces each
  character that is not printable: it could move a cursor, break a line or reverse it.
#}
{% macro visible(value) %}
    {%- set text = value | string -%}
    {%- if text.isprintable() -%}{{ return(text) }}{%- endif -%}
    {%- set shown = [] -%}
    {%- for char in text -%}{%- do shown.append(char if char.isprintable() else "\uFFFD") -%}{%- endfor -%}
    {{ return(shown | join) }}
{% endmacro %}


{#
  A value as a string constant of PostgreSQL, null for none. It is an escape string: in a plain one,
  the meaning of a backslash depends on the session's standard_conforming_strings.
#}
{% macro text_literal(value) %}
    {%- if value is undefined or value is none -%}{{ return("null::text") }}{%- endif -%}
    {%- set text = value | string | replace("\\", "\\\\") | replace("'", "''") -%}
    {{ return("E'" ~ text ~ "'") }}
{% endmacro %}


{# A value as a JSON constant of PostgreSQL. YAML turns text that looks like a date into a date. #}
{% macro json_literal(value) %}
    {{ return(record_ledger.text_literal(tojson(record_ledger.plain(value))) ~ "::jsonb") }}
{% endmacro %}


{#
  A value that JSON can represent, at any depth: dates and times as ISO 8601 text, a Decimal (as
  queries return it) as a number, an object of another kind as its text.
#}
{% macro plain(value) %}
    {%- if value is undefined -%}
        {#- A missing argument, which Jinja would treat as an empty list. -#}
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
