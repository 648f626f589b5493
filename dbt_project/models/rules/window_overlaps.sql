-- window_overlaps: windows that cover time that an earlier window of the pipeline already covers.
-- One row per window that starts too early. A window must start where the ones before it end.
{{ record_ledger.refuse_ledger_schema() }}
with records as (
    select * from {{ source('record_ledger', 'pipeline_records') }}
),

windows as (
    select
        records.pipeline_id,
        records.window_start_time,
        records.window_end_time,
        -- The latest end of all earlier windows, not of the last one: a long window may overlap several.
        pg_catalog.max(records.window_end_time) over (
            partition by records.pipeline_id
            order by records.window_start_time
            rows between unbounded preceding and 1 preceding
        ) as covered_until
    from records
)

select
    windows.pipeline_id,
    windows.window_start_time,
    windows.window_end_time,
    windows.covered_until,
    least(windows.covered_until, windows.window_end_time)
    - windows.window_start_time as overlap_length
from windows
where windows.window_start_time < windows.covered_until
