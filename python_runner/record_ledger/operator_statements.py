"""The SQL texts of what an operator does; `statements` has all others.

Times are sent as text: without an offset they are the pipeline's local time, which the server
reckons.
"""

# ruff: noqa: S608 - what is put together here are constants; the driver binds all values

from __future__ import annotations

from .statements import with_wall_times

_FROM = "record_ledger.pipeline_time(%(pipeline_id)s::text, %(from_time)s::text)"
_TO = "record_ledger.pipeline_time(%(pipeline_id)s::text, %(to_time)s::text)"
_ON_RANGE = f"(%(pipeline_id)s::text, {_FROM}, {_TO}, %(reason)s::text)"

# ---------------------------------------------------------------- records
WAIVE_RECORDS = f"select record_ledger.waive_records{_ON_RANGE}"
REOPEN_RECORDS = f"select record_ledger.reopen_records{_ON_RANGE}"
EXPIRE_LEASES = f"select record_ledger.expire_leases{_ON_RANGE}"
CANCEL_RECORDS = f"select record_ledger.cancel_records{_ON_RANGE}"
BACKFILL_RECORDS = f"""
select record_ledger.backfill_records(%(pipeline_id)s::text, {_FROM}, %(reason)s::text)
"""
# What a backfill is to add is cut with the zone in force.
_ZONE_OF_EFFECT = """
    case
        when %(operation)s::text = 'backfill' and v.effect = 'changed' then p.timezone
        else record_ledger.stretch_timezone(p.pipeline_id, v.first_window_start_time)
    end
"""
RANGE_EFFECTS = with_wall_times(
    f"""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.range_effects(
    %(operation)s::text,
    %(pipeline_id)s::text,
    {_FROM},
    case when %(to_time)s::text is not null then {_TO} end
) with ordinality as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.ordinality
""",
    _ZONE_OF_EFFECT,
)

# ---------------------------------------------------------------- steps of a long way
# Where one call would hold up the pipeline's runs for long.
RANGE_STEP = f"""
select s.changed_count, record_ledger.local_time(s.go_on_from, p.timezone), s.next_max_records
from record_ledger.range_step(
    %(operation)s::text,
    %(pipeline_id)s::text,
    {_FROM},
    case when %(to_time)s::text is not null then {_TO} end,
    %(reason)s::text,
    %(max_records)s::integer
) as s
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
"""

# ---------------------------------------------------------------- pipelines
PAUSE_PIPELINE = "select record_ledger.pause_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
RESUME_PIPELINE = "select record_ledger.resume_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
RETIRE_PIPELINE = "select record_ledger.retire_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
SET_PIPELINE_OWNER = """
select record_ledger.set_pipeline_owner(%(pipeline_id)s::text, %(role)s::text)
"""
