-- pipeline_slo: how many windows of a pipeline were completed in time, week by week.
-- One row per pipeline and local week. In time: first completed within slo_hours of becoming
-- stable; a later reopening does not change that. A window is judged when those hours are over.
{{ record_ledger.refuse_ledger_schema() }}
{%- set columns = [
    'pipeline_id', 'timezone', 'target_day', 'is_backfill', 'stable_for_seconds'
] %}
{%- set slo_seconds = (
    '3600::double precision * (' ~ var('slo_hours') ~ ')::double precision'
) %}
select
    judged.pipeline_id,
    judged.timezone,
    judged.week_start_day,
    judged.in_time_count::double precision
    / nullif(judged.in_time_count + judged.late_count, 0)::double precision as in_time_share,
    judged.in_time_count,
    judged.late_count,
    judged.not_judged_count,
    judged.waived_count,
    judged.backfill_count,
    ({{ var('slo_hours') }})::double precision as slo_hours
-- Subqueries, not CTEs: with CTEs, a query for one pipeline would compute all of them.
from (
    select
        windows.pipeline_id,
        windows.timezone,
        -- A timestamp: PostgreSQL would read a date as a midnight of the session's time zone.
        pg_catalog.date_trunc('week', windows.target_day::timestamp)::date as week_start_day,
        pg_catalog.count(*) filter (where outcome.judgement = 'in time') as in_time_count,
        pg_catalog.count(*) filter (where outcome.judgement = 'late') as late_count,
        pg_catalog.count(*) filter (where outcome.judgement = 'not yet') as not_judged_count,
        pg_catalog.count(*) filter (where outcome.judgement = 'waived') as waived_count,
        pg_catalog.count(*) filter (where outcome.judgement = 'backfill') as backfill_count
    from (
        select {{ columns | join(', ') }}, status, completed_after_seconds
        from {{ ref('record_timeline') }}
        union all
        select {{ columns | join(', ') }}, 'not stored' as status, null as completed_after_seconds
        from {{ ref('unstored_windows') }}
    ) as windows
    cross join lateral (
        select
            case
                when windows.is_backfill then 'backfill'
                when windows.completed_after_seconds is null and windows.status = 'WAIVED'
                    then 'waived'
                when windows.stable_for_seconds <= {{ slo_seconds }} then 'not yet'
                when windows.completed_after_seconds <= {{ slo_seconds }} then 'in time'
                else 'late'
            end as judgement
    ) as outcome
    group by windows.pipeline_id, windows.timezone, week_start_day
) as judged
