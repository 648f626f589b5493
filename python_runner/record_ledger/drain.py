"""Works through the records of a pipeline one after another, with one commit for each."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from .clocks import elapsed
from .config import config_to_send, pipeline_id_of, shown
from .errors import CountsDisagree, InvalidArgument, LedgerError
from .heartbeat import Heartbeat, warn
from .leases import length_of
from .processing import Processing
from .values import claim_of, start_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from .heartbeat import Ledger
    from .results import PassResult
    from .values import Record

Answer = TypeVar("Answer")

# Windows that fall due while a backlog is drained are stored this soon, in seconds: a backfill that
# takes turns with them would otherwise have all turns.
STORE_EVERY = 60.0

_COUNTS = "required_counts"


class _Stage(Enum):
    PASSED = "its block has not begun"
    WORKING = "its block is running"
    DONE = "its block has ended well, and its claim is kept until the record is completed"
    ENDED = "its claim has been ended, or was lost"


class Drained(Processing):
    """A record of a drain: `Processing` whose record the next step of the drain completes."""

    def __init__(
        self,
        ledger: Ledger,
        final_config: Mapping[str, Any],
        result: PassResult,
        *,
        completes_at_once: bool,
    ) -> None:
        super().__init__(ledger, final_config)
        self.result = result
        self.stage = _Stage.PASSED
        self.completes_at_once = completes_at_once

    def __enter__(self) -> Record | None:
        is_ours = self._process == os.getpid()
        if self.stage is not _Stage.PASSED or not is_ours:
            why = self.stage.value if is_ours else "it was handed to the process that forked this"
            raise InvalidArgument(
                f"this record cannot be worked on: {why}",
                sqlstate="RL005",
                hint="Enter each record that a drain gives once, and keep the drain meanwhile.",
            )
        self.stage = _Stage.WORKING
        try:
            return super().__enter__()
        except BaseException:
            self.stage = _Stage.ENDED
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process != os.getpid():
            return  # a forked child leaves the block: its parent goes on with the drain
        if error is None and not self.completes_at_once and self._is_work_done():
            self.stage = _Stage.DONE
            return
        self.stage = _Stage.ENDED
        super().__exit__(kind, error, trace)

    def complete(self, ledger: Ledger) -> None:
        """Completes the record of a block that has ended well.

        :raises ClaimLost: when the claim was lost since.
        :raises CountsDisagree: when its counts do not agree; the record has failed.
        """
        self._finish(
            lambda record: ledger.complete_record(*claim_of(record), self.detail, start_of(record))
        )

    def complete_and_pass(self, run_id: str | None) -> PassResult:
        """Completes the record of a block that has ended well, and passes the next one.

        :raises InvalidArgument: when the pass was refused; the record is completed.
        """
        ledger = self._ledger

        def end(record: Record) -> PassResult | InvalidArgument:
            claim, start = claim_of(record), start_of(record)
            try:
                return ledger.complete_and_pass(*claim, run_id, self.detail, start)
            except InvalidArgument as refused:
                # A run id that is too long, say: the work is done all the same.
                ledger.complete_record(*claim, self.detail, start)
                return refused

        answer = self._finish(end)
        if isinstance(answer, InvalidArgument):
            raise answer
        return answer

    def give_back(self, ledger: Ledger) -> None:
        """Releases a record whose block was not entered."""
        self.stage = _Stage.ENDED
        self._release(self._demand_record("to give back"), ledger)

    def _pass(self) -> PassResult:
        return self.result

    def _new_heartbeat(self, record: Record) -> Heartbeat:
        # The pass has told it: asking would take a statement for each record.
        lease = length_of(record) or None
        return Heartbeat(self._ledger, record, self.claim_lost, self.cancelled, lease=lease)

    def _is_work_done(self) -> bool:
        heartbeat = self._heartbeat
        is_cancelled = heartbeat is not None and heartbeat.cancellation is not None
        is_stopped = is_cancelled and self.cancelled.is_seen
        return not (self._is_released or self.claim_lost.is_set() or is_stopped)

    def _finish(self, end: Callable[[Record], Answer]) -> Answer:
        record = self._demand_record("to complete")
        lost = self._heartbeat.stop() if self._heartbeat is not None else None
        if lost is not None:
            self.stage = _Stage.ENDED
            raise lost
        try:
            answer = end(record)
        except LedgerError as refused:
            self.stage = _Stage.ENDED
            if isinstance(refused, (CountsDisagree, InvalidArgument)):
                self._fail(record, refused)
            raise
        # An interruption leaves it as it was: closing the drain completes the record.
        self.stage = _Stage.ENDED
        return answer


@dataclass
class _Held:
    """What a drain holds, apart from it: so that it is ended when the drain is forgotten."""

    ledger: Ledger
    process: int
    work: Drained | None = None


class Drain:
    """Hands out the records of a pipeline one after another, each to a `with` block of its own.

        for work in ledger.drain(config):
            with work as record:
                ...

    Each `work` is a `Processing`: heartbeats, a block that raises fails its record, `check`,
    `observe`, `release`, `detail`. One thing differs: a record whose block ended well is completed
    by the next step of the loop, which passes the next one in the same commit. Until then its claim
    is kept. It is completed without a next one when the loop is left: by `break`, by an exception
    outside of the block, by `close()`, which the end of a `with ledger.drain(config) as drain:`
    calls, when the ledger is closed, or when nothing refers to the drain any more. It is completed
    at the end of its block when that is the last one of `limit`, and where the config has
    required_counts, so that CountsDisagree is raised there.

    A step raises ClaimLost when the claim was lost between the block and the step, and whatever
    else a completion raises; the loop may then be begun again, and goes on with the next record. A
    record that was handed out, and whose block was not entered, is given back.

    The drain ends when nothing is valid: `result` then says why. Before that, and once a minute, a
    call with the config stores the windows that have fallen due. With a `run_id` the k-th record is
    passed to the run `run_id/k`: a drain that is repeated gets the records that the first one left
    undone, then others. It is for one thread at a time; a forked child gets no records from it.
    """

    def __init__(
        self,
        ledger: Ledger,
        final_config: Mapping[str, Any],
        run_id: str | None = None,
        *,
        limit: int | None = None,
    ) -> None:
        if limit is not None and not _is_count(limit):
            raise InvalidArgument(
                f"limit: {shown(limit)} is not a number of records",
                sqlstate="RL005",
                hint="Give a whole number of 1 or greater, or None for all records.",
            )
        self.result: PassResult | None = None
        self._ledger = ledger
        self._config = final_config
        self._run_id = run_id
        self._limit = limit
        self._known: int | None = None
        self._next = 1
        self._given = 0
        self._stored_at = -STORE_EVERY
        self._is_closed = False
        self._held = _Held(ledger, os.getpid())
        weakref.finalize(self, _leave, self._held)

    def __iter__(self) -> Iterator[Processing]:
        return self

    def __next__(self) -> Processing:
        if self._is_closed or self._held.process != os.getpid() or self._given == self._limit:
            raise StopIteration
        result = self._step()
        if result.record is None:
            self._is_closed = True
            raise StopIteration
        self._given += 1
        self._next += 1
        self._held.work = Drained(
            self._ledger,
            self._config,
            result,
            completes_at_once=self._given == self._limit or bool(self._config.get(_COUNTS)),
        )
        return self._held.work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        if not isinstance(error, Exception):  # a person, or what stops the process, waits
            self._ledger.hurry()
        self._is_closed = True
        _leave(self._held)

    def close(self) -> None:
        """Hands out no more records; completes the one whose block has ended well.

        A record whose block is running is completed at its end.

        :raises ClaimLost: when the claim on it was lost.
        """
        self._is_closed = True
        if self._held.process == os.getpid():
            _end(self._held, self._ledger)

    def _step(self) -> PassResult:
        """Ends what the step before handed out, and passes a record if there is one."""
        work = self._held.work
        if work is not None:
            if work.stage in (_Stage.PASSED, _Stage.WORKING):
                raise InvalidArgument(
                    f"the record before is not done: {work.stage.value}",
                    sqlstate="RL005",
                    hint="Work on each record in a `with` block, and leave it before the next.",
                )
            if work.stage is _Stage.DONE and self._may_skip_storing():
                self.result = work.complete_and_pass(self._run())
                if self.result.record is not None:
                    return self.result
            elif work.stage is _Stage.DONE:
                work.complete(self._ledger)
        return self._store_and_pass()

    def _store_and_pass(self) -> PassResult:
        if self._known is None:
            self._known = self._known_runs()
        while True:
            self._stored_at = elapsed()
            self.result = self._ledger.store_new_and_pass_valid_record(self._config, self._run())
            is_of_a_run_before = self._run_id is not None and (
                self._next <= self._known or self.result.verdict == "ALREADY_DONE"
            )
            if self.result.record is not None or not is_of_a_run_before:
                return self.result
            self._next += 1

    def _may_skip_storing(self) -> bool:
        is_new_run = self._known is not None and self._next > self._known
        return is_new_run and elapsed() - self._stored_at < STORE_EVERY

    def _run(self) -> str | None:
        return None if self._run_id is None else f"{self._run_id}/{self._next}"

    def _known_runs(self) -> int:
        """Returns up to which k the runs `run_id/k` had a record in an earlier drain."""
        pipeline_id = pipeline_id_of(config_to_send(self._config))
        if self._run_id is None or not isinstance(pipeline_id, str):
            return 0
        return self._ledger._last_run_number(pipeline_id, self._run_id)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _end(held: _Held, ledger: Ledger) -> None:
    """Ends the claim that a drain holds, as far as it has to be ended."""
    work = held.work
    if work is None:
        return
    work.completes_at_once = True
    if work.stage is _Stage.PASSED:
        work.give_back(ledger)
    elif work.stage is _Stage.DONE:
        work.complete(ledger)


def _leave(held: _Held) -> None:
    """Ends the claim that a forgotten drain holds; a ledger that refuses is logged.

    On a connection of its own: the drain may be forgotten anywhere, in the middle of a call of the
    same ledger too.
    """
    work = held.work
    if work is None or held.process != os.getpid():
        return
    try:
        with held.ledger.another() as ledger:
            _end(held, ledger)
    except LedgerError as refused:
        warn("drain", claim_of(work.result.record or {}), refused)
