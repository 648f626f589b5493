"""A table of a PostgreSQL database as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL, Identifier

from record_ledger.moving.errors import MoveFailed

from .database import checked_name, columns_of, database_of, schema_and_name, transaction_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import psycopg
    from psycopg.sql import Composed

    from record_ledger.client import RecordLedger
    from record_ledger.moving.settings import Settings
    from record_ledger.values import Record

    from .database import Column

# Written with its schema, each name is what it says, whatever a search_path holds.
_COUNT = SQL("select pg_catalog.count(*) from {table} as t where {window}")
# Not to_jsonb(t): a column of that name would be all that is read of a row.
_READ = SQL("select pg_catalog.to_jsonb(t.*)::pg_catalog.text from {table} as t where {window}")
_OF_INSTANTS = SQL("""
{column} operator(pg_catalog.>=) %(from)s::pg_catalog.timestamptz
and {column} operator(pg_catalog.<) %(to)s::pg_catalog.timestamptz
""")
# `at time zone` gives each local time one instant, so that each row is in one window. A time that
# the clocks show twice is the later one: the earlier window may be moved while rows of the second
# hour are still written. A time that they skip is what a clock meant that was not put forward.
# The window decides by these instants, which no index on the column can find. The first two lines
# are for the index.
_OF_LOCAL_TIMES = SQL("""
{column} operator(pg_catalog.>=) %(first)s::pg_catalog.timestamp
and {column} operator(pg_catalog.<=) %(last)s::pg_catalog.timestamp
and pg_catalog.timezone(%(zone)s::pg_catalog.text, {column}::pg_catalog.timestamp)
    operator(pg_catalog.>=) %(from)s::pg_catalog.timestamptz
and pg_catalog.timezone(%(zone)s::pg_catalog.text, {column}::pg_catalog.timestamp)
    operator(pg_catalog.<) %(to)s::pg_catalog.timestamptz
""")
# Between the first and the last local time lie all whose instants are in the window. A time that is
# skipped has the offset of before the change: the longest one ever was a day. No offset was ever
# in force for less than a quarter of an hour.
_LOCAL_TIMES = """
select
    pg_catalog.timezone('UTC', %(from)s::pg_catalog.timestamptz)
        operator(pg_catalog.+) pg_catalog.min(o.utc_offset),
    pg_catalog.timezone('UTC', %(to)s::pg_catalog.timestamptz)
        operator(pg_catalog.+) pg_catalog.max(o.utc_offset)
from (
    select
        pg_catalog.timezone(%(zone)s::pg_catalog.text, i.instant)
            operator(pg_catalog.-) pg_catalog.timezone('UTC', i.instant) as utc_offset
    from (
        select pg_catalog.generate_series(
            %(from)s::pg_catalog.timestamptz operator(pg_catalog.-) '26 hours'::pg_catalog.interval,
            %(to)s::pg_catalog.timestamptz,
            '15 minutes'::pg_catalog.interval
        )
        union all
        select %(to)s::pg_catalog.timestamptz
    ) as i (instant)
) as o
"""
_IS_ZONE = """
select exists (
    select from pg_catalog.pg_timezone_names as z
    where z.name operator(pg_catalog.=) %(zone)s::pg_catalog.text
)
"""
# Each is an abbreviation too, and `at time zone` reads it as such: an offset without summer time.
_ABBREVIATIONS = ("CET", "EET", "MET", "WET")


def from_settings(settings: Settings, ledger: RecordLedger) -> PostgresSource:
    """Returns the source that a definition's table describes: `table`, `time_column`, `dsn` ...

    Without a `dsn` it reads in the ledger's own database.
    """
    table, time_column = settings.text("table"), settings.text("time_column")
    time_zone = settings.text("time_zone", None)
    connect = database_of(settings, ledger)
    settings.check()
    settings.made("table", lambda: schema_and_name(table))
    return settings.made(
        "time_column", lambda: PostgresSource(connect, table, time_column, time_zone=time_zone)
    )


class PostgresSource:
    """Reads the rows of a table whose `time_column` lies in the window.

    The column holds instants (timestamptz), or local times of the zone `time_zone` (timestamp or
    date), which the server converts as its `at time zone` does. Nothing is assumed about a column
    without a zone, and other types are refused.

    Each row is a JSON object by its columns' names, with its instants in UTC. A window is read in
    one snapshot, through a cursor on the server. A table without a schema in its name is one in
    `public`. `connect` opens an autocommitting psycopg connection; each call opens one and closes
    it.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        table: str,
        time_column: str,
        *,
        time_zone: str | None = None,
        batch_rows: int = 5000,
    ) -> None:
        self._connect = connect
        self._where = f"source table {table}"
        parts = schema_and_name(table)
        self._name = ".".join(parts)
        self._table = Identifier(*parts)
        self._time_column = checked_name(time_column)
        self._time_zone = time_zone
        self._is_zone_known = False
        self._batch_rows = batch_rows

    def check(self, _pipeline_id: str) -> None:
        """Refuses a table whose `time_column` cannot tell in which window a row is.

        :raises MoveFailed: naming the table, the column, its type and what to do.
        """
        with self._transaction() as connection:
            self._check_time_column(connection)

    def count(self, record: Record) -> int:
        """Returns how many rows the window holds now."""
        with self._transaction() as connection:
            window, parameters = self._window(connection, record)
            statement = _COUNT.format(table=self._table, window=window)
            row = connection.execute(statement, parameters).fetchone()
        return int(row[0]) if row else 0

    def read(self, record: Record) -> Iterator[Sequence[bytes]]:
        """Yields the window's rows in batches."""
        # A cursor on the server needs a transaction; one that only reads is one snapshot.
        with self._transaction() as connection:
            window, parameters = self._window(connection, record)
            with connection.cursor("record_ledger_window") as cursor:
                cursor.execute(_READ.format(table=self._table, window=window), parameters)
                while rows := cursor.fetchmany(self._batch_rows):
                    yield [row[0].encode("utf-8") for row in rows]

    # ---------------------------------------------------------------- steps
    def _transaction(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        return transaction_at(self._connect, self._where)

    def _window(
        self, connection: psycopg.Connection[Any], record: Record
    ) -> tuple[Composed, dict[str, Any]]:
        """Returns the condition for the rows of a window, and what it binds."""
        self._check_time_column(connection)
        column = Identifier("t", self._time_column)
        bound = {"from": record["window_start_time"], "to": record["window_end_time"]}
        if self._time_zone is None:
            return _OF_INSTANTS.format(column=column), bound
        bound["zone"] = self._time_zone
        # As values, so that partitions are left out and the planner knows how many rows there are.
        row = connection.execute(_LOCAL_TIMES, bound).fetchone()
        bound["first"], bound["last"] = row or (None, None)
        return _OF_LOCAL_TIMES.format(column=column), bound

    def _check_time_column(self, connection: psycopg.Connection[Any]) -> None:
        columns = columns_of(connection, self._table)
        if not columns:
            raise MoveFailed(f'{self._where}: relation "{self._name}" does not exist')
        if self._time_column not in columns:
            raise MoveFailed(
                f"{self._where} has no column {self._time_column}, the time_column",
                hint=f"Its columns are {', '.join(columns)}.",
            )
        self._check_type(columns[self._time_column])
        if self._time_zone is not None and not self._is_zone_known:
            self._check_zone(connection, self._time_zone)
            self._is_zone_known = True

    def _check_type(self, column: Column) -> None:
        where = f"{self._where}, column {self._time_column}"
        if column.beneath == "timestamptz":
            if self._time_zone is not None:
                raise MoveFailed(
                    f"{where}: the time_column is of type {column}, whose values are "
                    f"instants, and time_zone is {self._time_zone!r}",
                    hint="Remove time_zone: it is for columns without a zone.",
                )
        elif column.beneath in ("timestamp", "date"):
            if self._time_zone is None:
                raise MoveFailed(
                    f"{where}: the time_column is of type {column}, whose values name "
                    "no instants: in which window a row is would depend on the session's time zone",
                    hint="Give time_zone beside time_column, the zone of the clock that wrote the "
                    'values, such as "Europe/Berlin" or "UTC".',
                )
        else:
            raise MoveFailed(
                f"{where}: the time_column is of type {column}; it must be "
                "timestamptz, or timestamp or date with a time_zone",
                hint="Name another column, or a view that makes a timestamptz of this one.",
            )

    def _check_zone(self, connection: psycopg.Connection[Any], zone: str) -> None:
        if zone in _ABBREVIATIONS:
            raise MoveFailed(
                f"{self._where}: time_zone: {zone!r} is the name of a zone and an abbreviation for "
                "another one, which has no summer time",
                hint='Give a place such as "Europe/Berlin".',
            )
        # `at time zone` itself takes '+02:00' and 'UTC+2' too, whose signs mean the opposite.
        row = connection.execute(_IS_ZONE, {"zone": zone}).fetchone()
        if not (row and row[0]):
            raise MoveFailed(
                f"{self._where}: time_zone: {zone!r} is not a time zone that its server knows",
                hint='Give an IANA name such as "Europe/Berlin", in its exact spelling.',
            )
