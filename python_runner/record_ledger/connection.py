"""Opens connections to the ledger, keeps passwords out of texts, and tries again when one drops."""

from __future__ import annotations

import asyncio
import math
import os
import random
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from . import logs, queries
from .clocks import elapsed
from .errors import InvalidArgument, LedgerError, LedgerUnavailable
from .prepared import HotCalls, Preparing, dumped, prepare_wanted
from .redaction import hide, redact, unreadable_conninfo
from .refusals import refusals
from .server_errors import (
    WAITS_FOR_STANDBY,
    TookTooLong,
    Unconfirmed,
    advice,
    from_psycopg,
    is_read_only,
    is_retryable,
    is_retryable_refusal,
    is_session_gone,
    may_have_been_done,
)
from .waiting import LOOK_SECONDS, Patience, WatchedConnection, cancel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

Result = TypeVar("Result")
NoticeHandler = Callable[[str, str], None]

DSN_VARIABLE = "RECORD_LEDGER_DSN"
# libpq's options that are secrets, or could be used as one.
SECRET_OPTIONS = (
    "password",
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
)
RETRY_VARIABLE = "RECORD_LEDGER_RETRY_WITHIN"
RETRY_WITHIN = 30.0
CONNECT_TIMEOUT_SECONDS = 5
# libpq knows whole seconds, and takes 1 for 2.
_LEAST_CONNECT_TIMEOUT = 2
# A call that passes or ends a record takes milliseconds; what it may wait for is another's lock.
LONGEST_CALL = 300.0
# One statement that changes, reads or moves very many records, or deploys.
LONGEST_OPERATION = 14400.0

# What the network does with a connection whose other end is lost: half a minute is bearable, the
# system's default is two hours. Unix sockets and systems that lack one of these ignore it.
_LIVELINESS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def retry_within() -> float:
    """Returns how many seconds a call is tried: RECORD_LEDGER_RETRY_WITHIN, else 30.

    :raises InvalidArgument: when the variable holds something else.
    """
    text = os.environ.get(RETRY_VARIABLE, "")
    if not text:
        return RETRY_WITHIN
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise InvalidArgument(
            f"{RETRY_VARIABLE}: {text!r:.80} is not a valid number of seconds; give 0 or more, "
            "like 30",
            sqlstate="RL005",
        )
    return seconds


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and for how long in all, a call is tried when its connection fails.

    Waits double from `first_wait` up to `longest_wait`. Each is drawn between half of that and all
    of it: many workers do not come back at the same instant, and none hurries. The last try is made
    when `within` is over (by default RECORD_LEDGER_RETRY_WITHIN, else 30); `tries` None sets no
    other limit. What ends a claim is tried until its lease has run out, when that is later. One
    try of what a run calls (to pass, to count, to end a claim) may take `longest_call`. Seconds
    throughout.
    """

    tries: int | None = None
    within: float = field(default_factory=retry_within)
    first_wait: float = 0.5
    longest_wait: float = 8.0
    longest_call: float = LONGEST_CALL

    def wait_before(self, next_try: int) -> float:
        """Draws the seconds to wait before try number `next_try` (2 is the first repeat)."""
        # Beyond that the power has no meaning, and no float.
        doubled = 2.0 ** min(next_try - 2, 60)
        longest = min(self.longest_wait, self.first_wait * doubled)
        return random.uniform(longest / 2.0, longest)  # noqa: S311 - spreads workers only


def resolve_conninfo(conninfo: str | None = None) -> str:
    """Returns the connection string to use: the given one, else RECORD_LEDGER_DSN, else ''.

    The empty string leaves everything to libpq: its PG* variables, then its defaults.
    """
    return conninfo if conninfo is not None else os.environ.get(DSN_VARIABLE, "")


def has_password(conninfo: str) -> bool:
    """Tells whether a connection string holds a secret; one that cannot be read is told later."""
    try:
        return any(conninfo_to_dict(conninfo).get(name) for name in SECRET_OPTIONS)
    except psycopg.ProgrammingError:
        return False


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
    _hide_secrets(given)
    # UTF8 whatever the database or PGCLIENTENCODING say: in another encoding the driver cannot read
    # the answer to a pass that has been committed.
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": None,
        "client_encoding": "UTF8",
    }
    options.update({name: value for name, value in _LIVELINESS.items() if name not in given})
    if "application_name" not in given and not os.environ.get("PGAPPNAME"):
        options["application_name"] = "record-ledger"
    if "connect_timeout" not in given and not os.environ.get("PGCONNECT_TIMEOUT"):
        options["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    return options


def _hide_secrets(given: Mapping[str, Any]) -> None:
    """Has every text of this process hide the passwords by which it connects.

    A command that exec runs has them too, and what it complains of is kept. A password that is also
    a name that texts are about is no secret, and hiding it would leave them without that name.
    """
    names = {str(value) for name, value in given.items() if name not in SECRET_OPTIONS}
    names |= {os.environ.get(name, "") for name in ("PGUSER", "PGDATABASE", "PGHOST")}
    secrets = {str(given.get(name) or "") for name in SECRET_OPTIONS}
    for secret in {*secrets, os.environ.get("PGPASSWORD", "")} - names - {"postgres"}:
        hide(secret)


class Connection(WatchedConnection):
    """A connection to the ledger's database.

    `asks_read_committed` has `ask` name the isolation level. `is_unconfirmed` says that something
    was committed on this server alone, where a standby had to confirm it. What `preparing` says of
    statements counts when `value` is first called.
    """

    asks_read_committed = False
    is_unconfirmed = False
    preparing: Preparing | None = None
    _hot: HotCalls | None = None

    def value(self, statement: str, parameters: Sequence[Any]) -> bytes | None:
        """Returns the one value that a statement of the hot path answers, as the server sent it.

        In binary. `statement` has a `%s` for each parameter, and no other per cent sign. What is
        not a plain parameter goes by a cursor.

        :raises psycopg.Error: what a cursor would raise.
        :raises UnicodeEncodeError: when a text holds what UTF-8 cannot.
        """
        sent: list[bytes | None] = []
        types = dumped(parameters, sent)
        result: PGresult | None
        if types is None or self.asks_read_committed:
            result = self.ask(statement, parameters).pgresult
        else:
            hot = self._hot
            if hot is None:
                hot = self._hot = HotCalls(self.preparing or Preparing(wanted=False))
            result = hot.answer(self, statement, types, sent)
        if result is None or result.ntuples != 1:
            raise psycopg.DataError("the call answered no row")
        return result.get_value(0, 0)

    def ask(self, statement: str, parameters: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        """Returns the cursor of a statement in a READ COMMITTED transaction; its answer is binary.

        Where that is not the default it is asked for in the same round trip: the server runs what
        comes before one Sync as one transaction, and no state of the session outlives it.
        """
        if not (options or self.asks_read_committed):
            return self.execute(statement, parameters, binary=True)
        cursor: psycopg.Cursor[Any] = self.cursor(binary=True, **options)
        if not self.asks_read_committed:
            cursor.execute(statement, parameters)
            return cursor
        with self.pipeline():
            self.execute(queries.READ_COMMITTED)
            cursor.execute(statement, parameters)
        return cursor


def connect(
    conninfo: str | None = None,
    on_notice: NoticeHandler | None = None,
    *,
    connect_seconds: float | None = None,
) -> Connection:
    """Opens one autocommitting connection that is safe behind PgBouncer in transaction mode.

    No `options=`, and psycopg prepares nothing: PgBouncer carries neither from one statement to
    the next. Tries once, no longer than `connect_seconds` for each host. `on_notice` gets
    (severity, message) of what the server remarks; by default that is logged.

    :raises psycopg.Error: when the server cannot be reached or refuses; its `sqlstate` says how.
    :raises LedgerError: when the connection string cannot be read.
    """
    text = resolve_conninfo(conninfo)
    options = connect_options(text)
    if connect_seconds is not None:
        given = options.get("connect_timeout") or conninfo_to_dict(text).get("connect_timeout")
        least = max(_LEAST_CONNECT_TIMEOUT, math.ceil(connect_seconds))
        options["connect_timeout"] = min(int(given or least) or least, least)
    try:
        connection = Connection.connect(text, **options)
    except psycopg.OperationalError as error:
        error.sqlstate = error.sqlstate or _refused_with(error, text, options)
        raise
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED

    def pass_on(diag: psycopg.errors.Diagnostic) -> None:
        if diag.source_function == WAITS_FOR_STANDBY:
            connection.is_unconfirmed = True
        severity = diag.severity_nonlocalized or diag.severity or "NOTICE"
        message = redact(diag.message_primary or "")
        if on_notice is None:
            logs.server_notice(severity, message, diag.sqlstate)
        else:
            on_notice(severity, message)

    connection.add_notice_handler(pass_on)
    return connection


async def connect_async(conninfo: str) -> psycopg.AsyncConnection[Any]:
    """Opens a connection as `connect` does, for an event loop; remarks of the server are not kept.

    :raises psycopg.Error: when the server cannot be reached or refuses; its `sqlstate` says how.
    """
    options = connect_options(conninfo)
    try:
        return await psycopg.AsyncConnection.connect(conninfo, **options)
    except psycopg.OperationalError as error:
        error.sqlstate = error.sqlstate or await asyncio.to_thread(
            _refused_with, error, conninfo, options
        )
        raise


def _refused_with(
    error: psycopg.OperationalError, text: str, options: dict[str, Any]
) -> str | None:
    """Returns the SQLSTATE of a connection that was refused; None when another host may answer."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return None  # it is silent: asking it once more would take as long
    if error.pgconn is not None and error.pgconn.needs_password:
        return "28000"  # libpq itself gave up: the server asked for a password and none was given
    libpqs = {
        name: value
        for name, value in options.items()
        if name not in ("autocommit", "prepare_threshold")
    }
    found = refusals(make_conninfo(text, **libpqs), CONNECT_TIMEOUT_SECONDS)
    if None in found:
        return None
    # One host that can take us in a moment is worth another try, whatever the others say.
    return next(filter(is_retryable_refusal, found), found[0])


class Session:
    """One connection, opened when first used, shared by threads one call at a time.

    `run` repeats a call whose connection dropped or that lost a deadlock, on a fresh connection
    when needed, unless that could run twice what may not. `interrupt` ends its waiting from another
    thread. A forked child has a connection and a lock of its own.
    """

    def __init__(
        self,
        conninfo: str | None = None,
        retry: RetryPolicy | None = None,
        on_notice: NoticeHandler | None = None,
        *,
        prepare: bool | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._retry = retry or RetryPolicy()
        self._on_notice = on_notice
        self._preparing = Preparing(prepare_wanted() if prepare is None else prepare)
        self._connection: Connection | None = None
        # What the role's or the database's default says otherwise is learnt from a refused call.
        self._asks_read_committed = False
        self._wants_writes = False
        self._followers: weakref.WeakSet[Session] = weakref.WeakSet()
        self._begin()
        _sessions.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._patience = Patience()
        self._interrupted = threading.Event()
        self._woken = threading.Event()
        self._latest = math.inf

    def run(
        self,
        name: str,
        work: Callable[..., Result],
        *arguments: Any,
        may_run_twice: bool = True,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
        calls_ledger: bool = True,
    ) -> Result:
        """Returns `work(connection, *arguments)`; `name` is what the log and errors call it.

        What may not run twice is tried again only where it is known that it was not done. What ends
        a claim says `until` when it is to be tried, by `clocks.elapsed`. One try may take `longest`
        seconds, by default hours: it may change very much. `calls_ledger` is false for work that is
        more than a call of the ledger's routines.

        :raises InvalidArgument: when a text could not be sent at all.
        :raises LedgerUnavailable: when every allowed try failed because no connection was to be
            had, or the call took too long.
        :raises LedgerError: the class that belongs to the server's SQLSTATE.
        """
        retry = self._retry
        deadline = elapsed() + retry.within
        ends_claim = until is not None
        tried = 0
        while True:
            tried += 1
            try:
                return self._try(name, work, arguments, longest)
            except UnicodeEncodeError as error:
                raise InvalidArgument(
                    f"{name}: an argument holds what the database cannot: {error.reason}",
                    sqlstate="RL005",
                ) from error
            except _Failed as failure:
                cause = failure.cause
                is_doubtful = failure.is_sent and not may_run_twice and may_have_been_done(cause)
                again = not is_doubtful and is_retryable(
                    cause, calls_ledger=calls_ledger, ends_claim=ends_claim
                )
                if not again:
                    described = self._described(cause, tried=None, is_doubtful=is_doubtful)
                    raise described from _without_password(cause)
                # A signal may have come meanwhile, after which no lease's end is waited for.
                left = max(deadline, min(until or 0.0, self._latest)) - elapsed()
                if left <= 0.0 or (retry.tries is not None and tried >= retry.tries):
                    raise self._described(cause, tried) from _without_password(cause)
                # The last try is made when the time is over, and not before.
                wait = min(retry.wait_before(tried + 1), left)
                logs.retrying(name, tried, wait, from_psycopg(cause).message)
            self._woken.wait(wait)
            if not self._interrupted.is_set():
                self._woken.clear()

    def _try(
        self, name: str, work: Callable[..., Result], arguments: tuple[Any, ...], longest: float
    ) -> Result:
        """Returns what one try of a call returned.

        :raises _Failed: what the driver raised, and whether the statement may have been sent.
        """
        with self._lock:
            is_sent = False
            patience = self._patience
            try:
                connection = self._open(name, longest)
                patience.begin(name, longest, connection, self._look, self._interrupted)
                is_sent = True
                try:
                    answer = work(connection, *arguments)
                except psycopg.DatabaseError as error:
                    if not self._is_refused_for_isolation(error, connection):
                        raise
                    answer = work(connection, *arguments)
                if not connection.is_unconfirmed:
                    return answer
                raise _unconfirmed(name)
            except psycopg.Error as error:
                self._after_failure(error)
                cause = error
                if is_sent and patience.is_over and error.sqlstate == "57014":
                    cause = TookTooLong(patience.too_long)
                raise _Failed(cause, is_sent=is_sent) from None
            finally:
                if is_sent:
                    patience.end()

    @property
    def longest_call(self) -> float:
        """How many seconds one try of a run's call may take: to pass, to count, to end a claim."""
        return self._retry.longest_call

    def interrupt(self) -> None:
        """Ends a call that another thread is in, and refuses every later one.

        A statement under way is cancelled: it was done, and its answer comes, or it fails and has
        changed nothing.
        """
        self._interrupted.set()
        self._woken.set()
        connection = self._connection
        if connection is not None:
            cancel(connection, CONNECT_TIMEOUT_SECONDS)

    def hurry(self, within: float | None = None) -> None:
        """Ends the patience with a lease: it is not waited for longer than `within` from now.

        By default as long as any other call is tried; so long are later calls tried, too.
        """
        self._latest = elapsed() + (self._retry.within if within is None else within)
        self._woken.set()
        for other in list(self._followers):
            other.hurry(self._latest - elapsed())

    def follow(self, other: Session) -> None:
        """Has `other.hurry` hurry this session as well, also when that was said before."""
        self._latest = other._latest
        other._followers.add(self)

    def close(self) -> None:
        """Closes the connection if one is open; a later `run` opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def leave_parents_connection(self) -> None:
        """Begins anew in a forked child.

        A thread of the parent may have held the lock, and nothing of the child's may be spoken
        into the parent's connection. Only the child's descriptor of it is closed: the server must
        see the parent's end when the parent ends.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                os.close(connection.pgconn.socket)
        self._begin()

    def _open(self, name: str, longest: float) -> Connection:
        connection = self._connection
        if not self._interrupted.is_set():
            if connection is not None and not connection.closed:
                return connection
            connection = self._connection = self._connect(longest)
            # Asked again: opening takes its time.
            if not self._interrupted.is_set():
                return connection
        raise LedgerError(f"{name} was interrupted")

    def _connect(self, longest: float) -> Connection:
        conninfo = self._conninfo
        if self._wants_writes:
            conninfo = _where_writes_are_taken(resolve_conninfo(conninfo))
        seconds = longest if longest < CONNECT_TIMEOUT_SECONDS else None
        connection = connect(conninfo, self._on_notice, connect_seconds=seconds)
        connection.asks_read_committed = self._asks_read_committed
        connection.preparing = self._preparing
        return connection

    def _look(self, connection: WatchedConnection) -> psycopg.Connection[Any]:
        """Opens a second connection to the very server that a call waits for."""
        info = connection.info
        address: dict[str, str | int] = {
            "host": info.host,
            "port": info.port,
            "target_session_attrs": "any",
        }
        if info.hostaddr:
            address["hostaddr"] = info.hostaddr
        text = make_conninfo(resolve_conninfo(self._conninfo), **address)
        second = connect(text, lambda _severity, _message: None, connect_seconds=LOOK_SECONDS)
        ends_at = elapsed() + LOOK_SECONDS

        def give_up() -> None:
            if elapsed() > ends_at:
                raise TookTooLong("the look was not answered")

        second.on_silence = give_up
        return second

    def _is_refused_for_isolation(
        self, error: psycopg.DatabaseError, connection: Connection
    ) -> bool:
        """Tells whether the refused call is to be made again in READ COMMITTED.

        A default of the role or the database says another level. Asked only when a call was
        refused, so that the usual default costs nothing.
        """
        if error.sqlstate != "RL005" or connection.asks_read_committed:
            return False
        row = connection.execute(queries.DEFAULT_ISOLATION).fetchone()
        is_other = row is not None and row[0] not in ("read committed", "read uncommitted")
        self._asks_read_committed = connection.asks_read_committed = is_other
        return is_other

    def _after_failure(self, error: psycopg.Error) -> None:
        """Leaves no half-open transaction and no half-dead connection to the next try."""
        if is_read_only(error):
            self._wants_writes = True
        if self._connection is None:
            return
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._connection.info.transaction_status != idle or is_session_gone(error):
            self._connection.close()
            self._connection = None

    def _described(
        self, error: psycopg.Error, tried: int | None, *, is_doubtful: bool = False
    ) -> LedgerError:
        described = from_psycopg(error)
        if not isinstance(described, LedgerUnavailable):
            return described
        if isinstance(error, Unconfirmed):
            return LedgerUnavailable(
                described.message,
                hint="See to the standby for which synchronous_standby_names waits.",
            )
        if is_doubtful:
            return LedgerUnavailable(
                f"the connection to the ledger's database was lost before it answered, and whether "
                f"this was done is not known: {described.message}",
                sqlstate=described.sqlstate,
                hint="Look at the records (`record-ledger history`) before you call it again.",
            )
        tries = f" after {tried} tries" if tried is not None and tried > 1 else ""
        what = "takes no writes" if is_read_only(error) else "cannot be reached"
        hint = described.hint or advice(described.sqlstate)
        if isinstance(error, TookTooLong):
            what = "took too long"
            hint = "Another session may hold a lock that it waits for: `record-ledger doctor`."
        elif described.sqlstate is None and "target_session_attrs" in conninfo_to_dict(
            resolve_conninfo(self._conninfo)
        ):
            hint = f"{hint} With its target_session_attrs, none of its servers may be the one."
        return LedgerUnavailable(
            f"the ledger's database {what}{tries}: {described.message}",
            sqlstate=described.sqlstate,
            hint=hint,
        )


def _unconfirmed(name: str) -> Unconfirmed:
    """Returns what a call fails with that a failover would undo: it waits for the standby again."""
    return Unconfirmed(
        f"{name}: it was done, but no standby has confirmed it: waiting for that was cancelled"
    )


class _Failed(Exception):
    """Carries what the driver raised out of one try."""

    def __init__(self, cause: psycopg.Error, *, is_sent: bool) -> None:
        super().__init__()
        self.cause = cause
        self.is_sent = is_sent


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _begin_in_child() -> None:
    for session in list(_sessions):
        session.leave_parents_connection()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def _where_writes_are_taken(conninfo: str) -> str:
    """Returns the connection string that finds, among several hosts, the one that takes writes.

    The server that we were on has stopped taking them: the next one may have its place. One that
    names `target_session_attrs`, or one host only, stays as it is.
    """
    given = conninfo_to_dict(conninfo)
    hosts = str(given.get("host") or given.get("hostaddr") or "")
    if "," not in hosts or "target_session_attrs" in given:
        return conninfo
    return make_conninfo(conninfo, target_session_attrs="read-write")


def _without_password(error: psycopg.Error) -> psycopg.Error:
    """Redacts the driver's own message too: tracebacks print the whole chain of causes."""
    error.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in error.args)
    return error
