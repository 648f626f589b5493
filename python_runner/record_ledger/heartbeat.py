"""Keeps the claim of a passed record while somebody works on it, and notices when it is lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from . import logs
from .connection import RetryPolicy
from .errors import ClaimLost, LedgerError
from .records import claim_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ledger import RecordLedger
    from .records import Record

# A beat that failed is tried again after a thirtieth of the lease, but at least this often.
_LONGEST_PAUSE_AFTER_FAILURE = 30.0
# A beat under way is cancelled when it takes longer, and left to itself in a dead connection.
_LONGEST_GOODBYE = 0.5
# Some platforms wait no longer than weeks at a time.
_LONGEST_WAIT = 86400.0


class Heartbeat:
    """Extends the lease at every third of it until `stop`, on a connection of its own.

    `lost` is set, and `on_lost` called, when the ledger answers that the claim was lost, or when no
    beat came through for the length of the lease by this machine's monotonic clock: the record may
    then have been passed to another run. Nothing is sent after that.

    Made right after the pass: the first lease counts from then on.

    :raises LedgerError: when the length of the lease cannot be asked for; nothing has begun.
    """

    def __init__(
        self, ledger: RecordLedger, record: Record, lost: threading.Event | None = None
    ) -> None:
        passed = time.monotonic()
        self.lost = threading.Event() if lost is None else lost
        self._claim = claim_of(record)
        self._lease: float = ledger.pipelines(self._claim[0])[0]["lease"].total_seconds()
        self._held_until: float = passed + self._lease
        # One try per beat: by how long a call took to come through, nobody knows when it was made.
        self._ledger = ledger.another(retry=RetryPolicy(tries=1))
        self._on_lost: Callable[[], object] | None = None
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
    ) -> None:
        """Begins to beat; both are called from another thread, `on_lost` at most once.

        `on_extended` gets the seconds that are left of the lease, after each beat.
        """
        self._on_lost = on_lost
        self._on_extended = on_extended
        for thread in self._threads:
            thread.start()

    def held_for(self) -> float:
        """Returns for how many seconds from now the claim is ours by this machine's clock."""
        return self._held_until - time.monotonic()

    def stop(self) -> ClaimLost | None:
        """Ends the beating; returns how the claim was lost, or None when it was not."""
        with self._lock:
            self._done.set()
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(_LONGEST_GOODBYE)
        if any(thread.is_alive() for thread in started):
            self._ledger.interrupt()
            for thread in started:
                thread.join(_LONGEST_GOODBYE)
        return self._error

    def _beat(self) -> None:
        pause = self._lease / 3.0
        with self._ledger as ledger:
            while not self._done.wait(min(pause, _LONGEST_WAIT)):
                sent = time.monotonic()
                try:
                    ledger.extend_lease(*self._claim)
                except ClaimLost as error:
                    self._lose(error)
                except LedgerError as error:
                    warn("extend_lease", self._claim, error)
                    pause = min(self._lease / 30.0, _LONGEST_PAUSE_AFTER_FAILURE)
                else:
                    # From when it was sent: the server may have stamped it as early as that.
                    self._held_until = sent + self._lease
                    pause = self._lease / 3.0
                    if self._on_extended is not None:
                        self._on_extended(self.held_for())

    def _watch_lease(self) -> None:
        while not self._done.is_set():
            left = self._held_until - time.monotonic()
            if left <= 0.0:
                self._lose(
                    ClaimLost(
                        f"claim lost: no heartbeat reached the ledger for {self._lease:g} s, the "
                        f"length of the lease of claim token {self._claim[1]} of pipeline "
                        f"{self._claim[0]}",
                        hint="Stop working on this record: it may have been passed to another run.",
                    )
                )
            self._done.wait(min(max(left, 0.0), _LONGEST_WAIT))

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
