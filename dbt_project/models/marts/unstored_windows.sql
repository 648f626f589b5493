-- unstored_windows: windows that are due and that no run has stored yet.
-- One row per window. A pipeline that runs on time has none or, until its next run, the newest.
{{ record_ledger.refuse_ledger_schema() }}
with pipelines as (
    select * from {{ source('record_ledger', 'pipelines') }}
)

select
    pipelines.pipeline_id,
    pipelines.timezone,
    windows.target_day,
    windows.window_start_time,
    windows.window_end_time,
    windows.window_end_time + pipelines.x_time_back as stable_at,
    windows.window_end_time + pipelines.x_time_back < pipelines.created_at as is_backfill,
    extract(
        epoch from moment.as_of - (windows.window_end_time + pipelines.x_time_back)
    )::double precision as stable_for_seconds
from (select record_ledger.clock() as as_of offset 0) as moment
cross join pipelines
cross join lateral record_ledger.new_windows(
    pipelines.pipeline_id, moment.as_of
) as windows
