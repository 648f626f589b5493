"""What the tests of sql/ share: the public routines as calls, and looks at what is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.invariants import audit  # noqa: F401 (tests take it from here)
from tests.support.databases import Connection

PIPELINE = "orders"
NOW = "2026-11-22T20:00:00Z"  # noon in Los Angeles
MICROSECOND = timedelta(microseconds=1)


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


def cycle(
    connection: Connection, config: Any, run_id: str | None = None, built: Any = ()
) -> Answer:
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
    connection: Connection,
    token: int | None,
    pipeline_id: str | None = PIPELINE,
    detail: Any = None,
    window: Any = None,
) -> None:
    connection.execute(
        "select record_ledger.complete_record(%s, %s, %s, %s)",
        [pipeline_id, token, Jsonb(detail or {}), window],
    )


def complete_and_pass(
    connection: Connection,
    token: int | None,
    run_id: str | None = None,
    detail: Any = None,
    window: Any = None,
    pipeline_id: str | None = PIPELINE,
) -> Answer:
    found = connection.execute(
        "select exit_dag, verdict, reason, record "
        "from record_ledger.complete_and_pass(%s, %s, %s, %s, %s)",
        [pipeline_id, token, run_id, Jsonb(detail or {}), window],
    ).fetchall()
    assert len(found) == 1
    return Answer(*found[0], [])


def complete_all(
    connection: Connection,
    tokens: list[int | None] | None,
    details: Any = None,
    windows: Any = None,
    pipeline_id: str | None = PIPELINE,
) -> dict[int, tuple[str, str | None]]:
    """{token: (outcome, reason)} of complete_records, in the order of the answer."""
    if details is not None:
        details = [None if detail is None else Jsonb(detail) for detail in details]
    found = rows(
        connection,
        "select claim_token, outcome, reason from record_ledger.complete_records(%s, %s, %s, %s)",
        [pipeline_id, tokens, details, windows],
    )
    return {token: (outcome, reason) for token, outcome, reason in found}


def fail(
    connection: Connection,
    token: int | None,
    error: str | None = "boom",
    retry: bool | None = True,
    pipeline_id: str | None = PIPELINE,
    window: Any = None,
) -> None:
    connection.execute(
        "select record_ledger.fail_record(%s, %s, %s, %s, %s)",
        [pipeline_id, token, error, retry, window],
    )


def release(
    connection: Connection,
    token: int | None,
    pipeline_id: str | None = PIPELINE,
    not_before: Any = None,
    window: Any = None,
) -> None:
    connection.execute(
        "select record_ledger.release_record(%s, %s, %s, %s)",
        [pipeline_id, token, not_before, window],
    )


def extend(
    connection: Connection,
    token: int | None,
    pipeline_id: str | None = PIPELINE,
    window: Any = None,
) -> datetime:
    return one(
        connection,
        "select record_ledger.extend_lease(%s, %s, %s)",
        [pipeline_id, token, window],
    )


def claim_state(
    connection: Connection, token: int | None, pipeline_id: str | None = PIPELINE
) -> tuple[str, str | None, str | None]:
    """(state, reason, cancelled_by) of a claim."""
    ((state, reason, cancelled_by),) = rows(
        connection, "select * from record_ledger.claim_state(%s, %s)", [pipeline_id, token]
    )
    return state, reason, cancelled_by


# ---------------------------------------------------------------- what operators do
OPERATIONS = {
    "waive": "waive_records",
    "reopen": "reopen_records",
    "expire": "expire_leases",
    "cancel": "cancel_records",
}


def operate(
    connection: Connection,
    operation: str,
    from_time: Any,
    to_time: Any,
    reason: str | None = "why",
    pipeline_id: str | None = PIPELINE,
) -> int:
    """Waives, reopens, expires or cancels; returns how many records changed."""
    return one(
        connection,
        f"select record_ledger.{OPERATIONS[operation]}(%s, %s, %s, %s)",
        [pipeline_id, from_time, to_time, reason],
    )


def backfill(
    connection: Connection,
    from_time: Any,
    reason: str | None = None,
    pipeline_id: str | None = PIPELINE,
) -> int:
    return one(
        connection,
        "select record_ledger.backfill_records(%s, %s, %s)",
        [pipeline_id, from_time, reason],
    )


def on_pipeline(
    connection: Connection,
    verb: str,
    reason: str | None = "why",
    pipeline_id: str | None = PIPELINE,
) -> Any:
    """Pauses, resumes or retires."""
    return one(connection, f"select record_ledger.{verb}_pipeline(%s, %s)", [pipeline_id, reason])


def effects(
    connection: Connection,
    operation: str | None,
    from_time: Any,
    to_time: Any = None,
    pipeline_id: str | None = PIPELINE,
) -> list[tuple[Any, ...]]:
    """(effect, status, reason, record_count, first_window_start_time, last_window_end_time)."""
    return rows(
        connection,
        "select * from record_ledger.range_effects(%s, %s, %s, %s)",
        [operation, pipeline_id, from_time, to_time],
    )


def archive(
    connection: Connection,
    before: datetime | str | None,
    max_records: int | None = 100_000,
    pipeline_id: str | None = PIPELINE,
) -> int:
    return int(
        one(
            connection,
            "select record_ledger.archive_records(%s, %s, %s)",
            [pipeline_id, before, max_records],
        )
    )


# ---------------------------------------------------------------- the end of a claim, by name
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
        for view in (
            "pipelines",
            "pipeline_records",
            "record_events",
            "record_observations",
            "pipeline_events",
            "archived_records",
            "archived_record_events",
            "archived_record_observations",
        )
    ]


def record_of(
    connection: Connection, start: datetime, pipeline_id: str = PIPELINE
) -> dict[str, Any]:
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
    return [entry(window, fields) for window in to_build]


def entry(window: Mapping[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """What a caller sends back for one window of `to_build`."""
    names = ("window_start_time", "window_end_time", "config_version")
    return {**{name: window[name] for name in names}, "fields": fields}


def writes_nothing(connection: Connection, query: str, parameters: Any = None) -> list[Any]:
    """Runs a statement in a transaction of its own, which must not have written anything."""
    with connection.transaction():
        found = connection.execute(query, parameters).fetchall()
        assert one(connection, "select pg_current_xact_id_if_assigned()::text") is None, (
            "the statement was given a transaction id, so its commit goes to disk"
        )
    return found
