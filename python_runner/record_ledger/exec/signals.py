"""Signals that stop an exec: what runs is told of them, and nothing new begins."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from record_ledger.client import RecordLedger

    from .process import Child

# So many seconds after its interruption a call has ended, or hangs in a connection that is dead.
_PATIENCE = 1.0
# A terminal that closes sends SIGHUP; Windows knows none.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Stop:
    """Knows what is under way, so that a signal stops all of it and nothing slips by.

    A signal is passed on to every command; the second one kills them. A pass that waits for the
    database is interrupted: it has passed a record, which is then released, or none. The end of a
    claim, which waits for its lease while the database is away, is then tried no longer than any
    other call.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._lock = threading.Lock()
        self._passing: set[RecordLedger] = set()
        self._ledgers: set[RecordLedger] = set()
        self._children: set[Child] = set()

    @property
    def name(self) -> str:
        """The name of the signal that came."""
        return signal_name(self.signal or 0)

    def request(self, number: int) -> None:
        """Stops what is under way because this signal came; called again, kills it."""
        with self._lock:
            is_first = self.signal is None
            if is_first:
                self.signal = number
            for ledger in self._ledgers:
                # A database that is away is not waited for until the lease is over any more.
                ledger.hurry(None if is_first else 0.0)
            for ledger in self._passing:
                ledger.interrupt()
            for child in self._children:
                if is_first:
                    child.stop(number)
                else:
                    child.kill()

    def knows(self, ledger: RecordLedger) -> None:
        """Has a signal end the patience with which this ledger's claims are ended."""
        with self._lock:
            self._ledgers.add(ledger)

    def begin_pass(self, ledger: RecordLedger) -> bool:
        """Tells whether a record may be passed; if so, a signal interrupts it until `end_pass`."""
        with self._lock:
            if self.signal is None:
                self._passing.add(ledger)
            return self.signal is None

    def end_pass(self, ledger: RecordLedger) -> None:
        """Lets the ledger be: from now on its calls are not interrupted."""
        with self._lock:
            self._passing.discard(ledger)

    def start(self, start_child: Callable[[], Child]) -> Child | None:
        """Starts a command, or returns None when a signal came before."""
        with self._lock:
            if self.signal is not None:
                return None
            child = start_child()
            self._children.add(child)
            return child

    def ended(self, child: Child) -> None:
        """Forgets a command that has ended."""
        with self._lock:
            self._children.discard(child)


class Wakeups:
    """Has the main thread wait for signals and for threads at once, and miss neither.

    Through a socket, to which Python writes a signal's number as it arrives: one that arrives just
    before a thread begins to wait for a lock or a queue would not end that waiting.

    Inside of its `with` block signals raise nothing. One that whoever started us wants ignored (as
    nohup does) stays ignored.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        # One that is full has something to read: then nothing needs to be added.
        self._writer.setblocking(False)
        self._handlers: dict[int, Any] = {}
        self._descriptor = -1

    def __enter__(self) -> Wakeups:
        self._descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._handlers[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor)
        self._reader.close()
        self._writer.close()

    def wake(self) -> None:
        """Ends one `wait`, of now or of later; for other threads."""
        with suppress(OSError):  # full, or nobody waits any more
            self._writer.send(b"\0")

    def wait(self) -> int | None:
        """Returns the number of the next signal, or None when a thread called."""
        number = self._reader.recv(1)[0]
        return number if number in self._handlers else None


@contextmanager
def held_back(interrupt: Callable[[], object]) -> Iterator[None]:
    """Has a signal interrupt a call, and end us once the call has ended: its answer is known then.

    An exception in the middle of it would leave a record claimed that we do not know of. Another
    signal ends us at once, and so does one whose interruption does not end the call.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    has_ended = threading.Event()

    def stop(number: int) -> None:
        interrupt()
        if not has_ended.wait(_PATIENCE):
            os.kill(os.getpid(), number)

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            before[number](number, frame)
        threading.Thread(target=stop, args=[number], daemon=True).start()

    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and callable(signal.getsignal(number)):
            before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        has_ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            before[came[0]](came[0], None)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handles a signal: that it came is known without this, but not for one that has no handler."""


def signal_name(number: int) -> str:
    """Returns the name of a signal, like SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"
