"""A table of a PostgreSQL database as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Identifier

from record_ledger.moving.databases import database_of, failed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.sql import Composable

    from record_ledger.ledger import RecordLedger
    from record_ledger.moving.settings import Settings
    from record_ledger.records import Record

# Whatever the type of the column, the operators are the catalogue's: one in a schema of the user's
# path that fits that type better would run with the user's rights.
_IN_WINDOW = """
from {table} as t
where {column} operator(pg_catalog.>=) %(from)s and {column} operator(pg_catalog.<) %(to)s
"""
_COUNT = SQL("select pg_catalog.count(*)" + _IN_WINDOW)
_READ = SQL("select pg_catalog.to_jsonb(t)::text" + _IN_WINDOW)


def from_settings(settings: Settings, ledger: RecordLedger) -> PostgresSource:
    """Returns the source that a definition's table describes: `table`, `time_column`, `dsn`.

    Without a `dsn` it reads in the ledger's own database.
    """
    table, time_column = settings.text("table"), settings.text("time_column")
    connect = database_of(settings, ledger)
    settings.check()
    return PostgresSource(connect, table, time_column)


class PostgresSource:
    """Reads the rows of a table whose `time_column` lies in the window.

    Each row is a JSON object by its columns' names. A window is read in one snapshot, through a
    cursor on the server. `connect` opens a psycopg connection; each call opens one and closes it.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        table: str,
        time_column: str,
        *,
        batch_rows: int = 5000,
    ) -> None:
        self._connect = connect
        self._where = f"source table {table}"
        self._batch_rows = batch_rows
        self._names: dict[str, Composable] = {
            "table": Identifier(*table.split(".")),
            "column": Identifier("t", time_column),
        }

    def count(self, record: Record) -> int:
        """Returns how many rows the window holds now."""
        try:
            with self._connect() as connection:
                row = connection.execute(_COUNT.format(**self._names), _window(record)).fetchone()
        except psycopg.Error as error:
            raise failed_at(self._where, error) from error
        return int(row[0]) if row else 0

    def read(self, record: Record) -> Iterator[Sequence[bytes]]:
        """Yields the window's rows in batches."""
        try:
            # A cursor on the server needs a transaction; one that only reads is one snapshot.
            with (
                self._connect() as connection,
                connection.transaction(),
                connection.cursor("record_ledger_window") as cursor,
            ):
                cursor.execute(_READ.format(**self._names), _window(record))
                while rows := cursor.fetchmany(self._batch_rows):
                    yield [row[0].encode("utf-8") for row in rows]
        except psycopg.Error as error:
            raise failed_at(self._where, error) from error


def _window(record: Record) -> dict[str, Any]:
    return {"from": record["window_start_time"], "to": record["window_end_time"]}
