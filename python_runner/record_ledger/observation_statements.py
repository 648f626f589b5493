"""The SQL texts about what is counted of a record: noting it, adopting it, waiving it, reading it.

Windows are sent as text: without an offset by the clock that they were cut with, which the server
knows.
"""

from __future__ import annotations

from .statements import with_wall_times

_WINDOW = "record_ledger.window_time(%(pipeline_id)s::text, %(window_start_time)s::text)"

OBSERVE_RECORD = f"""
select record_ledger.observe_record(
    %(pipeline_id)s::text,
    {_WINDOW},
    %(stage)s::text,
    %(row_count)s::bigint,
    %(detail)s::jsonb,
    %(claim_token)s::bigint
)
"""
ADOPT_OBSERVATIONS = """
select record_ledger.adopt_observations(
    %(pipeline_id)s::text,
    %(claim_token)s::bigint,
    %(stage)s::text,
    %(window_start_time)s::timestamptz
)
"""
WAIVE_COUNTS = f"""
select record_ledger.waive_counts(%(pipeline_id)s::text, {_WINDOW}, %(reason)s::text)
"""
_READER = """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.{view} as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.observation_no
"""
RECORD_OBSERVATIONS = with_wall_times(_READER.replace("{view}", "record_observations"), "stretch")
ARCHIVED_RECORD_OBSERVATIONS = with_wall_times(
    _READER.replace("{view}", "archived_record_observations"), "stretch"
)
