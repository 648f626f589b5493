"""The SQL texts that ask whether data can be relied on: at risk, late, changed, sealed.

`statements` has the cycle and most readers, `operator_statements` what operators do.
"""

from __future__ import annotations

from .statements import with_wall_times

RECORDS_AT_RISK = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.records_at_risk as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (v.is_at_risk or not %(only_at_risk)s::boolean)
order by v.source_kept_until, v.pipeline_id
limit %(limit)s::integer
""",
    "cut with",
)
RECOUNT_DUE = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.recount_due(%(pipeline_id)s::text) with ordinality as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.ordinality
""",
    "stretch",
)
CHANGED_RECORDS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.changed_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id, v.window_start_time
""",
    "cut with",
)
# No times of the clock, and numbers that JSON has: a sum of counts may be more than a bigint.
PIPELINE_LATENESS = """
select
    v.pipeline_id,
    v.recount_age,
    v.x_time_back,
    v.window_count,
    v.late_window_count,
    pg_catalog.to_jsonb(v.row_count) as row_count,
    v.min_lateness,
    v.max_lateness,
    v.missed_share::float8,
    v.worst_missed_share::float8,
    null::text as view_timezone,
    null::jsonb as wall_times
from record_ledger.pipeline_lateness as v
where %(time_columns)s::text[] is not null
    and (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
order by v.pipeline_id, v.recount_age
"""
SUGGEST_X_TIME_BACK = """
select
    v.x_time_back,
    v.missed_share::float8,
    v.window_count,
    v.reason,
    null::text as view_timezone,
    null::jsonb as wall_times
from record_ledger.suggest_x_time_back(%(pipeline_id)s::text, %(max_missed)s::numeric) as v
where %(time_columns)s::text[] is not null
"""
IS_DAY_SEALED = "select record_ledger.is_day_sealed(%s::text, %s::date)"
DAILY_COVERAGE = with_wall_times("""
select v.*, /* wall_times */
from record_ledger.daily_coverage as v
cross join lateral (select v.timezone) as p
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (%(from_date)s::date is null or v.local_date >= %(from_date)s::date)
    and (%(to_date)s::date is null or v.local_date <= %(to_date)s::date)
order by v.pipeline_id, v.local_date
""")
REOPEN_CHANGED_RECORDS = "select record_ledger.reopen_changed_records(%(pipeline_id)s::text)"
