"""Structured log lines: `key=value` pairs through the stdlib logger `record_ledger`."""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .visible import visible_json

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def timed(call: str, level: int = logging.INFO, **fields: object) -> Iterator[dict[str, object]]:
    """Logs one line when the block ends: the call, its fields, its outcome, the milliseconds.

    The block may add fields to the dict it gets. An exception is logged by its class only and goes
    on: its message reaches the reader through whoever handles it.
    """
    outcome: dict[str, object] = {}
    started = time.perf_counter()
    try:
        yield outcome
    except BaseException as error:
        outcome["error"] = type(error).__name__
        outcome["sqlstate"] = getattr(error, "sqlstate", None)
        raise
    finally:
        if logger.isEnabledFor(level):
            elapsed = (time.perf_counter() - started) * 1000.0
            logger.log(level, line(call=call, **{**fields, **outcome, "ms": elapsed}))


def passed(outcome: dict[str, object], verdict: str, reason: str | None, record: Any) -> None:
    """Adds what a pass answered to the fields of its log line."""
    outcome["verdict"] = verdict
    outcome["reason"] = reason
    if record is not None:
        outcome["window"] = record["window_start_time"]
        outcome["attempt"] = record["attempt"]
        outcome["claim_token"] = record["claim_token"]


def retrying(call: str, tried: int, wait: float, reason: str) -> None:
    """Warns that a call failed for want of a connection and is tried again."""
    logger.warning(line(call=call, event="retry", tried=tried, wait_seconds=wait, reason=reason))


def waits_for_lock(call: str, seconds: float, blockers: str) -> None:
    """Warns that a call waits for a lock, and who holds it."""
    logger.warning(
        line(event="waits_for_lock", call=call, waited_seconds=seconds, blocked_by=blockers)
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
            hint="the local time comes twice; add the offset (%z), or render it with | utc",
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
