"""Signals that stop an exec: its commands get them, and nothing new begins."""

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

# A call that has not ended so many seconds after its interruption hangs in a dead connection.
_PATIENCE = 1.0
# A terminal that closes sends SIGHUP.
_NUMBERS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Knows every command and call that is under way, so that a signal stops all of them.

    Every command gets the first signal; the second one kills the commands. A signal interrupts a
    pass that waits for the database: a record that it has passed is then released. While the
    database is away, the end of a claim is tried until its lease is over; after a signal it is
    tried no longer than any other call.
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
                # From now on it does not wait for a database that is away until the lease is over.
                ledger.hurry(None if is_first else 0.0)
            for ledger in self._passing:
                ledger.interrupt()
            for child in self._children:
                if is_first:
                    child.stop(number)
                else:
                    child.kill()

    def knows(self, ledger: RecordLedger) -> None:
        """Has a signal shorten the tries with which this ledger ends its claims."""
        with self._lock:
            self._ledgers.add(ledger)

    def begin_pass(self, ledger: RecordLedger) -> bool:
        """Tells whether a record may be passed; if so, a signal interrupts it until `end_pass`."""
        with self._lock:
            if self.signal is None:
                self._passing.add(ledger)
            return self.signal is None

    def end_pass(self, ledger: RecordLedger) -> None:
        """From now on a signal does not interrupt the ledger's calls."""
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
    """Lets the main thread wait for signals and for threads at the same time, and miss neither.

    Python writes a signal's number to a socket as it arrives. A lock or a queue would not do: a
    signal that arrives just before the thread begins to wait would not end that waiting.

    Inside of its `with` block signals raise nothing. A signal that the parent process has ignored
    (as nohup does) stays ignored.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        # A full socket has something to read: then nothing needs to be added.
        self._writer.setblocking(False)
        self._handlers: dict[int, Any] = {}
        self._descriptor = -1

    def __enter__(self) -> Wakeups:
        self._descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _NUMBERS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
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
        """Ends the current `wait`, or else the next one; for other threads."""
        with suppress(OSError):  # the socket is full, or closed
            self._writer.send(b"\0")

    def wait(self) -> int | None:
        """Returns the number of the next signal, or None when a thread called."""
        number = self._reader.recv(1)[0]
        return number if number in self._handlers else None


@contextmanager
def held_back(interrupt: Callable[[], object]) -> Iterator[None]:
    """Lets a signal interrupt a call, and end us only when the call has ended, its answer known.

    An exception in the middle of the call could leave a record claimed that we do not know of. A
    second signal ends us immediately. So does a signal whose interruption does not end the call.
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

    for number in _NUMBERS:
        if callable(signal.getsignal(number)):
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
    """Handles a signal: Python reports the arrival only of signals that have a handler."""


def signal_name(number: int) -> str:
    """Returns the name of a signal, like SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"
