"""Keeps the claim of a passed record while somebody works on it, and notices when it is lost."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Protocol

from . import logs
from .clocks import elapsed
from .connection import RetryPolicy
from .errors import ClaimCancelled, ClaimLost, LedgerError
from .values import claim_of, start_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from .leases import Leases
    from .results import ClaimState, PassResult
    from .values import Record, Time

# A beat is sent at every third of the lease, and at least this often, in seconds.
LONGEST_PAUSE = 30.0
# One that failed is tried again after a thirtieth of the lease, but at least this often.
_LONGEST_PAUSE_AFTER_FAILURE = 5.0
# A beat may take a tenth of the lease, within these bounds: the next one, on a connection of its
# own, finds the server that has the other one's place. A busy machine needs a moment in any case.
_LEAST_BEAT, _LONGEST_BEAT = 0.5, 30.0
_LONGEST_BREATH = 0.1
# A beat under way is cancelled when it takes longer, and left to itself in a dead connection.
_LONGEST_GOODBYE = 0.5
# How long the lease's end is slept towards: a machine that was suspended wakes up behind it.
_LONGEST_SLEEP = 1.0


class Ledger(Protocol):
    """What the work on a record asks of a `RecordLedger`, which knows the work by name."""

    @property
    def leases(self) -> Leases:
        """The leases of the claims that this process has to do with."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def another(self, *, retry: RetryPolicy | None = None) -> Ledger:
        """See `RecordLedger.another`."""

    def interrupt(self) -> None:
        """See `RecordLedger.interrupt`."""

    def hurry(self, within: float | None = None) -> None:
        """See `RecordLedger.hurry`."""

    def pipelines(self, pipeline_id: str | None = None) -> list[Record]:
        """See `RecordLedger.pipelines`."""

    def _last_run_number(self, pipeline_id: str, run_id: str) -> int: ...

    def store_new_and_pass_valid_record(
        self, final_config: Mapping[str, Any], run_id: str | None = None
    ) -> PassResult:
        """See `RecordLedger.store_new_and_pass_valid_record`."""

    def beat(
        self, pipeline_id: str, claim_token: int, window_start_time: Time | None = None
    ) -> tuple[dt.datetime, ClaimState]:
        """See `RecordLedger.beat`."""

    def observe_record(  # noqa: PLR0917 - as that of RecordLedger
        self,
        pipeline_id: str,
        window_start_time: Time,
        stage: str,
        row_count: int,
        detail: Mapping[str, Any] | None = None,
        claim_token: int | None = None,
    ) -> int:
        """See `RecordLedger.observe_record`."""

    def complete_record(
        self,
        pipeline_id: str,
        claim_token: int,
        detail: Mapping[str, Any] | None = None,
        window_start_time: Time | None = None,
    ) -> None:
        """See `RecordLedger.complete_record`."""

    def complete_and_pass(
        self,
        pipeline_id: str,
        claim_token: int,
        run_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
        window_start_time: Time | None = None,
    ) -> PassResult:
        """See `RecordLedger.complete_and_pass`."""

    def fail_record(
        self,
        pipeline_id: str,
        claim_token: int,
        error: str,
        retry: bool = True,
        window_start_time: Time | None = None,
    ) -> None:
        """See `RecordLedger.fail_record`."""

    def release_record(
        self,
        pipeline_id: str,
        claim_token: int,
        not_before: Time | None = None,
        window_start_time: Time | None = None,
    ) -> None:
        """See `RecordLedger.release_record`."""


class Heartbeat:
    """Extends the lease at every third of it, and every 30 s, until `stop`.

    It has a connection of its own. A beat that takes longer than a tenth of the lease is given up
    for one on a new connection. `lost` is set, and `on_lost` called, when the ledger answers that
    the claim was lost, or when no beat came through for the length of the lease by this machine's
    clock, which counts on while the machine is suspended: the record may then have been passed to
    another run. Nothing is sent after that.

    `cancelled` is set, and `on_cancelled` called, when an operator has cancelled the claim, which a
    beat tells; `cancellation` then says who and why. The claim is still ours and the beats go on:
    the record is passed to no other run before the work has stopped and `stop` was called.

    The first lease counts from when the pass was sent, as far as `ledger` knows, else from now on.
    `lease` is its length in seconds, which is asked for when it is not given.
    A forked child has no part in it: nothing beats there.

    :raises LedgerError: when the length of the lease cannot be asked for; nothing has begun.
    """

    def __init__(
        self,
        ledger: Ledger,
        record: Record,
        lost: threading.Event | None = None,
        cancelled: threading.Event | None = None,
        *,
        lease: float | None = None,
    ) -> None:
        made = elapsed()
        self.lost = threading.Event() if lost is None else lost
        self.cancelled = threading.Event() if cancelled is None else cancelled
        self.cancellation: ClaimCancelled | None = None
        self._process = os.getpid()
        self._claim = claim_of(record)
        self._start = start_of(record)
        if lease is None:
            lease = ledger.pipelines(self._claim[0])[0]["lease"].total_seconds()
        self._lease: float = lease
        self._leases = ledger.leases
        self._held_until = self._leases.learnt(self._claim, self._lease, made)
        # Two tries: what hangs, or has lost its session, is left for a new connection. The lease
        # counts from when the first one was sent.
        beat = RetryPolicy(
            tries=2,
            first_wait=min(self._lease / 100.0, _LONGEST_BREATH),
            longest_call=min(max(self._lease / 10.0, _LEAST_BEAT), _LONGEST_BEAT),
        )
        self._ledger = ledger.another(retry=beat)
        self._on_lost: Callable[[], object] | None = None
        self._on_cancelled: Callable[[], object] | None = None
        self._on_extended: Callable[[float], object] | None = None
        self._error: ClaimLost | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        # Two threads, because the one that sends may hang in a connection that is dead.
        self._threads = [
            threading.Thread(target=work, name=f"record-ledger-{name}", daemon=True)
            for name, work in (("heartbeat", self._beat), ("lease", self._watch_lease))
        ]

    def start(
        self,
        on_lost: Callable[[], object] | None = None,
        on_extended: Callable[[float], object] | None = None,
        on_cancelled: Callable[[], object] | None = None,
    ) -> None:
        """Begins to beat; all are called from other threads, but for `on_extended` at most once.

        `on_extended` gets the seconds that are left of the lease, after each beat.
        """
        self._on_lost = on_lost
        self._on_cancelled = on_cancelled
        self._on_extended = on_extended
        for thread in self._threads:
            thread.start()

    def held_for(self) -> float:
        """Returns for how many seconds from now the claim is ours by this machine's clock."""
        return self._held_until - elapsed()

    def check(self) -> None:
        """Does nothing while the work may go on.

        :raises ClaimCancelled: once a beat has learnt that an operator has cancelled the claim.
        :raises ClaimLost: once the claim is lost.
        """
        # A claim that is lost is not ours to end: that comes first.
        for error in (self._error, self.cancellation):
            if error is not None:
                raise error

    def stop(self) -> ClaimLost | None:
        """Ends the beating; returns how the claim was lost, or None when it was not."""
        if self._process != os.getpid():
            return None  # the parent's threads are not here, and its lock may be held for ever
        with self._lock:
            self._done.set()
        # What forgets the work, and so stops it, may be any thread: one of these, too.
        others = (None, threading.get_ident())
        started = [thread for thread in self._threads if thread.ident not in others]
        for thread in started:
            thread.join(_LONGEST_GOODBYE)
        if any(thread.is_alive() for thread in started):
            self._ledger.interrupt()
            for thread in started:
                thread.join(_LONGEST_GOODBYE)
        return self._error

    def _beat(self) -> None:
        usual = min(self._lease / 3.0, LONGEST_PAUSE)
        # The lease counts from the pass, and what came between that and the work may have hung.
        pause = max(0.0, usual - (self._lease - self.held_for()))
        with self._ledger as ledger:
            while not self._done.wait(pause):
                try:
                    _, state = ledger.beat(*self._claim, self._start)
                except ClaimLost as error:  # noqa: PERF203 - each beat may fail by itself
                    self._lose(error)
                except LedgerError as error:
                    if not self._done.is_set():
                        warn("extend_lease", self._claim, error)
                    pause = min(self._lease / 30.0, _LONGEST_PAUSE_AFTER_FAILURE)
                else:
                    self._held_until = self._leases.until(self._claim)
                    pause = usual
                    if self._on_extended is not None:
                        self._on_extended(self.held_for())
                    if state.state == "cancelled" and self.cancellation is None:
                        self._cancel(state)

    def _watch_lease(self) -> None:
        while not self._done.is_set():
            left = self._held_until - elapsed()
            if left <= 0.0:
                self._lose(
                    ClaimLost(
                        f"claim lost: no heartbeat reached the ledger for {self._lease:g} s, the "
                        f"length of the lease of claim token {self._claim[1]} of pipeline "
                        f"{self._claim[0]}",
                        hint="Stop working on this record: it may have been passed to another run.",
                    )
                )
            self._done.wait(min(max(left, 0.0), _LONGEST_SLEEP))

    def _cancel(self, state: ClaimState) -> None:
        cancellation = ClaimCancelled.by(state.cancelled_by or "", state.reason or "")
        with self._lock:
            if self._done.is_set():  # the work has ended: there is nothing to stop any more
                return
            self.cancellation = cancellation
        logs.logger.warning(
            logs.line(
                event="claim_cancelled",
                pipeline_id=self._claim[0],
                claim_token=self._claim[1],
                cancelled_by=cancellation.cancelled_by,
                reason=cancellation.reason,
            )
        )
        self.cancelled.set()
        if self._on_cancelled is not None:
            self._on_cancelled()

    def _lose(self, error: ClaimLost) -> None:
        with self._lock:
            # Whoever stopped the beating goes on to end the claim, and the ledger answers for it.
            if self._done.is_set():
                return
            self._error = error
            self._done.set()
        self.lost.set()
        if self._on_lost is not None:
            self._on_lost()


def warn(call: str, claim: tuple[str, int], error: LedgerError) -> None:
    """Logs that a call about a claim failed where that is not the caller's to handle."""
    logs.logger.warning(
        logs.line(
            call=call,
            pipeline_id=claim[0],
            claim_token=claim[1],
            error=type(error).__name__,
            reason=error.message,
        )
    )
