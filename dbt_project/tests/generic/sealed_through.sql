{#
  Succeeds when every local day of a pipeline up to a date, inclusive, is sealed: windows that are
  done cover it. `date` is a date like 2026-11-22; `days_ago` counts back from today in the
  pipeline's zone instead. `from_date` leaves out earlier days. A first day that the pipeline does
  not cover from its start can never be sealed; it is left out when its windows are done. A row is a
  day that is not sealed.
#}
{% test sealed_through(model, pipeline_id, date=none, days_ago=none, from_date=none) %}
{%- if (date is none) == (days_ago is none) -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger.sealed_through: give date, like 2026-11-22, or days_ago, like 1, "
        ~ "under `arguments:`."
    ) }}
{%- elif days_ago is not none and not (days_ago | string).isdigit() -%}
    {{ exceptions.raise_compiler_error(
        "record_ledger.sealed_through: days_ago is " ~ days_ago ~ "; give a number of days, like 1."
    ) }}
{%- endif -%}
with asked as (
    select
        pipeline_id,
        timezone,
        {% if date is none -%}
            record_ledger.local_day(record_ledger.clock(), timezone) - {{ days_ago | int }}
        {%- else -%}
            {{ record_ledger.day_literal('sealed_through', 'date', date) }}
        {%- endif %} as last_date
    from {{ source('record_ledger', 'pipelines') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
),

days as (
    select
        *,
        pg_catalog.min(local_date) over () as first_date,
        pg_catalog.max(local_date) over () as newest_date
    from {{ source('record_ledger', 'daily_coverage') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
)

{{ record_ledger.unknown_pipeline('sealed_through', pipeline_id) }}

union all

select
    days.pipeline_id,
    days.day_start_time as window_start_time,
    pg_catalog.format(
        case
            when days.is_published and days.open_count = 0
                then '%s is not sealed: the window that reaches into it is open'
            else '%s is not sealed: %s of %s (h:mm:ss) are covered, and %s of %s windows are open'
        end,
        pg_catalog.to_char(days.local_date, 'YYYY-MM-DD'),
        pg_catalog.to_char(days.covered_length, 'FMHH24:MI:SS'),
        pg_catalog.to_char(days.day_length, 'FMHH24:MI:SS'),
        days.open_count,
        days.window_count
    ) as problem
from days
join asked on days.local_date <= asked.last_date
where not days.is_sealed
    and not (
        days.local_date = days.first_date
        and days.first_window_start_time > days.day_start_time
        and days.open_count = 0
    )
    {% if from_date is not none -%}
        and days.local_date >= {{ record_ledger.day_literal('sealed_through', 'from_date', from_date) }}
    {%- endif %}

union all

select
    asked.pipeline_id,
    record_ledger.day_start(asked.last_date, asked.timezone) as window_start_time,
    pg_catalog.format(
        '%s is not sealed: no window of that day is stored', pg_catalog.to_char(asked.last_date, 'YYYY-MM-DD')
    ) as problem
from asked
where asked.last_date > coalesce((select pg_catalog.max(days.newest_date) from days), '-infinity')
{% endtest %}
