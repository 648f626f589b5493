"""One turn of an exec: pass a record; run the command on it and end the claim."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from record_ledger import logs
from record_ledger.child import Child
from record_ledger.errors import ClaimLost, CountsDisagree, LedgerError
from record_ledger.heartbeat import Heartbeat
from record_ledger.records import claim_of
from record_ledger.redaction import redact

from .environment import child_environment
from .exits import SIGNAL_CODE
from .stopping import Stop, signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from record_ledger.guard import Guard
    from record_ledger.ledger import RecordLedger
    from record_ledger.records import Record
    from record_ledger.relay import Output

COMPLETED, FAILED, LOST, RELEASED, NOTHING = (
    "completed",
    "failed",
    "lost",
    "released",
    "nothing",
)


@dataclass(frozen=True)
class Work:
    """What all turns of an exec share."""

    config: Mapping[str, Any]
    arguments: Callable[[Record], list[str]]
    stdout: Output | None  # None: the command writes to it by itself
    stderr: Output
    whole_lines: bool
    reads_stdin: bool
    grace: float
    guard: Guard
    stop: Stop


@dataclass(frozen=True)
class Outcome:
    """How a turn ended.

    `reason` says why unless the command was completed. `exit_code` is the command's, 128 and the
    number of the signal that ended it, or None when it was not started. `is_last` when another turn
    could only end as badly.
    """

    outcome: str
    reason: str | None = None
    record: Record | None = None
    exit_code: int | None = None
    verdict: str | None = None
    is_last: bool = False


def pass_record(work: Work, ledger: RecordLedger, run_id: str | None) -> Record | Outcome:
    """Passes at most one record; the outcome says why there is none.

    :raises LedgerError: when the ledger refused or could not be reached, and passed nothing.
    """
    if not work.stop.begin_pass(ledger):
        return _stopped_early(work)
    try:
        result = ledger.store_new_and_pass_valid_record(work.config, run_id)
    except LedgerError:
        if work.stop.signal is None:
            raise
        return _stopped_early(work)
    finally:
        work.stop.end_pass(ledger)
    return result.record or Outcome(NOTHING, result.reason, verdict=result.verdict)


def _stopped_early(work: Work) -> Outcome:
    return Outcome(NOTHING, f"stopped by {work.stop.name} before a record was passed")


def run_command(work: Work, ledger: RecordLedger, record: Record) -> Outcome:
    """Runs the command on a passed record, and ends its claim in exactly one way.

    completed: the command ended with 0, and what it printed was written. failed: it ended
    otherwise, its standard output could not be written, or the counts that the config requires do
    not agree; it may be tried again.
    released: it was never started, and the attempt does not count. lost: the claim was not ours to
    end any more, or the ledger could not be told.
    """
    try:
        arguments = work.arguments(record)
        heartbeat = Heartbeat(ledger, record)
    except LedgerError as error:
        return _release(ledger, record, error.message)
    started = time.monotonic()
    try:
        child = work.stop.start(
            lambda: Child(
                arguments,
                child_environment(record),
                stdout=work.stdout,
                stderr=work.stderr,
                whole_lines=work.whole_lines,
                reads_stdin=work.reads_stdin,
                grace=work.grace,
                guard=work.guard,
            )
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _release(ledger, record, f"{arguments[0]!r} cannot be started: {reason}")
    if child is None:
        what = f"stopped by {work.stop.name} before the command was started"
        return _release(ledger, record, what)
    try:
        heartbeat.start(on_lost=lambda: child.stop(signal.SIGTERM))
        code = child.wait()
    finally:
        lost = heartbeat.stop()
        child.kill()  # it has ended, unless something went very wrong
        work.stop.ended(child)
    seconds = round(time.monotonic() - started, 3)
    exit_code = code if code >= 0 else SIGNAL_CODE - code
    logs.command_ended(record, exit_code, seconds)
    if lost is not None:
        is_last = child.output_error is not None
        return Outcome(LOST, lost.message, record, exit_code, is_last=is_last)
    detail: dict[str, Any] = {"exit_code": exit_code, "seconds": seconds}
    if child.messages_error is not None:
        # Its work is not its messages: they are kept here, as far as they are kept at all.
        detail["stderr_error"] = child.messages_error
    return _end(ledger, record, child, code, detail)


def _end(
    ledger: RecordLedger, record: Record, child: Child, code: int, detail: dict[str, Any]
) -> Outcome:
    """Completes or fails the record, by how the command ended and whether its output was kept."""
    how = _how_it_ended(child, code)
    # What follows could not be written either.
    is_last = child.output_error is not None
    try:
        if code == 0 and child.output_error is None:
            try:
                ledger.complete_record(*claim_of(record), detail)
            except CountsDisagree as error:
                # Nobody will count any more: the record is given back now, not at its lease's end.
                how = error.message
                ledger.fail_record(*claim_of(record), how)
                return Outcome(FAILED, how, record, code)
            return Outcome(COMPLETED, None, record, code)
        tail = child.tail
        ledger.fail_record(*claim_of(record), f"{how}: {tail}" if tail else how)
        return Outcome(FAILED, how, record, detail["exit_code"], is_last=is_last)
    except ClaimLost as error:
        reason = f"{how}, but {error.message}"
        return Outcome(LOST, reason, record, detail["exit_code"], is_last=is_last)
    except LedgerError as error:
        reason = f"{how}, which the ledger was not told: {error.message}"
        return Outcome(LOST, reason, record, detail["exit_code"], is_last=True)


def _how_it_ended(child: Child, code: int) -> str:
    if child.stopped_by is not None and code != 0:
        how = f"stopped by {signal_name(child.stopped_by)}"
    else:
        how = f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
    if child.output_error is None:
        return how
    return f"{how}, and its standard output could not be written: {child.output_error}"


def _release(ledger: RecordLedger, record: Record, reason: str) -> Outcome:
    """Gives the record back, on a connection that no signal has interrupted."""
    reason = redact(reason)
    try:
        with ledger.another() as other:
            other.release_record(*claim_of(record))
    except LedgerError as error:
        reason = f"{reason}; releasing it failed as well: {error.message}"
        return Outcome(LOST, reason, record, is_last=True)
    # Pending at once, it would be passed again and again.
    return Outcome(RELEASED, reason, record, is_last=True)
