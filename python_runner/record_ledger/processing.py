"""Holds a passed record for the length of a `with` block: heartbeats, then completes or fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from . import logs
from .errors import ClaimLost, LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .ledger import PassResult, RecordLedger
    from .records import Record


class Processing:
    """Hands one record to a `with` block and ends its claim by how the block ended.

    While the block runs, a thread extends the lease at every third of it, on a connection of its
    own. A block that returns completes the record; one that raises fails it with the exception's
    text, and the exception goes on. The block gets None when there is nothing to do: `result` says
    why.

    When a heartbeat finds that the claim was lost (the lease expired while the process slept, say),
    `claim_lost` is set, so that a long block can stop, and the record is neither completed nor
    failed: a block that returns raises ClaimLost at its end.
    """

    result: PassResult

    def __init__(
        self, ledger: RecordLedger, final_config: Mapping[str, Any], run_id: str | None = None
    ) -> None:
        self.claim_lost = threading.Event()
        self._ledger = ledger
        self._config = final_config
        self._run_id = run_id
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: ClaimLost | None = None

    def __enter__(self) -> Record | None:
        self.result = self._ledger.store_new_and_pass_valid_record(self._config, self._run_id)
        record = self.result.record
        if record is not None:
            lease = self._ledger.pipelines(record["pipeline_id"])[0]["lease"]
            self._thread = threading.Thread(
                target=self._beat,
                args=(record["pipeline_id"], record["claim_token"], lease.total_seconds() / 3.0),
                name=f"record-ledger-heartbeat-{record['claim_token']}",
                daemon=True,
            )
            self._thread.start()
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        record = self.result.record
        if record is None or self._thread is None:
            return
        self._done.set()
        self._thread.join()
        if self._lost is not None:
            if error is None:
                raise self._lost
            return
        pipeline_id, claim_token = record["pipeline_id"], record["claim_token"]
        if error is None:
            self._ledger.complete_record(pipeline_id, claim_token)
            return
        try:
            self._ledger.fail_record(pipeline_id, claim_token, error_text(error))
        except LedgerError as refused:
            # The block's own exception matters more; the lease ends the claim in any case.
            logs.logger.warning(
                logs.line(
                    call="fail_record",
                    pipeline_id=pipeline_id,
                    claim_token=claim_token,
                    error=type(refused).__name__,
                    reason=refused.message,
                )
            )

    def _beat(self, pipeline_id: str, claim_token: int, every_seconds: float) -> None:
        with self._ledger.another() as ledger:
            while not self._done.wait(every_seconds):
                try:
                    ledger.extend_lease(pipeline_id, claim_token)
                except ClaimLost as error:  # noqa: PERF203 - one beat at a time
                    self._lost = error
                    self.claim_lost.set()
                    return
                except LedgerError as error:
                    # The database may be back before the lease ends: two more beats will tell.
                    logs.logger.warning(
                        logs.line(
                            call="extend_lease",
                            pipeline_id=pipeline_id,
                            claim_token=claim_token,
                            error=type(error).__name__,
                            reason=error.message,
                        )
                    )


def error_text(error: BaseException) -> str:
    """Returns what is noted of an exception: its class and its text."""
    text = str(error)
    name = type(error).__name__
    return f"{name}: {text}" if text else name
