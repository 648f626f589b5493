{# Succeeds when the columns are a key: none is null, and no two rows have the same values. #}
{% test is_key(model, columns) %}
{%- set key = columns | join(', ') %}
select
    {{ key }},
    pg_catalog.count(*) as row_count
from {{ model }}
group by {{ key }}
having pg_catalog.count(*) > 1
{%- for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
