"""How the calls of a `RecordLedger` are made: what is asked, and what the answers become."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from . import logs, queries
from .connection import LONGEST_OPERATION, Connection
from .errors import InvalidArgument
from .values import Record, Time, parsed_time, row_from_view, stated_instant, time_text

if TYPE_CHECKING:
    from .connection import Session

Row = tuple[Any, ...]

_ANSWERS = json.JSONDecoder()
# The answers of calls that exited, as they came: the same until something is due or has settled.
_exits: dict[bytes, dict[str, Any]] = {}
_MOST_EXITS = 64


class Calls:
    """Makes the calls of one ledger in its session, and reads what people write as times.

    Answers are binary: text would follow the session's DateStyle and IntervalStyle.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def one_row(
        self,
        name: str,
        statement: str,
        parameters: Row | dict[str, Any],
        *,
        may_run_twice: bool = True,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
    ) -> Row:
        """Returns the one row that a call answers.

        `until`, `longest` and `may_run_twice` are those of `Session.run`.
        """

        def work(connection: Connection) -> Row:
            row: Row | None = connection.ask(statement, parameters).fetchone()
            if row is None:
                raise psycopg.DataError(f"{name} answered no row")
            return row

        return self._session.run(
            name, work, may_run_twice=may_run_twice, until=until, longest=longest
        )

    def value(
        self,
        name: str,
        statement: str,
        parameters: Row,
        *,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
    ) -> bytes | None:
        """Returns the one value that a call of the hot path answers, as the server sent it."""
        return self._session.run(
            name, Connection.value, statement, parameters, until=until, longest=longest
        )

    def rows(
        self,
        name: str,
        statement: str,
        parameters: dict[str, Any],
        *,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
    ) -> list[Record]:
        """Returns the rows of a reader's query, with their times at the wall clocks of the server.

        A row that holds a value which Python has none for is left out, and a warning names it.
        """
        bound = {**parameters, "time_columns": queries.TIME_COLUMNS_OF_VIEWS}

        def work(connection: Connection) -> list[Record]:
            with connection.ask(statement, bound, row_factory=dict_row) as cursor:
                try:
                    return [row_from_view(row) for row in cursor.fetchall()]
                except _UNREADABLE:
                    return _readable_rows(cursor, name)

        return self._session.run(name, work, until=until, longest=longest)

    # ---------------------------------------------------------------- times as people write them
    def pipeline_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the instant that a time of a pipeline names."""
        instant: dt.datetime = self.one_row(
            "pipeline_time", queries.PIPELINE_TIME, (pipeline_id, time_text(time))
        )[0]
        return instant

    def window_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the start of the window that a time of a pipeline names."""
        instant: dt.datetime = self.one_row(
            "window_time", queries.WINDOW_TIME, (pipeline_id, time_text(time))
        )[0]
        return instant

    def instant(self, time: Time, pipeline_id: str | None) -> dt.datetime:
        """Returns the instant that a time names; the server computes local ones."""
        stated = stated_instant(time)
        if stated is not None:
            return stated
        if pipeline_id is None:
            raise InvalidArgument(
                f"{time_text(time):.80} has no offset; give one, or the pipeline whose time it is",
                sqlstate="RL005",
            )
        return self.pipeline_time(pipeline_id, time)

    def window(self, time: Time | None, pipeline_id: str | None) -> dt.datetime | None:
        """Returns a window's start; the server knows the clock that it was cut with."""
        if not isinstance(time, dt.date | str | None):
            raise InvalidArgument(
                f"window_start_time: {time!r:.80} is not a time; give that of a record, or a date, "
                "datetime or ISO 8601 text without an offset for the pipeline's local time",
                sqlstate="RL005",
            )
        stated = None if time is None else stated_instant(time)
        if time is None or stated is not None:
            return stated
        if pipeline_id is None:
            return self.instant(time, None)
        return self.window_time(pipeline_id, time)

    def named(self, time: Time | None, pipeline_id: str, name: str) -> dt.datetime | None:
        """Returns the instant that an argument names; without an offset it is a local time.

        :raises InvalidArgument: when it is not a time.
        """
        if time is None:
            return None
        try:
            named = parsed_time(time) if isinstance(time, str) else time
        except ValueError:
            named = None
        if isinstance(named, dt.datetime):
            return self.instant(named, pipeline_id)
        if isinstance(named, dt.date):
            return self.instant(dt.datetime(named.year, named.month, named.day), pipeline_id)  # noqa: DTZ001
        raise InvalidArgument(
            f"{name}: {time!r:.80} is not a valid time",
            sqlstate="RL005",
            hint="Give a datetime or ISO 8601 text; without an offset it is the local time.",
        )

    def check_duration(self, text: str) -> None:
        """Does nothing for a duration like '2h', as SQL reads it.

        :raises InvalidArgument: when it is none.
        """
        if self.one_row("duration", queries.DURATION, (text,))[0] is None:
            raise InvalidArgument(
                f"{text!r:.80} is no duration; give units, such as 2h, 1d12h or PT26H",
                sqlstate="RL005",
            )


def read_answer(answered: bytes) -> dict[str, Any]:
    """Returns an answer, which must not be changed: that of a call that exits is kept."""
    kept = _exits.get(answered)
    if kept is not None:
        return kept
    answer: dict[str, Any] = _ANSWERS.raw_decode(answered.decode())[0]
    if answer["exit_dag"] and not answer["to_build"]:
        if len(_exits) >= _MOST_EXITS:
            _exits.clear()
        _exits[answered] = answer
    return answer


# What the driver raises for a value of PostgreSQL that Python has none for: an instant after the
# year 9999, a number of thousands of digits, arrays within arrays without end.
_UNREADABLE = (psycopg.DataError, ValueError, OverflowError, RecursionError)


def _readable_rows(cursor: psycopg.Cursor[dict[str, Any]], name: str) -> list[Record]:
    """Returns the rows that can be read, and warns of each that cannot: one costs itself alone."""
    rows: list[Record] = []
    for number in range(cursor.rowcount):
        cursor.scroll(number, mode="absolute")
        try:
            row = cursor.fetchone()
            if row is not None:
                rows.append(row_from_view(row))
        except _UNREADABLE as error:
            logs.logger.warning(
                logs.line(
                    call=name,
                    event="row_not_readable",
                    row=number + 1,
                    pipeline_id=_raw_text(cursor, number, "pipeline_id"),
                    reason=str(error),
                )
            )
    return rows


def _raw_text(cursor: psycopg.Cursor[dict[str, Any]], row: int, column: str) -> str | None:
    """Returns a text of a row that the driver cannot load as a whole."""
    names = [one.name for one in cursor.description or ()]
    if cursor.pgresult is None or column not in names:
        return None
    value = cursor.pgresult.get_value(row, names.index(column))
    return None if value is None else value.decode("utf-8", "replace")
