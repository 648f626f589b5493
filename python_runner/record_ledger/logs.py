"""Structured log lines: `key=value` pairs through the stdlib logger `record_ledger`."""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from .visible import visible_json

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("record_ledger")

# The SQLSTATE of notices that the ledger's own rules raise.
LEDGER_NOTICE = "RL000"
_given: set[str] = set()

_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+\Z")


def line(**fields: object) -> str:
    """Returns `key=value` pairs in the given order; a value with spaces or quotes is JSON-quoted.

    Fields that are None are left out, so a line never says more than is known.
    """
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.isoformat()
    try:
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
    except Exception:  # noqa: BLE001 - a line is written for arguments of any kind
        text = f"<{type(value).__name__}>"
    return text if _PLAIN.match(text) and text.isprintable() else visible_json(text)


class Timed:
    """A `with` block that logs one line when it ends; see `timed`.

    A class and not a generator: it takes part in every call, and costs a third of one.
    """

    __slots__ = ("_call", "_fields", "_level", "_outcome", "_started")

    def __init__(self, call: str, level: int, fields: dict[str, object]) -> None:
        self._call, self._level, self._fields = call, level, fields

    def __enter__(self) -> dict[str, object]:
        self._outcome: dict[str, object] = {}
        self._started = time.perf_counter()
        return self._outcome

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._outcome["error"] = type(error).__name__
            self._outcome["sqlstate"] = getattr(error, "sqlstate", None)
        if logger.isEnabledFor(self._level):
            elapsed = (time.perf_counter() - self._started) * 1000.0
            fields = {**self._fields, **self._outcome, "ms": elapsed}
            logger.log(self._level, line(call=self._call, **fields))


def timed(call: str, level: int = logging.INFO, **fields: object) -> Timed:
    """Logs one line when the block ends: the call, its fields, its outcome, the milliseconds.

    The block may add fields to the dict it gets. An exception is logged by its class only and goes
    on: its message reaches the reader through the caller who handles it.
    """
    return Timed(call, level, fields)


def passed(outcome: dict[str, object], verdict: str, reason: str | None, record: Any) -> None:
    """Adds the answer of a pass to the fields of its log line."""
    outcome["verdict"] = verdict
    outcome["reason"] = reason
    if record is not None:
        outcome["window"] = record["window_start_time"]
        outcome["attempt"] = record["attempt"]
        outcome["claim_token"] = record["claim_token"]


def retrying(call: str, tried: int, wait: float, reason: str) -> None:
    """Warns that a call failed because its connection is missing, and is tried again."""
    logger.warning(line(call=call, event="retry", tried=tried, wait_seconds=wait, reason=reason))


def waits_for_lock(call: str, seconds: float, blockers: str) -> None:
    """Warns that a call waits for a lock, and who holds it."""
    logger.warning(
        line(event="waits_for_lock", call=call, waited_seconds=seconds, blocked_by=blockers)
    )


def unprepared(reason: str) -> None:
    """Warns that a session goes on without prepared statements: a pooler has lost one, say."""
    logger.warning(
        line(
            event="unprepared",
            reason=reason,
            hint="behind a pooler, set RECORD_LEDGER_PREPARE=off or prepare=False",
        )
    )


def command_ended(record: Any, exit_code: int, seconds: float) -> None:
    """Logs how a command ended that was run on a record."""
    logger.info(
        line(
            event="command_ended",
            pipeline_id=record["pipeline_id"],
            window=record["window_start_time"],
            claim_token=record["claim_token"],
            exit_code=exit_code,
            seconds=seconds,
        )
    )


def rendered_twice(
    pipeline_id: str, field: str, value: object, window: dt.datetime, other_window: object
) -> None:
    """Warns that a field is the same for two windows that their clocks show alike."""
    logger.warning(
        line(
            event="rendered_twice",
            pipeline_id=pipeline_id,
            field=field,
            value=value,
            window=window,
            other_window=other_window,
            hint="clocks show this local time twice; add the offset (%z), or render it with | utc",
        )
    )


def left_out(pipeline_id: str, window: str, problem: str) -> None:
    """Warns that a window waits because its templates failed, while others go on."""
    logger.warning(
        line(event="window_left_out", pipeline_id=pipeline_id, window=window, reason=problem)
    )


def server_notice(severity: str, message: str, sqlstate: str | None = None) -> None:
    """Logs a remark of the server: its warnings as warnings, the rest for debugging.

    A notice of the ledger itself is a warning as well, once per process: it comes with each call.
    """
    level = logging.WARNING if severity == "WARNING" else logging.DEBUG
    if severity == "NOTICE" and sqlstate == LEDGER_NOTICE and message not in _given:
        _given.add(message)
        level = logging.WARNING
    logger.log(level, line(event="server_notice", severity=severity, message=message))
