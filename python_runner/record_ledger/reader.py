"""`LedgerReader`: the public views and the functions that change nothing, under the same names."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from . import logs, queries
from .connection import LONGEST_OPERATION, Connection, RetryPolicy, Session
from .errors import InvalidArgument
from .values import (
    Record,
    Time,
    parsed_time,
    record_from_json,
    row_from_view,
    stated_instant,
    time_text,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

Row = tuple[Any, ...]


class LedgerReader:
    """The half of a ledger that a member of record_ledger_reader may use: it only reads.

    Rows are dicts by the views' column names; times are pendulum DateTimes in the pipeline's zone,
    at the wall clock that the server computes. Those of a window that was cut with another zone are
    at that zone's offset. Durations are timedeltas.

    A time without an offset is the pipeline's local time, and a window without one is named by the
    clock that it was cut with. What could be two instants, or two windows, is InvalidArgument.
    """

    def __init__(
        self,
        conninfo: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        prepare: bool | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._retry = retry
        self._prepare = prepare
        self._session = Session(conninfo, retry, prepare=prepare)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; a later call would open another."""
        self._session.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # The connection stays here. The connection string goes along, with a password in it: a
        # worker of multiprocessing has to connect as this one does.
        return _opened, (type(self), self._conninfo, self._retry, self._prepare)

    @property
    def conninfo(self) -> str | None:
        """The connection string it was opened with; None leaves it to the environment."""
        return self._conninfo

    def interrupt(self) -> None:
        """Ends a call that another thread is in, and refuses every later one.

        What waits in the database is cancelled: it was done, and its answer comes, or it fails and
        has changed nothing.
        """
        self._session.interrupt()

    def new_windows(
        self,
        pipeline_id: str,
        as_of: dt.datetime | None = None,
        max_windows: int | None = None,
    ) -> list[Record]:
        """Returns the windows that are due and not stored, oldest first; only reads.

        Each has target_day, window_start_time, window_end_time and time_interval. `as_of` is the
        instant to look from, by default the server's clock.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "max_windows": max_windows}
        if as_of is None:
            return self._rows("new_windows", queries.NEW_WINDOWS, parameters)
        return self._rows("new_windows", queries.NEW_WINDOWS_AS_OF, {**parameters, "as_of": as_of})

    def oldest_pending_record(self, pipeline_id: str | None = None) -> Record | None:
        """Returns the oldest pending record of the pipeline, or of all; claims nothing."""
        data, timezone = self._one_row(
            "oldest_pending_record", queries.OLDEST_PENDING_RECORD, (pipeline_id,)
        )
        return None if data is None else record_from_json(data, timezone)

    def oldest_valid_record(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the record that each pipeline would be passed next; no row when there is none."""
        return self._rows(
            "oldest_valid_record", queries.OLDEST_VALID_RECORD, {"pipeline_id": pipeline_id}
        )

    def record_verdicts(
        self,
        pipeline_id: str | None = None,
        window_start_time: Time | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Returns every open record with its one verdict and the sentence why, oldest first.

        Of one window, when its start is given.
        """
        start = self._window(window_start_time, pipeline_id)
        parameters = {"pipeline_id": pipeline_id, "instant": start, "limit": limit}
        return self._rows("record_verdicts", queries.RECORD_VERDICTS, parameters)

    def pipeline_progress(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns where each pipeline stands: backlog, lag, what it would be passed, or why not."""
        return self._rows(
            "pipeline_progress", queries.PIPELINE_PROGRESS, {"pipeline_id": pipeline_id}
        )

    def pipelines_behind(self, limit: str, pipeline_id: str | None = None) -> list[str]:
        """Returns the pipelines whose lag is greater than a duration like '2h', as SQL compares it.

        :raises InvalidArgument: when `limit` is no duration.
        """
        self._check_duration(limit)
        parameters = {"pipeline_id": pipeline_id, "limit": limit}

        def work(connection: psycopg.Connection[Any]) -> list[str]:
            return [row[0] for row in connection.execute(queries.PIPELINES_BEHIND, parameters)]

        return self._session.run("pipelines_behind", work)

    def local_day(self, timezone: str, days_ago: int = 0) -> dt.date:
        """Returns the date in a zone by the server's clock, or the one some days before it."""
        parameters = {"timezone": timezone, "days_ago": days_ago}
        day: dt.date = self._one_row("local_day", queries.LOCAL_DAY, parameters)[0]
        return day

    def pipelines(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the registered pipelines with their configs as the ledger reads them."""
        return self._rows("pipelines", queries.PIPELINES, {"pipeline_id": pipeline_id})

    def pipeline_records(
        self,
        pipeline_id: str,
        window_start_time: Time | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Returns a pipeline's records, oldest first, or the one of a window.

        :raises UnknownPipeline: when a window is named by local time, of a pipeline that is not
            registered.
        """
        parameters = {
            "instant": self._window(window_start_time, pipeline_id),
            "pipeline_id": pipeline_id,
            "limit": limit,
        }
        return self._rows("pipeline_records", queries.PIPELINE_RECORDS, parameters)

    def record_events(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what happened to a pipeline's records, or to the one of a window, in order."""
        start = self._window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._rows("record_events", queries.RECORD_EVENTS, parameters)

    def last_run_number(self, pipeline_id: str, run_id: str) -> int:
        """Returns the greatest k for which the run `run_id/k` was passed a record, 0 for none.

        Reads the whole history of the pipeline.
        """
        parameters = {"pipeline_id": pipeline_id, "prefix": f"{run_id}/"}
        return int(self._one_row("last_run_number", queries.LAST_RUN_NUMBER, parameters)[0])

    def pipeline_events(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns what happened to the pipelines themselves: registered, reconfigured, paused."""
        return self._rows("pipeline_events", queries.PIPELINE_EVENTS, {"pipeline_id": pipeline_id})

    def plan_runs(
        self,
        pipeline_id: str,
        runs: int = 10,
        at: Time | None = None,
        workers: int = 1,
        run_duration: str | None = None,
        *,
        window_start_time: Time | None = None,
    ) -> list[Record]:
        """Returns which windows the next runs will be passed, and when, oldest run first.

        Played forward from `at` (by default now) with `workers` that ask whenever they are free and
        runs that take `run_duration` ('20m'; by default the measured median) and complete. A last
        row without run_no says why fewer runs than asked for can be foreseen. Of the others, only
        that of a window is returned when its start is given.

        :raises InvalidArgument: when a number or a duration is none that can be planned with.
        """
        if run_duration is not None:
            self._check_duration(run_duration)
        parameters = {
            "pipeline_id": pipeline_id,
            "runs": runs,
            "at": at and self._instant(at, pipeline_id),
            "instant": self._window(window_start_time, pipeline_id),
            "workers": workers,
            "run_duration": run_duration,
        }
        return self._rows("plan_runs", queries.PLAN_RUNS, parameters)

    # ---------------------------------------------------------------- times as people write them
    def pipeline_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the instant that a time of a pipeline names.

        :raises InvalidArgument: when it is not ISO 8601, or clocks show it twice.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        instant: dt.datetime = self._one_row(
            "pipeline_time", queries.PIPELINE_TIME, (pipeline_id, time_text(time))
        )[0]
        return instant

    def window_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the start of the window that a time of a pipeline names.

        :raises InvalidArgument: when it is not ISO 8601, or could be two windows.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        instant: dt.datetime = self._one_row(
            "window_time", queries.WINDOW_TIME, (pipeline_id, time_text(time))
        )[0]
        return instant

    # ---------------------------------------------------------------- how calls are made
    # Answers are binary: text would follow the session's DateStyle and IntervalStyle.
    def _check_duration(self, text: str) -> None:
        if self._one_row("duration", queries.DURATION, (text,))[0] is None:
            raise InvalidArgument(
                f"{text!r:.80} is no duration; give units, such as 2h, 1d12h or PT26H",
                sqlstate="RL005",
            )

    def _instant(self, time: Time, pipeline_id: str | None) -> dt.datetime:
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

    def _window(self, time: Time | None, pipeline_id: str | None) -> dt.datetime | None:
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
            return self._instant(time, None)
        return self.window_time(pipeline_id, time)

    def _named(self, time: Time | None, pipeline_id: str, name: str) -> dt.datetime | None:
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
            return self._instant(named, pipeline_id)
        if isinstance(named, dt.date):
            return self._instant(dt.datetime(named.year, named.month, named.day), pipeline_id)  # noqa: DTZ001
        raise InvalidArgument(
            f"{name}: {time!r:.80} is not a valid time",
            sqlstate="RL005",
            hint="Give a datetime or ISO 8601 text; without an offset it is the local time.",
        )

    def _one_row(
        self,
        name: str,
        statement: str,
        parameters: Row | dict[str, Any],
        *,
        may_run_twice: bool = True,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
    ) -> Row:
        def work(connection: Connection) -> Row:
            row: Row | None = connection.ask(statement, parameters).fetchone()
            if row is None:
                raise psycopg.DataError(f"{name} answered no row")
            return row

        return self._session.run(
            name, work, may_run_twice=may_run_twice, until=until, longest=longest
        )

    def _value(
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

    def _rows(
        self,
        name: str,
        statement: str,
        parameters: dict[str, Any],
        *,
        until: float | None = None,
        longest: float = LONGEST_OPERATION,
    ) -> list[Record]:
        bound = {**parameters, "time_columns": queries.TIME_COLUMNS_OF_VIEWS}

        def work(connection: Connection) -> list[Record]:
            with connection.ask(statement, bound, row_factory=dict_row) as cursor:
                try:
                    return [row_from_view(row) for row in cursor.fetchall()]
                except _UNREADABLE:
                    return _readable_rows(cursor, name)

        return self._session.run(name, work, until=until, longest=longest)


def _opened(
    kind: type[LedgerReader],
    conninfo: str | None,
    retry: RetryPolicy | None,
    prepare: bool | None = None,
) -> LedgerReader:
    return kind(conninfo, retry=retry, prepare=prepare)


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
