{#
  Succeeds when no run that went silent holds a record of a pipeline: no lease has expired. A row is
  a record whose lease has expired and that no pass has taken back yet.
#}
{% test no_stale_leases(model, pipeline_id) %}
with verdicts as (
    select * from {{ source('record_ledger', 'record_verdicts') }}
    where pipeline_id = {{ record_ledger.text_literal(pipeline_id) }}
)

{{ record_ledger.unknown_pipeline('no_stale_leases', pipeline_id) }}

union all

select
    verdicts.pipeline_id,
    verdicts.window_start_time,
    verdicts.reason as problem
from verdicts
where verdicts.verdict = 'LEASE_EXPIRED'
{% endtest %}
