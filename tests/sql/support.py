"""What the tests of sql/ share: the public routines as calls, and an auditor of a whole ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.databases import Connection

PIPELINE = "orders"
NOW = "2026-11-22T20:00:00Z"  # noon in Los Angeles


class Answer(NamedTuple):
    """What a pass answers; `to_build` is empty for pass_valid_record, which renders nothing."""

    exit_dag: bool
    verdict: str
    reason: str
    record: dict[str, Any] | None
    to_build: list[dict[str, Any]]

    @property
    def token(self) -> int:
        assert self.record is not None, f"nothing was passed: {self.verdict}, {self.reason}"
        return int(self.record["claim_token"])

    @property
    def start(self) -> datetime:
        assert self.record is not None, f"nothing was passed: {self.verdict}, {self.reason}"
        return datetime.fromisoformat(self.record["window_start_time"])


def one(connection: Connection, query: str, parameters: Any = None) -> Any:
    """The one value of a statement's one row; None when there is no row."""
    found = rows(connection, query, parameters)
    assert len(found) <= 1, f"more than one row: {found[:3]}"
    return found[0][0] if found else None


def rows(connection: Connection, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The rows of a statement, instants in UTC.

    In one zone Python subtracts wall clocks, and the test's sessions have changing zones.
    """
    found = connection.execute(query, parameters).fetchall()
    return [tuple(map(_in_utc, row)) for row in found]


def _in_utc(value: Any) -> Any:
    return value.astimezone(timezone.utc) if isinstance(value, datetime) and value.tzinfo else value


# ---------------------------------------------------------------- the public routines
def register(connection: Connection, config: Any) -> str:
    return str(one(connection, "select record_ledger.register_pipeline(%s)", [Jsonb(config)]))


def cycle(connection: Connection, config: Any, run_id: str | None = None, built: Any = ()) -> Answer:
    found = connection.execute(
        "select exit_dag, verdict, reason, record, to_build "
        "from record_ledger.store_new_and_pass_valid_record(%s, %s, %s)",
        [Jsonb(config), run_id, Jsonb(list(built))],
    ).fetchall()
    assert len(found) == 1
    return Answer(*found[0])


def pass_valid(connection: Connection, pipeline_id: str, run_id: str | None = None) -> Answer:
    found = connection.execute(
        "select exit_dag, verdict, reason, record from record_ledger.pass_valid_record(%s, %s)",
        [pipeline_id, run_id],
    ).fetchall()
    assert len(found) == 1
    return Answer(*found[0], [])


def store(connection: Connection, pipeline_id: str, built: Any = ()) -> int:
    return int(
        one(
            connection,
            "call record_ledger.store_new_records(%s, %s, null)",
            [pipeline_id, Jsonb(list(built))],
        )
    )


def complete(
    connection: Connection, token: int | None, pipeline_id: str | None = PIPELINE, detail: Any = None
) -> None:
    connection.execute(
        "select record_ledger.complete_record(%s, %s, %s)", [pipeline_id, token, Jsonb(detail or {})]
    )


def fail(
    connection: Connection,
    token: int | None,
    error: str | None = "boom",
    retry: bool | None = True,
    pipeline_id: str | None = PIPELINE,
) -> None:
    connection.execute(
        "select record_ledger.fail_record(%s, %s, %s, %s)", [pipeline_id, token, error, retry]
    )


def release(connection: Connection, token: int | None, pipeline_id: str | None = PIPELINE) -> None:
    connection.execute("select record_ledger.release_record(%s, %s)", [pipeline_id, token])


def extend(connection: Connection, token: int | None, pipeline_id: str | None = PIPELINE) -> datetime:
    return one(connection, "select record_ledger.extend_lease(%s, %s)", [pipeline_id, token])


ENDINGS = {"complete": complete, "fail": fail, "release": release}


def end(connection: Connection, how: str, token: int | None, pipeline_id: str = PIPELINE) -> None:
    ENDINGS[how](connection, token, pipeline_id=pipeline_id)


@contextmanager
def refused(sqlstate: str, message: str = "") -> Iterator[pytest.ExceptionInfo[psycopg.Error]]:
    """The block must raise that SQLSTATE, with a message that the pattern is found in."""
    with pytest.raises(psycopg.Error) as caught:
        yield caught
    found = caught.value.diag.message_primary or ""
    assert caught.value.sqlstate == sqlstate, f"{caught.value.sqlstate}: {found}"
    assert re.search(message, found, re.IGNORECASE), found


# ---------------------------------------------------------------- what is there
def snapshot(connection: Connection) -> list[list[tuple[Any, ...]]]:
    """Everything that the ledger tells about its rows, to be compared before and after."""
    return [
        rows(connection, f"select * from record_ledger.{view} as v order by v::text")
        for view in ("pipelines", "pipeline_records", "record_events", "pipeline_events")
    ]


def record_of(connection: Connection, start: datetime, pipeline_id: str = PIPELINE) -> dict[str, Any]:
    """One record as the analysts see it."""
    return one(
        connection,
        "select to_jsonb(r) from record_ledger.pipeline_records as r "
        "where pipeline_id = %s and window_start_time = %s",
        [pipeline_id, start],
    )


def verdict_of(connection: Connection, start: datetime, pipeline_id: str = PIPELINE) -> Any:
    """(verdict, reason, ready_at) of one open record."""
    found = rows(
        connection,
        "select verdict, reason, ready_at from record_ledger.record_verdicts "
        "where pipeline_id = %s and window_start_time = %s",
        [pipeline_id, start],
    )
    assert len(found) == 1, found
    return found[0]


def windows(connection: Connection, pipeline_id: str = PIPELINE) -> list[tuple[datetime, datetime]]:
    return rows(
        connection,
        "select window_start_time, window_end_time from record_ledger.pipeline_records "
        "where pipeline_id = %s order by 1",
        [pipeline_id],
    )


def events(connection: Connection, start: datetime, pipeline_id: str = PIPELINE) -> list[str]:
    return [
        name
        for (name,) in rows(
            connection,
            "select event from record_ledger.record_events "
            "where pipeline_id = %s and window_start_time = %s order by event_no",
            [pipeline_id, start],
        )
    ]


def built(to_build: Iterable[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """What a caller sends back: the same fields for each window."""
    return [{"window_start_time": w["window_start_time"], "fields": fields} for w in to_build]


def writes_nothing(connection: Connection, query: str, parameters: Any = None) -> list[Any]:
    """Runs a statement in a transaction of its own, which must not have written anything."""
    with connection.transaction():
        found = connection.execute(query, parameters).fetchall()
        assert one(connection, "select pg_current_xact_id_if_assigned()::text") is None, (
            "the statement was given a transaction id, so its commit goes to disk"
        )
    return found


MICROSECOND = timedelta(microseconds=1)

# ---------------------------------------------------------------- the auditor
# Each statement finds violations, through the public views only: how the ledger keeps its state is its own business.
_VIOLATIONS = {
    "windows leave a gap or overlap": """
        select r.* from (
            select pipeline_id, window_start_time, window_end_time,
                lag(window_end_time) over w as previous_end
            from record_ledger.pipeline_records
            window w as (partition by pipeline_id order by window_start_time)
        ) as r
        where r.previous_end <> r.window_start_time or r.window_end_time <= r.window_start_time
    """,
    "a status does not have what it needs": """
        select * from record_ledger.pipeline_records
        where (status = 'IN_PROGRESS') <> (lease_expires_at is not null)
            or status = 'IN_PROGRESS' and claim_token is null
            or status = 'PENDING' and (claim_token is not null or run_id is not null)
            or status <> 'PENDING' and retry_at is not null
            or status not in ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'WAIVED')
    """,
    "events do not follow one another": """
        select * from (
            select e.*,
                row_number() over w as expected_no,
                lag(to_status, 1, 'PENDING') over w as expected_from,
                lag(generation, 1, 1) over w as generation_before,
                -- A released attempt is not counted.
                lag(attempt - (event = 'released')::int, 1, 0) over w as attempt_before,
                lag(event_time) over w as time_before
            from record_ledger.record_events as e
            window w as (partition by pipeline_id, window_start_time order by event_no)
        ) as e
        where event_no <> expected_no
            or from_status <> expected_from
            or event_time < time_before
            or generation <> generation_before + (event = 'reopened')::int
            or attempt <> case event
                when 'passed' then attempt_before + 1
                when 'reopened' then 0
                else attempt_before
            end
    """,
    "events do not add up to the record": """
        select r.pipeline_id, r.window_start_time, r.status, r.attempt, r.last_event, e.*
        from record_ledger.pipeline_records as r
        left join lateral (
            select to_status, event, generation, claim_token,
                attempt - (event = 'released')::int as attempt
            from record_ledger.record_events as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
            order by event_no desc limit 1
        ) as e on true
        where r.status <> coalesce(e.to_status, 'PENDING')
            or r.last_event is distinct from e.event
            or r.generation <> coalesce(e.generation, 1)
            or r.attempt <> coalesce(e.attempt, 0)
            or r.claim_token is not null and r.claim_token <> e.claim_token
    """,
    "an event belongs to no record": """
        select e.* from record_ledger.record_events as e
        where not exists (
            select from record_ledger.pipeline_records as r
            where (r.pipeline_id, r.window_start_time) = (e.pipeline_id, e.window_start_time)
        )
    """,
    "a claim token was drawn twice": """
        select claim_token from record_ledger.record_events
        where event in ('passed', 'passed_again')
        group by claim_token having count(*) > 1
    """,
    "a claim ended twice": """
        select pipeline_id, claim_token from record_ledger.record_events
        where event in ('completed', 'failed', 'released', 'lease_expired')
        group by pipeline_id, claim_token having count(*) > 1
    """,
    "a run was passed two records": """
        select pipeline_id, run_id from record_ledger.record_events
        where event in ('passed', 'passed_again') and run_id is not null
        group by pipeline_id, run_id having count(distinct window_start_time) > 1
    """,
    "an open record does not have exactly one verdict": """
        select r.pipeline_id, r.window_start_time, count(v.verdict)
        from record_ledger.pipeline_records as r
        full join record_ledger.record_verdicts as v using (pipeline_id, window_start_time)
        group by 1, 2, r.status
        having count(v.verdict) <> (r.status in ('PENDING', 'IN_PROGRESS', 'FAILED'))::int
    """,
}


def audit(connection: Connection) -> None:
    """Asserts that the whole ledger is sound: chain, claims, events, verdicts."""
    for what, query in _VIOLATIONS.items():
        found = rows(connection, query)
        assert not found, f"{what}: {len(found)} times, such as {found[0]}"
