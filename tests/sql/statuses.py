"""A pipeline with one record in each status, for the tests of what operators do."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from tests.sql.support import PIPELINE, complete, fail, operate, pass_valid, register, rows, store
from tests.support.clock import Clock
from tests.support.databases import Connection

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
STATUSES = ["PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "WAIVED"]
EVERYTHING = ("-infinity", "infinity")


def hour(n: float) -> datetime:
    return START + timedelta(hours=n)


def one_of_each(ledger: Connection, clock: Clock, config: Any) -> dict[str, Any]:
    """Makes the records of hours 0 to 4 stand in the order of STATUSES; returns the config.

    The runs are called held, done and lost; two attempts are allowed.
    """
    given: dict[str, Any] = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), lease="30m",
        retry_delay="10m", max_attempts=2,
    )  # fmt: skip
    clock.set(hour(5))
    register(ledger, given)
    store(ledger, PIPELINE)
    operate(ledger, "waive", hour(4), hour(5))
    operate(ledger, "waive", hour(0), hour(1))
    pass_valid(ledger, PIPELINE, "held")
    complete(ledger, pass_valid(ledger, PIPELINE, "done").token)
    fail(ledger, pass_valid(ledger, PIPELINE, "lost").token, retry=False)
    operate(ledger, "reopen", hour(0), hour(1))
    assert statuses(ledger) == STATUSES
    return given


def statuses(ledger: Connection) -> list[str]:
    query = "select status from record_ledger.pipeline_records order by window_start_time"
    return [status for (status,) in rows(ledger, query)]
