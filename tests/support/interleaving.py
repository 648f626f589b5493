"""Two sessions, step by step: run a statement beside the test, see it wait, let it continue.

    first.execute("begin")
    first.execute("select record_ledger.pass_valid_record('orders', 'a')")
    second = in_background(connect(), "select record_ledger.pass_valid_record('orders', 'b')")
    second.wait_until_blocked()
    first.execute("commit")
    assert second.rows() == ...

No step sleeps a fixed time. Each watches the server and fails at a deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg

if TYPE_CHECKING:
    from typing_extensions import LiteralString

DEADLINE = 20.0
_PAUSE = 0.002

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


class Background(Generic[T]):
    """A call that runs in a thread of its own on a connection of its own."""

    def __init__(
        self, connection: psycopg.Connection[Any], call: Callable[[], T], observer_dsn: str
    ) -> None:
        self._connection = connection
        self._observer_dsn = observer_dsn
        self._pid = connection.info.backend_pid
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=[call], daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._result = call()
        except BaseException as error:  # noqa: BLE001 (the test gets it from result())
            self._error = error

    @property
    def finished(self) -> bool:
        return not self._thread.is_alive()

    def wait_until_blocked(self, deadline: float = DEADLINE) -> None:
        """Returns once the server reports that the call waits for another session's lock.

        :raises AssertionError: when it finishes instead, or at the deadline.
        """
        with psycopg.connect(self._observer_dsn, autocommit=True) as observer:
            until = time.monotonic() + deadline
            while time.monotonic() < until:
                if self.finished:
                    raise AssertionError(f"it was not blocked: it ended with {self._outcome()!r}")
                row = observer.execute("select pg_blocking_pids(%s)", [self._pid]).fetchone()
                if row is not None and row[0]:
                    return
                time.sleep(_PAUSE)
            state = observer.execute(
                "select state, wait_event_type, wait_event, query from pg_stat_activity "
                "where pid = %s",
                [self._pid],
            ).fetchone()
        raise AssertionError(f"it was not blocked within {deadline} s: {state}")

    def result(self, deadline: float = DEADLINE) -> T:
        """Returns what the call returned, or raises what it raised."""
        self._thread.join(deadline)
        if not self.finished:
            raise AssertionError(f"it did not finish within {deadline} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def rows(self, deadline: float = DEADLINE) -> T:
        """Returns the rows of a statement; the same as `result`."""
        return self.result(deadline)

    def error(self, deadline: float = DEADLINE) -> BaseException:
        """Returns the exception that the call raised; it must have raised one."""
        try:
            result = self.result(deadline)
        except Exception as error:
            if self._error is None:
                raise
            return error
        raise AssertionError(f"it raised nothing and returned {result!r}")

    def close(self) -> None:
        """Cancels the call if it still runs, and waits for its end."""
        if not self.finished:
            self._connection.cancel()
        self._thread.join(DEADLINE)

    def _outcome(self) -> object:
        return self._result if self._error is None else self._error


def statement(
    connection: psycopg.Connection[Any],
    query: LiteralString,
    parameters: Sequence[Any] | None = None,
) -> Callable[[], Rows]:
    """Returns a call that runs the statement and returns its rows (none for a command)."""

    def call() -> Rows:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []

    return call
