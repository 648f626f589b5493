{# Succeeds when the model has no row: each row of a model of violations is a failure. #}
{% test is_empty(model) %}
select * from {{ model }}
{% endtest %}
