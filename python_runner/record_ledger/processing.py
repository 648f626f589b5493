"""Holds a passed record for the length of a `with` block: heartbeats, then completes or fails."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from .config import text_of
from .errors import ClaimCancelled, CountsDisagree, InvalidArgument, LedgerError
from .heartbeat import Heartbeat, warn
from .values import claim_of, start_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .heartbeat import Ledger
    from .results import PassResult
    from .values import Record, Time


class Cancelled(threading.Event):
    """An event that knows whether the work has seen it set: then the work stops, half done."""

    def __init__(self) -> None:
        super().__init__()
        self.is_seen = False

    def is_set(self) -> bool:
        """Tells whether it is set."""
        found = super().is_set()
        self.is_seen |= found
        return found

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; tells whether it is."""
        found = super().wait(timeout)
        self.is_seen |= found
        return found


class Processing:
    """Hands one record to a `with` block and ends its claim by how the block ended.

    While the block runs, the lease is extended at every third of it and every 30 s, on a connection
    of its own. A block that returns completes the record, with what it put into `detail`: whatever
    that is, it keeps no record from being completed. One that raises fails it with the exception's
    text, and the exception goes on; KeyboardInterrupt and SystemExit too, whatever the exit code:
    the block did not come to its end. An interruption between the pass and the block releases the
    record. A child that is forked in the block ends nothing. The block gets None when there is
    nothing to do: `result` says why. When the counts that the config requires do not agree at its
    end, the record is failed, and CountsDisagree raised; `observe` notes counts.

    When the claim was lost, `claim_lost` is set, so that a long block can stop, and the record is
    neither completed nor failed: a block that returns raises ClaimLost at its end. It is lost when
    a heartbeat finds so, and when none reached the ledger for the length of the lease.

    When an operator cancels the claim (`cancel_records`), a heartbeat learns of it within 30 s and
    `cancelled` is set. Python code cannot be interrupted safely, so the block has to look: `check`
    raises ClaimCancelled then, and ClaimLost when the claim was lost. A block that raises, or that
    returns after it has seen `cancelled` set, fails the record for good, "cancelled by ...", and
    ClaimCancelled is raised at its end unless the block has raised something else. One that returns
    without having looked has done its work: the record is completed. Until the block has ended the
    claim is kept, so that no second run begins beside it.
    """

    result: PassResult

    def __init__(
        self, ledger: Ledger, final_config: Mapping[str, Any], run_id: str | None = None
    ) -> None:
        self.claim_lost = threading.Event()
        self.cancelled = Cancelled()
        self.detail: dict[str, Any] = {}
        self._ledger = ledger
        self._config = final_config
        self._run_id = run_id
        self._heartbeat: Heartbeat | None = None
        self._is_released = False
        self._not_before: Time | None = None
        self._process = os.getpid()

    def __enter__(self) -> Record | None:
        self._process = os.getpid()
        self.result = self._pass()
        record = self.result.record
        if record is not None:
            try:
                self._heartbeat = self._new_heartbeat(record)
                self._heartbeat.start()
            except BaseException as error:
                if self._heartbeat is not None:
                    self._heartbeat.stop()
                if not isinstance(error, Exception):
                    self._ledger.hurry()
                self._release(record, self._ledger)
                raise
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        record = self.result.record
        if record is None or self._heartbeat is None:
            return
        if self._process != os.getpid():
            return  # a forked child leaves the block: its parent, which works on, ends the claim
        lost = self._heartbeat.stop()
        if lost is not None:
            if error is None:
                raise lost
            return
        cancellation = self._heartbeat.cancellation
        if error is not None:
            if not isinstance(error, Exception):  # a person, or what stops the process, waits
                self._ledger.hurry()
            self._fail(record, error, cancellation)
            return
        if cancellation is not None and self.cancelled.is_seen and not self._is_released:
            self._fail(record, cancellation, cancellation)
            raise cancellation
        try:
            if self._is_released:
                self._ledger.release_record(*claim_of(record), self._not_before, start_of(record))
            else:
                self._ledger.complete_record(*claim_of(record), self.detail, start_of(record))
        except (CountsDisagree, InvalidArgument) as refused:
            self._fail(record, refused)
            raise

    def check(self) -> None:
        """Does nothing while the work may go on; for a block to call between its steps.

        :raises ClaimCancelled: once a heartbeat has learnt that an operator has cancelled it.
        :raises ClaimLost: once the claim is lost.
        """
        if self._heartbeat is not None:
            self._heartbeat.check()

    def release(self, not_before: Time | None = None) -> None:
        """Has the record given back at the end of the block, instead of completed.

        For a block that finds its source not ready: call this and leave the block. The attempt does
        not count. With `not_before` no run is passed the record before then: see
        `RecordLedger.release_record`. A block that raises afterwards has failed all the same.

        :raises InvalidArgument: when there is no record.
        """
        self._demand_record("to give back")
        self._is_released, self._not_before = True, not_before

    def observe(self, stage: str, row_count: int, detail: Mapping[str, Any] | None = None) -> int:
        """Notes a count of the record that the block works on: evidence for completing it.

        See `RecordLedger.observe_record`.

        :raises ClaimLost: when the record was passed to another run meanwhile.
        """
        record = self._demand_record("to count")
        pipeline_id, claim_token = claim_of(record)
        start = record["window_start_time"]
        return self._ledger.observe_record(
            pipeline_id, start, stage, row_count, detail, claim_token
        )

    def _pass(self) -> PassResult:
        return self._ledger.store_new_and_pass_valid_record(self._config, self._run_id)

    def _new_heartbeat(self, record: Record) -> Heartbeat:
        return Heartbeat(self._ledger, record, self.claim_lost, self.cancelled)

    def _demand_record(self, what_for: str) -> Record:
        record = self.result.record
        if record is None:
            raise InvalidArgument(
                f"there is no record {what_for}: none was passed", sqlstate="RL005"
            )
        return record

    def _fail(
        self, record: Record, error: BaseException, cancellation: ClaimCancelled | None = None
    ) -> None:
        text = error_text(error)
        if cancellation is not None:
            is_it = isinstance(error, ClaimCancelled)
            text = cancellation.message if is_it else f"{cancellation.message} ({text})"
        try:
            self._ledger.fail_record(
                *claim_of(record), text, cancellation is None, start_of(record)
            )
        except LedgerError as refused:
            # The block's own exception matters more; the lease ends the claim in any case.
            warn("fail_record", claim_of(record), refused)

    def _release(self, record: Record, ledger: Ledger) -> None:
        try:
            ledger.release_record(*claim_of(record), window_start_time=start_of(record))
        except LedgerError as refused:
            warn("release_record", claim_of(record), refused)


def error_text(error: BaseException) -> str:
    """Returns what is noted of an exception: its class and its text."""
    text = text_of(error)
    name = type(error).__name__
    if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit: nobody's mistake
        name = f"stopped by {name}"
    return f"{name}: {text}" if text else name
