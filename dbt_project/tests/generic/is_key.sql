{# Passes when the columns together are never null and never the same in two rows. #}
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
