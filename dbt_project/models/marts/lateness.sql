-- lateness: how late data came, one row per pipeline and recount age. Age 0 is the count that a window was loaded with.
-- The ledger decides what was late. This view converts lengths into hours and shares into rows.
{{ record_ledger.refuse_ledger_schema() }}
with ages as (
    select * from {{ source('record_ledger', 'pipeline_lateness') }}
)

select
    ages.pipeline_id,
    ages.recount_age,
    ages.recount_age = interval '0' as is_first_count,
    (extract(epoch from ages.recount_age) / 3600::numeric)::double precision as recount_age_hours,
    (extract(epoch from ages.x_time_back) / 3600::numeric)::double precision as x_time_back_hours,
    ages.window_count,
    ages.late_window_count,
    ages.missed_share is not null as has_enough_windows,
    ages.row_count::bigint as row_count,
    pg_catalog.round(ages.missed_share * ages.row_count)::bigint as missed_rows,
    ages.missed_share::double precision as missed_share,
    ages.worst_missed_share::double precision as worst_missed_share,
    (extract(epoch from ages.min_lateness) / 3600::numeric)::double precision as min_lateness_hours,
    (extract(epoch from ages.max_lateness) / 3600::numeric)::double precision as max_lateness_hours
from ages
