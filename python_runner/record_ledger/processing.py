"""Holds a passed record for the length of a `with` block: heartbeats, then completes or fails."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from .config import text_of
from .errors import CountsDisagree, InvalidArgument, LedgerError
from .heartbeat import Heartbeat, warn
from .records import claim_of, start_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .ledger import RecordLedger
    from .records import Record
    from .results import PassResult


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
    """

    result: PassResult

    def __init__(
        self, ledger: RecordLedger, final_config: Mapping[str, Any], run_id: str | None = None
    ) -> None:
        self.claim_lost = threading.Event()
        self.detail: dict[str, Any] = {}
        self._ledger = ledger
        self._config = final_config
        self._run_id = run_id
        self._heartbeat: Heartbeat | None = None
        self._process = os.getpid()

    def __enter__(self) -> Record | None:
        self._process = os.getpid()
        self.result = self._ledger.store_new_and_pass_valid_record(self._config, self._run_id)
        record = self.result.record
        if record is not None:
            try:
                self._heartbeat = Heartbeat(self._ledger, record, self.claim_lost)
                self._heartbeat.start()
            except BaseException as error:
                if self._heartbeat is not None:
                    self._heartbeat.stop()
                if not isinstance(error, Exception):
                    self._ledger.hurry()
                self._release(record)
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
        if error is not None:
            if not isinstance(error, Exception):  # a person, or what stops the process, waits
                self._ledger.hurry()
            self._fail(record, error)
            return
        try:
            self._ledger.complete_record(*claim_of(record), self.detail, start_of(record))
        except CountsDisagree as refused:
            self._fail(record, refused)
            raise

    def observe(self, stage: str, row_count: int, detail: Mapping[str, Any] | None = None) -> int:
        """Notes a count of the record that the block works on: evidence for completing it.

        See `RecordLedger.observe_record`.

        :raises ClaimLost: when the record was passed to another run meanwhile.
        """
        record = self.result.record
        if record is None:
            raise InvalidArgument("there is no record to count: none was passed", sqlstate="RL005")
        pipeline_id, claim_token = claim_of(record)
        start = record["window_start_time"]
        return self._ledger.observe_record(
            pipeline_id, start, stage, row_count, detail, claim_token
        )

    def _fail(self, record: Record, error: BaseException) -> None:
        try:
            self._ledger.fail_record(
                *claim_of(record), error_text(error), window_start_time=start_of(record)
            )
        except LedgerError as refused:
            # The block's own exception matters more; the lease ends the claim in any case.
            warn("fail_record", claim_of(record), refused)

    def _release(self, record: Record) -> None:
        try:
            self._ledger.release_record(*claim_of(record), window_start_time=start_of(record))
        except LedgerError as refused:
            warn("release_record", claim_of(record), refused)


def error_text(error: BaseException) -> str:
    """Returns what is noted of an exception: its class and its text."""
    text = text_of(error)
    name = type(error).__name__
    if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit: nobody's mistake
        name = f"stopped by {name}"
    return f"{name}: {text}" if text else name
