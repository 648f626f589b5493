"""Sends statements to Snowflake, and waits for those that run on its side."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from record_ledger.moving.errors import MoveFailed

from . import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class SnowflakeCalls:
    """Sends statements on one connection, with the target's names put in; returns their rows."""

    def __init__(self, connection: Any, names: Mapping[str, str], timeout: int) -> None:
        self._connection = connection
        self._names = names
        self._timeout = timeout

    def __call__(
        self, statement: str, parameters: Mapping[str, Any] | None = None, **names: str
    ) -> list[tuple[Any, ...]]:
        """Returns the rows of one statement; it is cancelled when it takes too long."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                statement.format(**self._names, **names), parameters, timeout=self._timeout
            )
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end of a block that raises nothing."""
        self(statements.BEGIN)
        try:
            yield
        except BaseException:
            self(statements.ROLLBACK)
            raise
        self(statements.COMMIT)

    def awaited(self, text: str, poll_seconds: float) -> list[tuple[Any, ...]]:
        """Runs a statement on Snowflake's side and asks until it is done.

        It is cancelled when it takes too long, and when the waiting is interrupted.
        """
        with self._connection.cursor() as cursor:
            cursor.execute_async(text)
            query_id = cursor.sfqid
            try:
                self._wait_for(query_id, poll_seconds)
            except (MoveFailed, KeyboardInterrupt, SystemExit):
                # It would go on, and cost, with nobody who waits for it.
                self(statements.CANCEL, {"query_id": query_id})
                raise
            cursor.get_results_from_sfqid(query_id)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _wait_for(self, query_id: str, poll_seconds: float) -> None:
        deadline = time.monotonic() + self._timeout
        while self._connection.is_still_running(
            self._connection.get_query_status_throw_if_error(query_id)
        ):
            if time.monotonic() > deadline:
                raise MoveFailed(
                    f"query {query_id} took longer than {self._timeout} s and was cancelled",
                    hint="A larger warehouse, or a longer timeout_seconds, would do.",
                )
            time.sleep(poll_seconds)
