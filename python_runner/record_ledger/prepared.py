"""Sends the calls that a run makes again and again through libpq itself, without a cursor.

A cursor of psycopg costs its process more CPU than all else of a call that exits; the benchmark
`client` has the figures. Waiting stays psycopg's: `Connection.wait` handles signals, cancels what
an interrupt leaves behind, and lets silence be noticed. Errors are of psycopg's classes, by the
same SQLSTATE and with the same diagnostics. Whatever is not a plain parameter goes by a cursor.

Statements are prepared here and not by psycopg, which numbers them: where a pooler hands a session
on, a number would name another client's statement. These names are drawn from the text.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq
from psycopg.errors import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
    error_from_result,
)
from psycopg.waiting import Ready, Wait

from . import logs
from .errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from .waiting import WatchedConnection

PREPARE_VARIABLE = "RECORD_LEDGER_PREPARE"
_MEANT = {"": None, "auto": None, "on": True, "off": False}
# So often is a statement sent as it is: to prepare it takes up to two round trips, which a process
# that calls once or twice would pay in vain.
PREPARE_AFTER = 3

_COMMAND_OK, _TUPLES_OK = pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK
_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
_BINARY = pq.Format.BINARY
_ACTIVE = pq.TransactionStatus.ACTIVE
# Types of parameters by their OIDs in pg_type, as psycopg names them too. 0 leaves it to the cast.
_UNKNOWN, _BOOL, _INT8, _TIMESTAMPTZ = 0, 16, 20, 1184
_INT8_LIMIT = 2**63


def prepare_wanted() -> bool | None:
    """Returns what RECORD_LEDGER_PREPARE says: on, off, or auto, which is None and the default.

    :raises InvalidArgument: when the variable holds something else.
    """
    text = os.environ.get(PREPARE_VARIABLE, "")
    if text not in _MEANT:
        raise InvalidArgument(
            f"{PREPARE_VARIABLE}: {text!r:.80} is not valid; give auto, on or off",
            sqlstate="RL005",
        )
    return _MEANT[text]


class Preparing:
    """Whether a session prepares statements: always, never, or (None) where that is safe."""

    def __init__(self, wanted: bool | None = None) -> None:
        self.wanted = wanted
        self.is_given_up = False

    def give_up(self, error: psycopg.Error) -> None:
        """Ends it for the session, also for its later connections, and says so once."""
        if not self.is_given_up:
            self.is_given_up = True
            logs.unprepared(str(error))


class _Statement:
    """One statement of a connection, with the types of its parameters."""

    __slots__ = ("is_prepared", "name", "text", "types", "used")

    def __init__(self, text: str, types: tuple[int, ...]) -> None:
        first, *others = text.split("%s")
        numbered = "".join(f"${number}{part}" for number, part in enumerate(others, start=1))
        self.text = (first + numbered).encode()
        self.types = types
        drawn = hashlib.sha256(self.text + repr(types).encode()).hexdigest()
        self.name = f"record_ledger_{drawn[:32]}".encode()
        self.used = 0
        self.is_prepared = False


class HotCalls:
    """The statements that one connection sends again and again; each answers one value.

    They are prepared where the server that answers is the one that was connected to: a pooler
    announces another process id than the server's own, and may hand the next statement to another
    server. Where a prepared statement turns out to be gone, or to answer what it did not, the same
    call is sent as it is.
    """

    def __init__(self, preparing: Preparing) -> None:
        self._preparing = preparing
        self._statements: dict[tuple[str, tuple[int, ...]], _Statement] = {}
        self._is_direct: bool | None = None

    def answer(
        self,
        connection: WatchedConnection,
        statement: str,
        types: tuple[int, ...],
        sent: list[bytes | None],
    ) -> PGresult:
        """Returns the result of a statement, in binary, for parameters that `dumped` has written.

        `statement` has a `%s` for each parameter, and no other per cent sign.

        :raises psycopg.Error: what a cursor would raise.
        """
        known = self._statements.get((statement, types))
        if known is None:
            known = self._statements[statement, types] = _Statement(statement, types)
        with connection.lock:
            return self._answer(connection, known, sent)

    def _answer(
        self, connection: WatchedConnection, statement: _Statement, sent: list[bytes | None]
    ) -> PGresult:
        pgconn = connection.pgconn
        if not statement.is_prepared:
            statement.used += 1
            if statement.used > PREPARE_AFTER and self._may_prepare(connection):
                _prepare(connection, statement)
        if statement.is_prepared and not self._preparing.is_given_up:
            try:
                pgconn.send_query_prepared(statement.name, sent, result_format=_BINARY)
                return _result(connection)
            except InvalidSqlStatementName as error:
                self._preparing.give_up(error)
            except FeatureNotSupported as error:
                # "cached plan must not change result type": a deploy or ALTER TABLE came between.
                # What a routine itself cannot do comes with a context.
                if error.diag.context is not None:
                    raise
                _forget(connection, statement)
        # The server that refused it has done nothing: the only transaction is the statement's own.
        pgconn.send_query_params(statement.text, sent, statement.types, result_format=_BINARY)
        return _result(connection)

    def _may_prepare(self, connection: WatchedConnection) -> bool:
        preparing = self._preparing
        if preparing.wanted is False or preparing.is_given_up:
            return False
        if preparing.wanted:
            return True
        if self._is_direct is None:
            connection.pgconn.send_query_params(b"select pg_catalog.pg_backend_pid()", None)
            pid = _result(connection).get_value(0, 0)
            self._is_direct = pid is not None and int(pid) == connection.pgconn.backend_pid
        return self._is_direct


def _prepare(connection: WatchedConnection, statement: _Statement) -> None:
    connection.pgconn.send_prepare(statement.name, statement.text, statement.types)
    # It may be there, of this very text: left by an interrupted call, or by another of a pool.
    with suppress(DuplicatePreparedStatement):
        _result(connection)
    statement.is_prepared = True


def _forget(connection: WatchedConnection, statement: _Statement) -> None:
    statement.is_prepared, statement.used = False, 0
    connection.pgconn.send_query(b"deallocate " + statement.name)
    with suppress(InvalidSqlStatementName):
        _result(connection)


def _result(connection: WatchedConnection) -> PGresult:
    """Waits for what was sent, as psycopg waits: for signals, too."""
    pgconn = connection.pgconn
    answers = _answers(pgconn, connection.on_silence or _wait_on)
    try:
        result: PGresult = psycopg.Connection.wait(connection, answers)
    except BaseException:
        # An interrupt may end `answers` itself, between two of its steps: what is still to come
        # cannot be fetched then, and the next call gets a connection of its own.
        if pgconn.transaction_status == _ACTIVE:
            connection.close()
        raise
    status = result.status
    if status in (_TUPLES_OK, _COMMAND_OK):
        return result
    if status == _FATAL_ERROR:
        raise error_from_result(result)
    raise psycopg.InternalError(f"unexpected status of a result: {status}")


def _wait_on() -> None:
    """Is called while nothing comes, where no other call waits."""


def _answers(pgconn: PGconn, on_silence: Callable[[], None]) -> PQGen[PGresult]:
    """Sends what libpq holds and returns the first error that comes, else the last result.

    To be consumed by psycopg, as its own `generators.execute`, which it follows; `on_silence` is
    called about every tenth of a second in which nothing comes, and may end it.
    """
    if pgconn.flush():
        yield from _sending(pgconn, on_silence)
    last: PGresult | None = None
    while True:
        try:
            while pgconn.is_busy():
                if (yield Wait.R):
                    pgconn.consume_input()
                else:
                    on_silence()
            result = pgconn.get_result()
        except psycopg.DatabaseError:
            # The session ended with an error that says why, and then the connection did.
            result = None
            if last is None or last.status != _FATAL_ERROR:
                raise
        if result is None:
            break
        if last is None or last.status != _FATAL_ERROR:
            last = result
    if last is None:
        raise psycopg.InternalError("no result came")
    return last


def _sending(pgconn: PGconn, on_silence: Callable[[], None]) -> PQGen[None]:
    """Sends the rest of what the socket did not take, and reads meanwhile, so that it empties."""
    while True:
        ready = yield Wait.RW
        if not ready:
            on_silence()
            continue
        if ready & Ready.R:
            pgconn.consume_input()
        if not pgconn.flush():
            return


def dumped(parameters: Sequence[Any], sent: list[bytes | None]) -> tuple[int, ...] | None:
    """Adds the parameters as they are sent; returns their types, or None: a cursor knows more.

    :raises psycopg.DataError: when a text holds a NUL character.
    :raises UnicodeEncodeError: when a text holds what UTF-8 cannot.
    """
    types: list[int] = []
    for value in parameters:
        kind = type(value)
        if kind is str:
            if "\x00" in value:
                raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
            sent.append(value.encode())
            types.append(_UNKNOWN)
        elif value is None:
            sent.append(None)
            types.append(_UNKNOWN)
        elif kind is bool:
            sent.append(b"t" if value else b"f")
            types.append(_BOOL)
        elif kind is int and -_INT8_LIMIT <= value < _INT8_LIMIT:
            sent.append(str(value).encode())
            types.append(_INT8)
        elif isinstance(value, dt.datetime) and value.tzinfo is not None:
            sent.append(value.isoformat().encode())
            types.append(_TIMESTAMPTZ)
        else:
            return None
    return tuple(types)
