"""Pipelines with what so many cycles would have left behind, without taking their time."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.bench import START, STEP, Ledger, as_json

# What the last event of a record left: status, lane, and how many events it had.
_STATES = {
    "finished": ("COMPLETED", None, 2, "completed"),
    "failed": ("FAILED", "failed", 2, "failed"),
    "in backoff": ("PENDING", "returned", 2, "failed"),
    "in progress": ("IN_PROGRESS", "active", 1, "passed"),
    "waiting": ("PENDING", "waiting", 0, None),
    "incomplete": ("PENDING", "incomplete0000000001", 0, None),
}
# A record, the claim of its run, and its events. Only each `every`-th is in the state asked for,
# the others are finished.
_RECORDS = f"""
insert into record_ledger.record (
    pipeline_id, window_start_time, window_end_time, previous_window_start_time, target_day, status,
    lane, open_pipeline_id, attempt, claim_token, run_id, lease_expires_at, retry_at, fields,
    missing_fields, config_version, event_count, last_event, last_detail, created_at, updated_at
)
select %(name)s, w.start, w.start + w.step, case when w.n > 0 then w.start - w.step end,
    (w.start at time zone 'UTC')::date, s.status, s.lane,
    case when s.lane is not null then %(name)s end, least(s.events, 1),
    case when s.status = 'IN_PROGRESS' or s.lane is null then w.n + 1 end,
    'scheduled__' || w.start || '/' || %(name)s,
    case when s.status = 'IN_PROGRESS' then timestamptz '2900-01-01' end,
    case when s.lane = 'returned' then timestamptz '2900-01-01' end,
    '{{"source_name": "elasticsearch", "target_name": "snowflake"}}',
    case when s.lane like 'incomplete%%' then array['path'] end, 1, s.events, s.event,
    '{{"rows": 1200}}', w.start + 2 * w.step, w.start + 2 * w.step
from (
    select n, timestamptz '{START}' + (%(first)s + n) * interval '{STEP} seconds' as start,
        interval '{STEP} seconds' as step
    from generate_series(0, %(count)s - 1) as n
) as w
cross join lateral (
    select (
        case when w.n %% %(every)s = 0
            then (%(status)s, %(lane)s, %(events)s, %(event)s)::bench.state
            else ('COMPLETED', null, 2, 'completed')::bench.state end
    ).*
) as s
"""
_CLAIMS = """
insert into record_ledger.claim (
    pipeline_id, claim_token, window_start_time, bound_run_id, waiting_mark, active_mark
)
select pipeline_id, claim_token, window_start_time, run_id,
    case when %(status)s <> 'PENDING' then window_start_time end as waiting_mark,
    case when %(status)s = 'IN_PROGRESS' then min(window_start_time) over ()
        else window_start_time end as active_mark
from record_ledger.record where pipeline_id = %(name)s and claim_token is not null
order by window_start_time
"""
_EVENTS = """
insert into record_ledger.record_event (
    pipeline_id, window_start_time, event_no, event_time, event, from_status, to_status, generation,
    attempt, claim_token, run_id, detail
)
select r.pipeline_id, r.window_start_time, e.no, r.updated_at,
    case e.no when 1 then 'passed' else r.last_event end,
    case e.no when 1 then 'PENDING' else 'IN_PROGRESS' end,
    case e.no when 1 then 'IN_PROGRESS' else r.status end,
    1, 1, r.claim_token, r.run_id, case e.no when 1 then '{}' else r.last_detail end
from record_ledger.record as r
cross join generate_series(1, 2) as e (no)
where r.pipeline_id = %(name)s and e.no <= r.event_count
order by r.window_start_time, e.no
"""
_TYPE = "create type bench.state as (status text, lane text, events integer, event text)"
_TABLES = ("record", "claim", "record_event")


def fill(
    ledger: Ledger,
    name: str,
    count: int,
    *,
    state: str = "finished",
    every: int = 1,
    first: int = 0,
    config: dict[str, Any] | None = None,
) -> None:
    """Makes a pipeline with `count` records from the step `first` on."""
    execute = ledger.connection.execute
    execute("select record_ledger.register_pipeline(%s)", [as_json(config or ledger.config(name))])
    if execute("select to_regtype('bench.state')").fetchone() == (None,):
        execute(_TYPE)
    for table in _TABLES:
        execute(f"alter table record_ledger.{table} disable trigger all")  # type: ignore[arg-type]
    status, lane, events, event = _STATES[state]
    values = {
        "name": name, "count": count, "first": first, "every": every,
        "status": status, "lane": lane, "events": events, "event": event,
    }  # fmt: skip
    for statement in (_RECORDS, _CLAIMS, _EVENTS):
        execute(statement, values)  # type: ignore[arg-type]
    for table in _TABLES:
        execute(f"alter table record_ledger.{table} enable trigger all")  # type: ignore[arg-type]
