"""Pipelines with what so many cycles would have left behind, without taking their time.

The rows are those that the ledger's routines leave: tests/sql/cost/test_lane_growth.py audits them.
The deployed rule gives the lane of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from tests.benchmarks.bench import START, STEP, as_json, make_config
from tests.support.databases import Connection

# How long a lease and a backoff last that run while a pipeline is measured; its config says so.
LEASE = "7d"
RETRY_DELAY = "1d"

_STATUS_AFTER = {
    "passed": "IN_PROGRESS",
    "completed": "COMPLETED",
    "released": "PENDING",
    "reopened": "PENDING",
    "waived": "WAIVED",
}


@dataclass(frozen=True)
class History:
    """What happened to a record, and what it was left with.

    `events` are those of its history, in order. A failure is for good unless there is a `backoff`,
    with which a record that was released is postponed.
    `backoff` and `lease` are "over" or "running" at the end of the fill.
    """

    events: tuple[str, ...] = ()
    backoff: str | None = None
    lease: str | None = None
    is_backfilled: bool = False
    is_complete: bool = True
    is_built: bool = True

    def steps(self) -> list[dict[str, Any]]:
        """Returns its events as rows, with the generation, attempt and pass of each."""
        found: list[dict[str, Any]] = []
        status, generation, attempt, passes = "PENDING", 1, 0, 0
        for event in self.events:
            before = status
            if event == "failed":
                status = "FAILED" if self.backoff is None else "PENDING"
            else:
                status = _STATUS_AFTER[event]
            if event == "reopened":
                generation, attempt = generation + 1, 0
            if event == "passed":
                attempt, passes = attempt + 1, passes + 1
            found.append(
                {
                    "event_no": len(found) + 1, "event": event, "from_status": before,
                    "to_status": status, "generation": generation, "attempt": attempt,
                    "pass_no": passes,
                }
            )  # fmt: skip
            # The attempt that a release ends is not counted afterwards.
            attempt -= event == "released"
        return found

    def values(self) -> dict[str, Any]:
        """Returns what the record holds in the end."""
        steps = self.steps()
        last = steps[-1] if steps else {"to_status": "PENDING", "generation": 1, "attempt": 0}
        return {
            "steps": Jsonb(steps),
            "events": len(steps),
            "passes": max(self.events.count("passed"), 1),
            "status": last["to_status"],
            "generation": last["generation"],
            "attempt": last["attempt"] - (last.get("event") == "released"),
            "last_event": last.get("event"),
            "backoff": self.backoff,
            "lease": self.lease,
            "is_postponed": self.backoff is not None and last.get("event") == "released",
            # The rows of what still runs are of the last seconds, all others of their window's end.
            "is_recent": "running" in (self.backoff, self.lease),
            "is_historical": self.is_backfilled or "reopened" in self.events,
            # Only a pass finds out that the config asks for none.
            "needs_counts": "passed" not in self.events,
            "is_in_order": not self.events and not self.is_backfilled,
            "missing_fields": None if self.is_complete else ["path"],
            "config_version": 1 if self.is_built else None,
        }


FINISHED = History(("passed", "completed"))
HISTORIES = {
    "waiting": History(),
    "historical": History(is_backfilled=True),
    "returned": History(("passed", "released")),
    "in backoff": History(("passed", "failed"), backoff="running"),
    "after its backoff": History(("passed", "failed"), backoff="over"),
    "historical in backoff": History(("passed", "failed"), backoff="running", is_backfilled=True),
    "historical after its backoff": History(
        ("passed", "failed"), backoff="over", is_backfilled=True
    ),
    "reopened in backoff": History(
        ("passed", "completed", "reopened", "passed", "failed"), backoff="running"
    ),
    "postponed": History(("passed", "released"), backoff="running"),
    "in progress": History(("passed",), lease="running"),
    "with an expired lease": History(("passed",), lease="over"),
    "failed": History(("passed", "failed")),
    "incomplete": History(is_complete=False),
    "unbuilt": History(is_backfilled=True, is_built=False),
    "finished": FINISHED,
    "superseded": History(("passed", "completed", "reopened", "passed", "completed")),
    "waived": History(("waived",)),
}

# A history, and the SQL condition that chooses its records by n, a record's number from 0.
Filling = Sequence[tuple[History, str]]

_WINDOWS = f"""
    select n, timestamptz '{START}' + (%(first)s + n) * interval '{STEP} seconds' as start,
        timestamptz '{START}' + (%(first)s + n + 1) * interval '{STEP} seconds' as ends,
        timestamptz '{START}' + (%(first)s + %(count)s) * interval '{STEP} seconds' as fill_end,
        n * 2 as token
    from generate_series(0, %(count)s - 1) as n
    where /* condition */
"""
# When the newest event was, and until when the record then waits.
_LAST = """(
    case when %(is_recent)s then w.fill_end else w.ends end + %(events)s * interval '1 second'
)"""
_RETRY_AT = f"""(
    {_LAST} + case %(backoff)s::text
        when 'over' then interval '1 second' when 'running' then interval '{RETRY_DELAY}'
    end
)"""
_NOT_BEFORE = f"""
    case when %(is_postponed)s then
        jsonb_build_object('not_before', record_ledger.local_time({_RETRY_AT}, 'UTC'))
    end
"""
_RECORDS = f"""
insert into record_ledger.record (
    pipeline_id, window_start_time, window_end_time, previous_window_start_time, target_day, status,
    generation, attempt, claim_token, run_id, lease_expires_at, retry_at, postponement, fields,
    config_version, missing_fields, is_historical, needs_counts, event_count, last_event,
    last_detail, created_at, updated_at, lane, open_pipeline_id
)
select %(name)s, w.start, w.ends,
    case when w.n > 0 then w.start - interval '{STEP} seconds' end,
    (w.start at time zone 'UTC')::date, %(status)s, %(generation)s, %(attempt)s,
    case when %(keeps_claim)s then w.token + %(passes)s end,
    case when %(keeps_claim)s then 'scheduled__' || w.start || '/' || %(passes)s end,
    case %(lease)s::text
        when 'over' then {_LAST} + interval '1 second'
        when 'running' then {_LAST} + interval '{LEASE}'
    end,
    t.retry_at,
    {_NOT_BEFORE} || jsonb_build_object(
        'released_by', session_user, 'run_id', 'scheduled__' || w.start || '/' || %(passes)s
    ),
    case when %(config_version)s::integer is null then '{{}}' else p.fields
        - coalesce(%(missing_fields)s::text[], '{{}}') end,
    %(config_version)s::integer, %(missing_fields)s::text[], %(is_historical)s, %(needs_counts)s,
    %(events)s, %(last_event)s::text,
    case when %(events)s > 0 then coalesce({_NOT_BEFORE}, '{{}}') end,
    w.ends, {_LAST}, l.lane, case when l.lane is not null then %(name)s end
from ({_WINDOWS}) as w
join record_ledger.pipeline as p on p.pipeline_id = %(name)s
cross join lateral (select {_RETRY_AT} as retry_at) as t
cross join lateral (select /* lane */ as lane) as l
order by w.n
"""
_CLAIMS = f"""
insert into record_ledger.claim (
    pipeline_id, claim_token, window_start_time, bound_run_id, waiting_mark, active_mark
)
select %(name)s, w.token + (s ->> 'pass_no')::integer, w.start,
    'scheduled__' || w.start || '/' || (s ->> 'pass_no'),
    case when %(has_waiting)s then null else w.start end,
    case when %(has_active)s then timestamptz '{START}' + %(first)s * interval '{STEP} seconds'
        else w.start end
from ({_WINDOWS}) as w
cross join jsonb_array_elements(%(steps)s) as s
where s ->> 'event' = 'passed'
order by w.n, s ->> 'pass_no'
"""
_EVENTS = f"""
insert into record_ledger.record_event (
    pipeline_id, window_start_time, event_no, event_time, event, from_status, to_status, generation,
    attempt, claim_token, run_id, detail
)
select %(name)s, w.start, s.event_no,
    {_LAST} - (%(events)s - s.event_no) * interval '1 second',
    s.event, s.from_status, s.to_status, s.generation, s.attempt,
    case when s.pass_no > 0 then w.token + s.pass_no end,
    case when s.pass_no > 0 then 'scheduled__' || w.start || '/' || s.pass_no end,
    coalesce(case when s.event_no = %(events)s then {_NOT_BEFORE} end, '{{}}')
from ({_WINDOWS}) as w
cross join jsonb_to_recordset(%(steps)s) as s (
    event_no integer, event text, from_status text, to_status text, generation integer,
    attempt integer, pass_no integer
)
order by w.n, s.event_no
"""


def lane_rule(connection: Connection) -> str:
    """Returns the deployed rule's call for a record that is filled in.

    The one place that knows the rule's parameters. A release that tells records with a retry_at
    apart takes it as the last one.
    """
    found = connection.execute(
        "select pronargs from pg_proc where oid = 'record_ledger.lane'::regproc"
    ).fetchone()
    assert found is not None
    arguments = [
        "%(status)s", "%(missing_fields)s::text[]", "%(config_version)s::integer",
        "%(is_in_order)s", "%(is_historical)s", "t.retry_at",
    ]  # fmt: skip
    return f"record_ledger.lane({', '.join(arguments[: found[0]])})"


def fill(
    connection: Connection,
    config: dict[str, Any],
    count: int,
    histories: Filling = ((FINISHED, "true"),),
    first: int = 0,
) -> None:
    """Makes a pipeline with `count` records from the step `first` on.

    The conditions of `histories` must cover each record once; in them % is written %%. What still
    runs in the end was begun when the last window ended: ask no earlier than that.
    """
    name = config["default_record"]["pipeline_id"]
    lane = lane_rule(connection)
    active = any(history.lease for history, _ in histories)
    waiting = any(not history.events and not history.is_backfilled for history, _ in histories)
    with connection.transaction():
        connection.execute("select record_ledger.register_pipeline(%s)", [as_json(config)])
        # No trigger looks at what is inserted, and no foreign key.
        connection.execute("set local session_replication_role = replica")
        for history, condition in histories:
            values = {
                "name": name, "count": count, "first": first, "has_active": active,
                "has_waiting": waiting, **history.values(),
            }  # fmt: skip
            values["keeps_claim"] = values["status"] in ("IN_PROGRESS", "COMPLETED", "FAILED")
            for text in (_RECORDS, _CLAIMS, _EVENTS):
                statement = text.replace("/* condition */", condition).replace("/* lane */", lane)
                connection.execute(statement.encode(), values)
        connection.execute(
            "select record_ledger.begin_stretch(p, min(r.window_start_time)) "
            "from record_ledger.pipeline as p join record_ledger.record as r using (pipeline_id) "
            "where pipeline_id = %s group by p",
            [name],
        )


# ---------------------------------------------------------------- the lanes that are measured
_TEMPLATE = {"path": "orders/{{ window_start_time }}"}
_FILLED = {"path": "orders"}


@dataclass(frozen=True)
class Lane:
    """A lane, what fills it, and what its pipeline's config has more.

    `fields` join its default_record, those of `fields_before` while the lane is filled.
    """

    name: str
    histories: Filling
    check_fields: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    fields_before: dict[str, str] | None = None

    def config(self, pipeline: str) -> dict[str, Any]:
        """Returns the config that its pipeline is measured with."""
        config = make_config(pipeline, lease=LEASE, retry_delay=RETRY_DELAY)
        if self.check_fields:
            config["check_fields"] = list(self.check_fields)
        config["default_record"] |= self.fields
        return config

    def fill(self, connection: Connection, pipeline: str, count: int, first: int = 0) -> None:
        """Makes a pipeline with that many records in the lane, from the step `first` on."""
        config = self.config(pipeline)
        if self.fields_before is not None:
            config["default_record"] |= self.fields_before
        fill(connection, config, count, self.histories, first)


def _all(name: str, state: str | None = None, **changes: Any) -> Lane:
    return Lane(name, [(HISTORIES[state or name], "true")], **changes)


def _some_due(name: str, due: str) -> Lane:
    return Lane(
        name, [(HISTORIES["after its backoff"], due), (HISTORIES["in backoff"], f"not ({due})")]
    )


LANES = (
    _all("waiting"),
    _all("historical"),
    _all("returned"),
    _all("in backoff, none due", "in backoff"),
    _all("in backoff, all due", "after its backoff"),
    _some_due("in backoff, the newest 1,000 due", "n >= %(count)s - 1000"),
    _some_due("in backoff, every 1,000th due", "n %% 1000 = 0"),
    _all("historical in backoff, none due", "historical in backoff"),
    _all("historical in backoff, all due", "historical after its backoff"),
    Lane(
        "reopened in backoff and postponed, none due",
        [(HISTORIES["reopened in backoff"], "n %% 2 = 0"), (HISTORIES["postponed"], "n %% 2 = 1")],
    ),
    _all("in progress, leases running", "in progress"),
    _all("in progress, leases expired", "with an expired lease"),
    _all("failed"),
    _all("incomplete", check_fields=("path",), fields=_FILLED),
    _all(
        "incomplete until the config filled them",
        "incomplete",
        check_fields=("path",),
        fields=_FILLED,
        fields_before={"path": ""},
    ),
    _all("unbuilt", fields=_TEMPLATE),
    _all("finished"),
    _all("superseded"),
    _all("waived"),
)
