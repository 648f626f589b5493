"""What the archive's tests share: one pipeline of eight hours, and looks at what was moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.sql.support import PIPELINE, complete, pass_valid, register, rows, store
from tests.support.clock import Clock
from tests.support.databases import Connection

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
WINDOWS = 8
EVER = "2100-01-01T00:00:00Z"

# Legal changes that are made to a record directly, as its table's owner; the state machine judges them.
_CHANGES = {
    "waive": "status = 'WAIVED', retry_at = null, last_event = 'waived'",
    "reopen": "status = 'PENDING', generation = generation + 1, attempt = 0, claim_token = null, "
    "run_id = null, last_event = 'reopened'",
}


def hour(n: int) -> datetime:
    return START + timedelta(hours=n)


def eight_hours(
    ledger: Connection, clock: Clock, make_config: Callable[..., dict[str, Any]], **changes: Any
) -> dict[str, Any]:
    """Registers the pipeline and stores its eight windows, none of them passed; gives its config."""
    given = {
        "timezone": "UTC",
        "x_time_back": "0s",
        "granularity": "1h",
        "start_at": START.isoformat(),
        "retry_delay": "0s",
        **changes,
    }
    config = make_config(PIPELINE, **given)
    clock.set(hour(WINDOWS))
    register(ledger, config)
    assert store(ledger, PIPELINE) == WINDOWS
    return config


def finish(ledger: Connection, count: int) -> list[int]:
    """Passes and completes that many records; gives their tokens."""
    tokens = [pass_valid(ledger, PIPELINE, f"run {n}").token for n in range(count)]
    for token in tokens:
        complete(ledger, token, detail={"rows": token})
    return tokens


def change(connection: Connection, how: str, start: datetime, pipeline_id: str = PIPELINE) -> None:
    """Waives or reopens the record of a window."""
    done = connection.execute(
        f"update record_ledger.record set {_CHANGES[how]}, "
        "last_detail = jsonb_build_object('reason', 'a test'), updated_at = record_ledger.clock() "
        "where pipeline_id = %s and window_start_time = %s",
        [pipeline_id, start],
    )
    assert done.rowcount == 1


def archived(connection: Connection) -> list[datetime]:
    """The starts of the archived windows."""
    query = "select window_start_time from record_ledger.archived_records order by 1"
    return [start for (start,) in rows(connection, query)]


def archivable(
    connection: Connection, before: Any = EVER, max_records: int | None = None
) -> tuple[Any, ...]:
    """(record_count, first_window_start_time, last_window_start_time, archived_until, reason)."""
    return rows(
        connection,
        "select record_count, first_window_start_time, last_window_start_time, archived_until, "
        "reason from record_ledger.archivable_records(%s, %s, %s)",
        [PIPELINE, before, max_records],
    )[0]


# Copies of live rows in the archive, which only the owner can make.
COPY = {
    "record": """
        insert into record_ledger.archived_record
        select window_start_time, window_end_time, created_at, updated_at, now(), claim_token,
            target_day, generation, attempt, config_version, event_count, is_historical,
            pipeline_id, status, run_id, fields, missing_fields, last_event, last_detail
        from record_ledger.record where window_start_time = %s""",
    "record_event": """
        insert into record_ledger.archived_record_event
        select window_start_time, event_time, claim_token, event_no, generation, attempt,
            pipeline_id, event, from_status, to_status, run_id, actor, detail
        from record_ledger.record_event where window_start_time = %s""",
    "record_observation": """
        insert into record_ledger.archived_record_observation
        select * from record_ledger.record_observation where window_start_time = %s""",
}
