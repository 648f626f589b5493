-- daily_coverage: how the windows of each pipeline cover each of its local days, one row per pipeline and day.
-- The ledger decides what is covered. This view converts lengths into hours, and gives each day a state.
{{ record_ledger.refuse_ledger_schema() }}
with days as (
    select * from {{ source('record_ledger', 'daily_coverage') }}
)

select
    days.pipeline_id,
    days.local_date,
    days.timezone,
    case
        when days.is_sealed then 'sealed'
        when days.is_published then 'published'
        when days.open_count > 0 then 'open'
        else 'incomplete'
    end as state,
    days.is_sealed,
    days.is_published,
    days.day_start_time,
    days.day_end_time,
    days.first_window_start_time,
    (extract(epoch from days.day_length) / 3600::numeric)::double precision as day_hours,
    (extract(epoch from days.covered_length) / 3600::numeric)::double precision as covered_hours,
    (extract(epoch from days.day_length - days.covered_length) / 3600::numeric)::double precision
        as uncovered_hours,
    days.window_count,
    days.published_count,
    days.waived_count,
    days.lost_count,
    days.open_count,
    (days.counts -> 'source' -> 'rows')::bigint as source_rows,
    (days.counts -> 'target' -> 'rows')::bigint as target_rows,
    -- Windows that were published without a count make the total too small.
    coalesce((days.counts -> 'source' -> 'windows')::bigint = days.published_count, false)
        as is_source_counted,
    coalesce((days.counts -> 'target' -> 'windows')::bigint = days.published_count, false)
        as is_target_counted,
    days.counts
from days
