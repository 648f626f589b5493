"""Opens connections to the ledger, keeps passwords out of texts, and tries again when one drops."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from . import logs
from .errors import InvalidArgument, LedgerError, LedgerUnavailable
from .redaction import redact, unreadable_conninfo
from .server_errors import from_psycopg, is_retryable, may_have_been_done

Result = TypeVar("Result")
NoticeHandler = Callable[[str, str], None]

DSN_VARIABLE = "RECORD_LEDGER_DSN"
CONNECT_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and for how long in all, a call is tried when its connection fails.

    Waits double from `first_wait` up to `longest_wait`; each is drawn between nothing and that
    (full jitter), so that many workers do not come back at the same instant. Seconds throughout.
    """

    tries: int = 6
    within: float = 30.0
    first_wait: float = 0.5
    longest_wait: float = 8.0

    def wait_before(self, next_try: int) -> float:
        """Draws the seconds to wait before try number `next_try` (2 is the first repeat)."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** (next_try - 2))
        return random.uniform(0.0, longest)  # noqa: S311 - spreads workers, guards no secret


def resolve_conninfo(conninfo: str | None = None) -> str:
    """Returns the connection string to use: the given one, else RECORD_LEDGER_DSN, else ''.

    The empty string leaves everything to libpq: its PG* variables, then its defaults.
    """
    return conninfo if conninfo is not None else os.environ.get(DSN_VARIABLE, "")


def connect_options(conninfo: str) -> dict[str, Any]:
    """Returns what every connection of the ledger is opened with, beside its connection string.

    :raises LedgerError: when the connection string cannot be read.
    """
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        # libpq quotes the part that it could not read, which may be a piece of the password. The
        # cause is dropped for the same reason: a traceback would print it.
        raise LedgerError(unreadable_conninfo(str(error))) from None
    # UTF8 whatever the database or PGCLIENTENCODING say: in another encoding the driver cannot read
    # the answer to a pass that has been committed.
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": None,
        "client_encoding": "UTF8",
    }
    if "application_name" not in given and not os.environ.get("PGAPPNAME"):
        options["application_name"] = "record-ledger"
    if "connect_timeout" not in given and not os.environ.get("PGCONNECT_TIMEOUT"):
        options["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    return options


def connect(
    conninfo: str | None = None, on_notice: NoticeHandler | None = None
) -> psycopg.Connection[Any]:
    """Opens one autocommitting connection that is safe behind PgBouncer in transaction mode.

    No prepared statements and no `options=`: PgBouncer carries neither from one statement to the
    next. Tries once. `on_notice` gets (severity, message) of what the server remarks; by default
    that is logged.

    :raises psycopg.Error: when the server cannot be reached or refuses.
    :raises LedgerError: when the connection string cannot be read.
    """
    text = resolve_conninfo(conninfo)
    connection: psycopg.Connection[Any] = psycopg.connect(text, **connect_options(text))

    def pass_on(diag: psycopg.errors.Diagnostic) -> None:
        severity = diag.severity_nonlocalized or diag.severity or "NOTICE"
        message = redact(diag.message_primary or "")
        if on_notice is None:
            logs.server_notice(severity, message, diag.sqlstate)
        else:
            on_notice(severity, message)

    connection.add_notice_handler(pass_on)
    return connection


class Session:
    """One connection, opened when first used, shared by threads one call at a time.

    `run` repeats a call whose connection dropped or that lost a deadlock, on a fresh connection
    when needed, unless that could run twice what may not. `interrupt` ends its waiting from another
    thread.
    """

    def __init__(
        self,
        conninfo: str | None = None,
        retry: RetryPolicy | None = None,
        on_notice: NoticeHandler | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._retry = retry or RetryPolicy()
        self._on_notice = on_notice
        self._connection: psycopg.Connection[Any] | None = None
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._interrupted = threading.Event()

    def run(
        self,
        name: str,
        work: Callable[[psycopg.Connection[Any]], Result],
        *,
        may_run_twice: bool = True,
    ) -> Result:
        """Returns `work(connection)`; `name` is what the log and errors call it.

        What may not run twice is tried again only where it is known that it was not done.

        :raises InvalidArgument: when a text could not be sent at all.
        :raises LedgerUnavailable: when every allowed try failed for want of a connection.
        :raises LedgerError: the class that belongs to the server's SQLSTATE.
        """
        deadline = time.monotonic() + self._retry.within
        tried = 0
        with self._lock:
            while True:
                tried += 1
                is_sent = False
                try:
                    connection = self._open(name)
                    is_sent = True
                    return work(connection)
                except UnicodeEncodeError as error:
                    raise InvalidArgument(
                        f"{name}: an argument holds what the database cannot: {error.reason}",
                        sqlstate="RL005",
                    ) from error
                except psycopg.Error as error:
                    is_doubtful = is_sent and not may_run_twice and may_have_been_done(error)
                    again = is_retryable(error) and not is_doubtful
                    self._after_failure(error)
                    if not again:
                        described = self._described(error, tried=None, is_doubtful=is_doubtful)
                        raise described from _without_password(error)
                    wait = self._retry.wait_before(tried + 1)
                    if tried >= self._retry.tries or time.monotonic() + wait > deadline:
                        raise self._described(error, tried) from _without_password(error)
                    logs.retrying(name, tried, wait, from_psycopg(error).message)
                self._interrupted.wait(wait)

    def interrupt(self) -> None:
        """Ends a call that another thread is in, and refuses every later one.

        A statement under way is cancelled: it was done, and its answer comes, or it fails and has
        changed nothing.
        """
        self._interrupted.set()
        connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CONNECT_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Closes the connection if one is open; a later `run` opens another."""
        with self._lock:
            self._leave_parents_connection()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _leave_parents_connection(self) -> None:
        # A forked child (a worker of Airflow's, say) would speak into its parent's connection.
        if self._process != os.getpid():
            self._connection, self._process = None, os.getpid()

    def _open(self, name: str) -> psycopg.Connection[Any]:
        self._leave_parents_connection()
        if not self._interrupted.is_set():
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._conninfo, self._on_notice)
            # Asked again: opening takes its time.
            if not self._interrupted.is_set():
                return self._connection
        raise LedgerError(f"{name} was interrupted")

    def _after_failure(self, error: psycopg.Error) -> None:
        """Leaves no half-open transaction and no half-dead connection to the next try."""
        if self._connection is None:
            return
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._connection.info.transaction_status != idle or error.sqlstate is None:
            self._connection.close()
            self._connection = None

    def _described(
        self, error: psycopg.Error, tried: int | None, *, is_doubtful: bool = False
    ) -> LedgerError:
        described = from_psycopg(error)
        if not isinstance(described, LedgerUnavailable):
            return described
        if is_doubtful:
            return LedgerUnavailable(
                f"the connection to the ledger's database was lost before it answered, and whether "
                f"this was done is not known: {described.message}",
                sqlstate=described.sqlstate,
                hint="Look at the records (`record-ledger history`) before you call it again.",
            )
        tries = f" after {tried} tries" if tried is not None and tried > 1 else ""
        return LedgerUnavailable(
            f"the ledger's database cannot be reached{tries}: {described.message}",
            sqlstate=described.sqlstate,
            hint=described.hint
            or "Check the address (--dsn, RECORD_LEDGER_DSN or PGHOST ...) and that it is running.",
        )


def _without_password(error: psycopg.Error) -> psycopg.Error:
    """Redacts the driver's own message too: tracebacks print the whole chain of causes."""
    error.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in error.args)
    return error
