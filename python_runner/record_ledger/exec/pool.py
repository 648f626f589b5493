"""Several turns of an exec, one after another and side by side."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from record_ledger.client import RecordLedger
from record_ledger.clocks import elapsed
from record_ledger.drain import STORE_EVERY

from .signals import Wakeups, signal_name
from .turn import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LOST,
    RELEASED,
    Outcome,
    complete_and_pass,
    complete_record,
    pass_record,
    run_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from record_ledger.values import Record

    from .turn import Work

# What the first signal does, the second, and the one after which nothing is waited for.
_WHAT_SIGNALS_DO = (
    "stopping; a second signal kills what runs",
    "killed what ran; a third signal leaves its record to the lease",
    "left the record to its lease",
)
# One stop often arrives twice: a group is signalled, and `uv run` in it passes on its own.
# In seconds.
_ECHO = 0.5
_WHAT_BECAME_OF_IT = {
    FAILED: "the command failed",
    CANCELLED: "the command was stopped",
    LOST: "neither completed nor failed",
    RELEASED: "released, not tried",
}


class Turns:
    """Hands out records one at a time, shared by threads, until no turn is left.

    The k-th record is passed to the run `run_id/k`, whichever thread takes it. A number is used up
    by a record, and by a run that had its record before: those up to `known`, and those whose
    record is done. Ends when nothing is valid and no command is running any more whose end could
    make a record valid. Without `drain` there are `jobs` turns, whatever comes of them.

    In a drain the end of a record may pass the next one in the same commit. That stores no windows:
    what has fallen due is stored by `take`, at the end of a backlog and once a minute before it.
    """

    def __init__(self, run_id: str | None, *, jobs: int, drain: bool, known: int = 0) -> None:
        self._run_id = run_id
        self._last = None if drain else jobs
        self._is_one = not drain and jobs == 1
        self._known = known
        self._next = 1
        self._busy = 0
        self._ended = 0
        self._closed = False
        self._stored_at = -STORE_EVERY
        self._passing = threading.Lock()
        self._changed = threading.Condition()

    def take(self, ask: Callable[[str | None], Record | Outcome]) -> Record | None:
        """Returns the next record that `ask(run_id)` gives, or None when no turn is left."""
        with self._passing:
            while not self._closed and (self._last is None or self._next <= self._last):
                ended_before = self._ended
                self._stored_at = elapsed()
                answer = ask(self._run_of(self._next))
                if not isinstance(answer, Outcome):
                    self._next += 1
                    with self._changed:
                        self._busy += 1
                    return answer
                if self._last is not None or self._had_its_record(answer):
                    self._next += 1
                else:
                    self._wait_for_an_end(ended_before)
        return None

    def end(
        self,
        complete: Callable[[], None],
        complete_and_pass: Callable[[str | None], Record | None],
    ) -> Record | None:
        """Ends a record that was taken, and returns the next one where its end could pass it.

        Else, as when another thread is passing a record right now, `take` gives the next one.
        """
        if self._last is None and self._passing.acquire(blocking=False):
            try:
                if self._may_pass():
                    record = complete_and_pass(self._run_of(self._next))
                    if record is not None:
                        self._next += 1
                        with self._changed:
                            self._busy += 1
                    return record
            finally:
                self._passing.release()
        complete()
        return None

    def _may_pass(self) -> bool:
        is_new_run = self._run_id is None or self._next > self._known
        is_stored = elapsed() - self._stored_at < STORE_EVERY
        return is_new_run and is_stored and not self._closed

    def ended(self, outcome: Outcome) -> None:
        """Notes that the command of a record that was taken has ended."""
        with self._changed:
            self._busy -= 1
            self._ended += 1
            self._closed |= outcome.is_last
            self._changed.notify_all()

    def close(self) -> None:
        """Hands out no more records."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_for_an_end(self, ended_before: int) -> None:
        """Returns when a command has ended, and closes the turns when none will."""
        with self._changed:
            while self._busy and self._ended == ended_before and not self._closed:
                self._changed.wait()
            if self._ended == ended_before:
                self._closed = True

    def _run_of(self, number: int) -> str | None:
        if self._run_id is None or self._is_one:
            return self._run_id
        return f"{self._run_id}/{number}"

    def _had_its_record(self, answer: Outcome) -> bool:
        if self._run_id is None:
            return False
        return self._next <= self._known or answer.verdict == "ALREADY_DONE"


class Jobs:
    """Takes the turns in threads, while the main thread waits for signals.

    `counts` has how many turns ended in which way, `outcome` the last turn that had a record,
    `nothing` the last that had none, `error` what kept a record from being passed. `told` makes a
    sentence the line that standard error gets.
    """

    def __init__(
        self, work: Work, turns: Turns, conninfo: str | None, told: Callable[[str], str]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.outcome: Outcome | None = None
        self.nothing: Outcome | None = None
        self.error: BaseException | None = None
        self._work = work
        self._turns = turns
        self._conninfo = conninfo
        self._told = told
        self._lock = threading.Lock()
        self._running = 0
        self._wakeups = Wakeups()

    def run(self, jobs: int) -> bool:
        """Returns True when all turns have ended, False when a third signal left some of them."""
        signals = 0
        heard, heard_at = None, 0.0
        self._running = jobs
        with self._wakeups:
            for _ in range(jobs):
                threading.Thread(
                    target=self._take_turns, name="record-ledger-job", daemon=True
                ).start()
            while self._running and signals < len(_WHAT_SIGNALS_DO):
                number = self._wakeups.wait()
                if number is None or (number == heard and time.monotonic() - heard_at < _ECHO):
                    continue
                heard, heard_at = number, time.monotonic()
                self._turns.close()
                self._work.stop.request(number)
                self._say(f"{signal_name(number)}: {_WHAT_SIGNALS_DO[signals]}")
                signals += 1
        return self._running == 0

    def _take_turns(self) -> None:
        try:
            with RecordLedger(self._conninfo) as ledger:
                self._work.stop.knows(ledger)
                record = self._turns.take(partial(self._ask, ledger))
                while record is not None:
                    outcome = run_command(self._work, ledger, record, self._complete)
                    self._note(outcome, record)
                    self._turns.ended(outcome)
                    record = outcome.following or self._turns.take(partial(self._ask, ledger))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.error = self.error or error
            self._turns.close()
        finally:
            with self._lock:
                self._running -= 1
            self._wakeups.wake()

    def _ask(self, ledger: RecordLedger, run_id: str | None) -> Record | Outcome:
        answer = pass_record(self._work, ledger, run_id)
        if isinstance(answer, Outcome):
            self.nothing = answer
        return answer

    def _complete(
        self, ledger: RecordLedger, record: Record, detail: dict[str, Any]
    ) -> Record | None:
        return self._turns.end(
            partial(complete_record, ledger, record, detail),
            partial(complete_and_pass, self._work, ledger, record, detail),
        )

    def _note(self, outcome: Outcome, record: Record) -> None:
        with self._lock:
            self.counts[outcome.outcome] += 1
            self.outcome = outcome
        if outcome.outcome != COMPLETED:
            self._say(_sentence(outcome, record))

    def _say(self, text: str) -> None:
        with suppress(OSError):  # nobody reads it; the exit code says it too
            self._work.stderr.write_line(self._told(text))


def _sentence(outcome: Outcome, record: Record) -> str:
    window = f"{record['pipeline_id']}, window {record['window_start_time'].isoformat()}"
    what = _WHAT_BECAME_OF_IT[outcome.outcome]
    if outcome.outcome == FAILED and outcome.exit_code == 0:
        what = "failed"  # by its counts, or its output: the command did what it could
    return f"{window}: {what}: {outcome.reason}"
