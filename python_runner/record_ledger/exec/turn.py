"""One turn of an exec: pass a record; run the command on it and end the claim."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from record_ledger import logs
from record_ledger.errors import ClaimLost, CountsDisagree, InvalidArgument, LedgerError
from record_ledger.heartbeat import Heartbeat
from record_ledger.redaction import redact
from record_ledger.values import claim_of, start_of

from .environment import check_arguments, child_environment
from .process import Child, exit_code_of
from .signals import Stop, signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from record_ledger.client import RecordLedger
    from record_ledger.errors import ClaimCancelled
    from record_ledger.values import Record

    from .environment import RecordFiles
    from .output import Output
    from .reaper import Guard

COMPLETED, FAILED, CANCELLED, LOST, RELEASED, NOTHING = (
    "completed",
    "failed",
    "cancelled",
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
    files: RecordFiles
    dsn: str | None  # what the commands find as RECORD_LEDGER_DSN; None: what is there
    hides_ledger: bool  # they find no address of the ledger at all


@dataclass(frozen=True)
class Outcome:
    """How a turn ended.

    `reason` says why unless the command was completed. `exit_code` is the command's, 128 and the
    number of the signal that ended it, or None when it was not started. `is_last` when another turn
    could only end as badly. `following` is the next record, where the end of this one has passed
    it.
    """

    outcome: str
    reason: str | None = None
    record: Record | None = None
    exit_code: int | None = None
    verdict: str | None = None
    is_last: bool = False
    following: Record | None = None


# Passes the next record to a run, or says why there is none.
Ask = Callable[[str | None], "Record | Outcome"]
# Completes a record, and passes the next one where it can: returns that, or None.
Complete = Callable[["RecordLedger", "Record", dict[str, Any]], "Record | None"]


def complete_record(ledger: RecordLedger, record: Record, detail: dict[str, Any]) -> None:
    """Completes a record whose command has done its work."""
    ledger.complete_record(*claim_of(record), detail, start_of(record))


def complete_and_pass(
    work: Work, ledger: RecordLedger, record: Record, detail: dict[str, Any], run_id: str | None
) -> Record | None:
    """Completes a record whose command has done its work, and passes the next one to a run.

    None when no record was passed. What keeps one from being passed, a signal too, does not keep
    this one from being completed.
    """
    if not work.stop.begin_pass(ledger):
        complete_record(ledger, record, detail)
        return None
    try:
        return ledger.complete_and_pass(*claim_of(record), run_id, detail, start_of(record)).record
    except (ClaimLost, CountsDisagree):
        raise
    except LedgerError as error:
        if work.stop.signal is None and not isinstance(error, InvalidArgument):
            raise
    finally:
        work.stop.end_pass(ledger)
    # On a connection that no signal has interrupted.
    with ledger.another() as other:
        complete_record(other, record, detail)
    return None


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


def run_command(
    work: Work, ledger: RecordLedger, record: Record, complete: Complete = complete_record
) -> Outcome:
    """Runs the command on a passed record, and ends its claim in exactly one way.

    completed: the command ended with 0, and what it printed was written. failed: it ended
    otherwise, its standard output could not be written, or the counts that the config requires do
    not agree; it may be tried again. cancelled: an operator wanted it to stop, it was stopped as by
    SIGTERM and ended otherwise than with 0; it has failed for good.
    released: it was never started, and the attempt does not count. lost: the claim was not ours to
    end any more, or the ledger could not be told.
    """
    with ExitStack() as stack:
        try:
            arguments = work.arguments(record)
            check_arguments(arguments)
            heartbeat = Heartbeat(ledger, record)
            file = stack.enter_context(work.files.holding(record))
            child = _start(work, record, arguments, heartbeat, file)
        except LedgerError as error:
            return _release(ledger, record, error.message)
        except OSError as error:
            what = f"its file cannot be written in {work.files.folder}: {error.strerror}"
            return _release(ledger, record, what)
        if child is None:
            what = f"stopped by {work.stop.name} before the command was started"
            return _release(ledger, record, what)
        return _watch(work, ledger, record, heartbeat, child, complete=complete)


def _start(
    work: Work, record: Record, arguments: list[str], heartbeat: Heartbeat, file: Path
) -> Child | None:
    """Starts the command, or returns None when a signal came before.

    :raises LedgerError: when it cannot be started, saying why.
    """
    environment = child_environment(
        record, file=file, dsn=work.dsn, arguments=arguments, hides_ledger=work.hides_ledger
    )
    try:
        return work.stop.start(
            lambda: Child(
                arguments,
                environment,
                stdout=work.stdout,
                stderr=work.stderr,
                whole_lines=work.whole_lines,
                reads_stdin=work.reads_stdin,
                grace=work.grace,
                guard=work.guard,
                held_for=heartbeat.held_for,
            )
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LedgerError(f"{arguments[0]!r} cannot be started: {reason}") from error


def _watch(
    work: Work,
    ledger: RecordLedger,
    record: Record,
    heartbeat: Heartbeat,
    child: Child,
    *,
    complete: Complete,
) -> Outcome:
    """Keeps the claim while the command runs, and ends it with the command."""
    started = time.monotonic()
    try:
        heartbeat.start(
            on_lost=child.stop_for_lost_claim,
            on_extended=child.hold,
            on_cancelled=lambda: child.stop(signal.SIGTERM),
        )
        code = child.wait()
    finally:
        lost = heartbeat.stop()
        child.kill()  # it has ended, unless something went very wrong
        work.stop.ended(child)
    seconds = round(time.monotonic() - started, 3)
    exit_code = exit_code_of(code)
    logs.command_ended(record, exit_code, seconds)
    if lost is not None:
        is_last = child.output_error is not None
        return Outcome(LOST, lost.message, record, exit_code, is_last=is_last)
    detail: dict[str, Any] = {"exit_code": exit_code, "seconds": seconds}
    if child.messages_error is not None:
        # Its work is not its messages: they are kept here, as far as they are kept at all.
        detail["stderr_error"] = child.messages_error
    return _end(ledger, record, child, detail, heartbeat.cancellation, code=code, complete=complete)


def _end(
    ledger: RecordLedger,
    record: Record,
    child: Child,
    detail: dict[str, Any],
    cancellation: ClaimCancelled | None,
    *,
    code: int,
    complete: Complete,
) -> Outcome:
    """Completes or fails the record, by how the command ended and whether its output was kept."""
    how = _how_it_ended(child, code)
    # What follows could not be written either.
    is_last = child.output_error is not None
    try:
        if code == 0 and child.output_error is None:
            try:
                following = complete(ledger, record, detail)
            except CountsDisagree as error:
                # Nobody will count any more: the record is given back now, not at its lease's end.
                how = error.message
                ledger.fail_record(*claim_of(record), how, window_start_time=start_of(record))
                return Outcome(FAILED, how, record, code)
            return Outcome(COMPLETED, None, record, code, following=following)
        outcome = FAILED
        if cancellation is not None:
            outcome, how = CANCELLED, cancellation.message
        tail = child.tail
        ledger.fail_record(
            *claim_of(record),
            f"{how}: {tail}" if tail else how,
            cancellation is None,
            start_of(record),
        )
        return Outcome(outcome, how, record, detail["exit_code"], is_last=is_last)
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
            other.release_record(*claim_of(record), window_start_time=start_of(record))
    except LedgerError as error:
        reason = f"{reason}; releasing it failed as well: {error.message}"
        return Outcome(LOST, reason, record, is_last=True)
    # Pending at once, it would be passed again and again.
    return Outcome(RELEASED, reason, record, is_last=True)
