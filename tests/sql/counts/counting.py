"""What the tests of counts share: the routines that note, adopt and waive them."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.support import PIPELINE, Answer, one, register
from tests.support.databases import Connection

BOTH = {"stages": ["source", "target"]}


def requires(connection: Connection, given: dict[str, Any], required: Any) -> None:
    """Registers a config with other required_counts, or with none."""
    changed = {**given, "required_counts": required}
    register(connection, {key: value for key, value in changed.items() if value is not None})


def problem(connection: Connection) -> str | None:
    """Returns why the counts of the record in progress do not suffice."""
    found: str | None = one(
        connection,
        "select counts_problem from record_ledger.record_verdicts where status = 'IN_PROGRESS'",
    )
    return found


def observe(
    connection: Connection,
    start: Any,
    stage: str | None,
    row_count: int | None,
    token: int | None = None,
    detail: Any = None,
    pipeline_id: str | None = PIPELINE,
) -> int:
    """Records a count; without a token it is not evidence. Returns its number."""
    return one(
        connection,
        "select record_ledger.observe_record(%s, %s, %s, %s, %s, %s)",
        [pipeline_id, start, stage, row_count, Jsonb({} if detail is None else detail), token],
    )


def adopt(
    connection: Connection,
    token: int | None,
    stage: str | None = None,
    pipeline_id: str = PIPELINE,
    window: Any = None,
) -> int:
    return one(
        connection,
        "select record_ledger.adopt_observations(%s, %s, %s, %s)",
        [pipeline_id, token, stage, window],
    )


def waive_counts(
    connection: Connection,
    start: Any,
    reason: str | None = "why",
    pipeline_id: str | None = PIPELINE,
) -> bool:
    return one(
        connection, "select record_ledger.waive_counts(%s, %s, %s)", [pipeline_id, start, reason]
    )


def count(connection: Connection, held: Answer, **counts: int) -> None:
    """Notes counts of a record that was passed, under its claim: `count(ledger, held, source=7)`."""
    for stage, row_count in counts.items():
        observe(connection, held.start, stage, row_count, held.token)
