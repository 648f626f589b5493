-- run_conflicts: runs that were passed more than one record of a pipeline.
-- One row per pipeline and run. A run keeps its record for good, so that a retried task never
-- takes a second window.
{{ record_ledger.refuse_ledger_schema() }}
with events as (
    select * from {{ source('record_ledger', 'record_events') }}
)

select
    events.pipeline_id,
    events.run_id,
    pg_catalog.count(distinct events.window_start_time) as record_count,
    pg_catalog.min(events.window_start_time) as first_window_start_time,
    pg_catalog.max(events.window_start_time) as last_window_start_time
from events
where events.event in ('passed', 'passed_again')
    and events.run_id is not null
group by events.pipeline_id, events.run_id
having pg_catalog.count(distinct events.window_start_time) > 1
