"""What a call does while the server keeps silent: look who blocks it, and give up on the dead."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from . import logs, queries
from .server_errors import NoAnswer, TookTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

# After so many seconds without an answer, and then every so many, a second connection looks.
FIRST_LOOK = 5.0
BETWEEN_LOOKS = 15.0
# How long a look may take, and how many in a row fail before the server is given up: one that is
# very busy is not dead, and what it works on is not begun again lightly.
LOOK_SECONDS = 5.0
_FAILED_LOOKS = 2
# How long the cancelling of a statement may take.
_LONGEST_CANCEL = 2.0


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose calls notice that the server keeps silent.

    `on_silence` is called about every tenth of a second in which nothing comes; what it raises
    ends the call.
    """

    on_silence: Callable[[], None] | None = None

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Consumes a generator of the driver's, as the driver does."""
        if self.on_silence is None:
            return super().wait(gen, *args, **options)
        return super().wait(_watched(gen, self.on_silence), *args, **options)


def _watched(
    gen: Generator[Any, Any, Any], on_silence: Callable[[], None]
) -> Generator[Any, Any, Any]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready:
                on_silence()
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


class Patience:
    """How long a call waits, and what it does meanwhile; called while the server keeps silent.

    A server that answers a second connection is alive, and the call waits on: for a lock, whose
    holder is logged once, or for the end of long work. One that does not answer is given up, as is
    a call that takes longer than `longest` seconds: it is cancelled first.
    """

    is_over = False

    def begin(
        self,
        name: str,
        longest: float,
        connection: WatchedConnection,
        look: Callable[[WatchedConnection], psycopg.Connection[Any]],
        interrupted: threading.Event,
    ) -> None:
        """Begins to wait for a call of that name; one object serves all calls of a session."""
        self._name = name
        self._longest = longest
        self._connection: WatchedConnection | None = connection
        self._look: Callable[[WatchedConnection], psycopg.Connection[Any]] | None = look
        self._interrupted = interrupted
        self._started = time.monotonic()
        self._next_look = min(longest, FIRST_LOOK)
        self._ends_at: float | None = None
        self._has_logged = False
        self._looks_failed = 0
        self.is_over = False
        connection.on_silence = self

    def end(self) -> None:
        """Lets go of the connection, so that nothing of it is kept when its session is dropped."""
        if self._connection is not None:
            self._connection.on_silence = None
        self._connection = self._look = None

    def __call__(self) -> None:
        """Looks and gives up where it is time for that.

        :raises NoAnswer: when the server does not answer another connection either.
        :raises TookTooLong: when it took longer than it may, and did not end when cancelled.
        """
        silent = time.monotonic() - self._started
        connection, look = self._connection, self._look
        if connection is None or look is None:
            return
        if self._ends_at is not None:
            if silent >= self._ends_at:
                raise TookTooLong(self.too_long if self.is_over else f"{self._name} interrupted")
        elif self._interrupted.is_set() or silent >= self._longest:
            # The statement is undone, or its answer comes: a moment is left for that.
            self.is_over = silent >= self._longest
            grace = min(_LONGEST_CANCEL, max(0.2, self._longest / 4.0))
            if self.is_over:
                cancel(connection, grace)
            self._ends_at = time.monotonic() - self._started + grace
        elif silent >= self._next_look:
            self._look_around(silent, connection, look)
            pause = 0.0 if self._looks_failed else BETWEEN_LOOKS
            self._next_look = time.monotonic() - self._started + pause

    @property
    def too_long(self) -> str:
        """Says that the call was given up."""
        return f"{self._name} was not answered within {self._longest:g} s"

    def _look_around(
        self,
        silent: float,
        connection: WatchedConnection,
        look: Callable[[WatchedConnection], psycopg.Connection[Any]],
    ) -> None:
        try:
            with look(connection) as second:
                waits = second.execute(
                    queries.BLOCKERS,
                    {"pid": connection.info.backend_pid, "routine": f"%{self._name}%"},
                    binary=True,
                ).fetchall()
        except psycopg.Error as error:
            if error.sqlstate is not None:
                return  # it answers, and lets nobody look
            self._looks_failed += 1
            if self._looks_failed < _FAILED_LOOKS:
                return
            raise NoAnswer(
                f"{self._name}: no answer for {time.monotonic() - self._started:.0f} s, and the "
                "server does not answer another connection either"
            ) from None
        self._looks_failed = 0
        if waits and not self._has_logged:
            self._has_logged = True
            logs.waits_for_lock(self._name, silent, "; ".join(map(blocker_text, waits)))


def blocker_text(row: tuple[Any, ...]) -> str:
    """Returns how a session that holds a lock is called, from a row of `queries.BLOCKERS`."""
    pid, user, application, state, seconds = row
    since = "" if seconds is None else f" for {seconds:.0f} s"
    return (
        f"pid {pid} (user {user or 'unknown'}, application {application or 'unnamed'}, "
        f"{state or 'state not visible'}{since})"
    )


def cancel(connection: psycopg.Connection[Any], seconds: float) -> None:
    """Asks the server to cancel what runs on a connection; waits no longer than that.

    In a thread: an old libpq asks without any limit, and a frozen server would never answer.
    """

    def ask() -> None:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=seconds)

    thread = threading.Thread(target=ask, name="record-ledger-cancel", daemon=True)
    thread.start()
    thread.join(seconds)
