-- window_gaps: time between two windows of a pipeline that no window covers.
-- One row per gap. A window must start where the ones before it end.
{{ record_ledger.refuse_ledger_schema() }}
with records as (
    select * from {{ source('record_ledger', 'pipeline_records') }}
),

windows as (
    select
        records.pipeline_id,
        records.window_start_time,
        -- Of all earlier windows, not of the last one: after an overlap the two differ.
        max(records.window_end_time) over (
            partition by records.pipeline_id
            order by records.window_start_time
            rows between unbounded preceding and 1 preceding
        ) as covered_until
    from records
)

select
    windows.pipeline_id,
    windows.covered_until as gap_start_time,
    windows.window_start_time as gap_end_time,
    windows.window_start_time - windows.covered_until as gap_length
from windows
where windows.window_start_time > windows.covered_until
