"""PostgreSQL as a target: COPY into a table of its own, then one transaction for the window."""

from __future__ import annotations

import datetime as dt
import re
import zlib
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from record_ledger import logs
from record_ledger.moving.connectors.targets import (
    check_rows,
    checked_columns,
    claim_of_loaded,
    holds_content,
    key_of,
    later_claim,
    loaded_name,
    loaded_prefix,
    not_loaded,
)
from record_ledger.moving.errors import MoveFailed, StagedDataDamaged
from record_ledger.moving.protocols import Published
from record_ledger.moving.staged import checked_chunks
from record_ledger.server_errors import from_psycopg

from . import statements
from .database import (
    check_claim_in_ledger,
    checked_name,
    columns_of,
    database_of,
    schema_and_name,
    transaction_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg.sql import Composable, Composed

    from record_ledger.client import RecordLedger
    from record_ledger.moving.manifest import Manifest, Part
    from record_ledger.moving.protocols import Stage
    from record_ledger.moving.settings import Settings
    from record_ledger.values import Record

    from .database import Column

    Connection = psycopg.Connection[Any]

_GZIP = 16 + zlib.MAX_WBITS
_COPY_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)
_LOCK_NOT_AVAILABLE = "55P03"
# A function takes 100 arguments at most.
_PAIRS = 50
# The types that columns must have, beneath a domain. By a time without a zone two windows are one
# in the hour that comes twice; by a text that ignores case or blanks two pipelines may be one.
_KEY = {"pipeline_id": ("text", "varchar"), "window_start_time": ("timestamptz",)}
_PUBLISHED = {
    **_KEY,
    "claim_token": ("int8",),
    "generation": ("int4", "int8"),
    "published_by": ("int8",),
    "digest": ("text", "varchar"),
    "row_count": ("int8",),
    "published_at": ("timestamptz",),
}
_NAMES = {"int8": "bigint", "int4": "integer"}


def from_settings(settings: Settings, ledger: RecordLedger) -> PostgresTarget:
    """Returns the target that a definition's table describes: `table`, `columns`, `dsn` ...

    Without a `dsn` it is in the ledger's own database.
    """
    connect = database_of(settings, ledger)
    is_ledgers = settings.text("dsn", None) is None
    table = settings.text("table")
    columns = settings.table("columns", None)
    timeout = settings.text("statement_timeout", "0")
    settings.check()
    settings.made("table", lambda: schema_and_name(table))
    return settings.made(
        "columns",
        lambda: PostgresTarget(
            connect,
            table,
            columns=columns,
            statement_timeout=timeout,
            check_claim=check_claim_in_ledger if is_ledgers else None,
        ),
    )


class PostgresTarget:
    """Publishes windows into a table of a PostgreSQL database.

    The rows of a window are those with its pipeline_id (text) and window_start_time (timestamptz),
    two columns that the table must have. A table that does not exist is created, with the documents
    in a third column, `document`. With `columns`, which maps columns of the table to paths in a
    document such as "customer.id", the table must exist, and its columns' types decide how values
    are read: a time without an offset as one in UTC, a date as month, day, year where its text does
    not say.

    `record_ledger_published`, beside the table, keeps the newest claim that has begun on each
    window: an earlier one can publish nothing any more. `check_claim`, if given, is called with
    the connection and the record as the last step of the publishing transaction, and raises when
    the ledger knows of a later claim: possible where both are in one database.

    `connect` opens an autocommitting psycopg connection; each call opens one and closes it.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        table: str,
        *,
        columns: Mapping[str, str] | None = None,
        statement_timeout: str = "0",
        check_claim: Callable[[Connection, Record], object] | None = None,
    ) -> None:
        self._connect = connect
        self._schema, name = schema_and_name(table)
        self._where = f"table {self._schema}.{name}"
        self._columns = {checked_name(c): path for c, path in checked_columns(columns).items()}
        self._timeout = statement_timeout
        self._check_claim = check_claim
        self._names: dict[str, Composable] = {
            "table": Identifier(self._schema, name),
            "published": Identifier(self._schema, "record_ledger_published"),
        }

    def check(self, pipeline_id: str) -> None:
        """Refuses tables that no window of the pipeline could be published in.

        What is missing is created, to see whether that is allowed, and not kept.

        :raises MoveFailed: naming the table, the column, its type and what to do.
        """
        with self._transaction() as call:
            self._prepare(call, pipeline_id)
            raise psycopg.Rollback

    def begin(self, record: Record) -> Published | None:
        """Shuts out earlier claims on the window from now on; returns what is published of it."""
        with self._transaction() as call:
            self._prepare(call, record["pipeline_id"])
            row = call(statements.BEGIN_CLAIM, key_of(record)).fetchone()
            if row is None:
                raise later_claim(record, self._where)
            generation, claim_token, digest = row
            if claim_token is None:
                return None
            # Counted, not remembered: somebody may have changed the table by hand.
            count = _number(call(statements.COUNT_WINDOW, key_of(record)))
        return Published(generation, claim_token, digest, count)

    def load(self, record: Record, manifest: Manifest, stage: Stage) -> int:
        """Copies the parts into a table of this claim, or takes over an earlier claim's."""
        name = loaded_name(record, manifest)
        loaded = self._in_schema(name)
        with self._transaction() as call:
            # Not held while the rows are on their way: a process that hangs, or whose machine is
            # lost, would keep every later claim waiting.
            self._check_newest(call, statements.NEWEST_CLAIM, record)
            found = self._loaded_tables(call, record)
            for other in found:
                if holds_content(other, manifest):
                    table = self._in_schema(other)
                    if _number(call(statements.COUNT_LOADED, loaded=table)) == manifest.row_count:
                        if other != name:
                            call(statements.RENAME_LOADED, loaded=table, name=Identifier(name))
                        self._check_newest(call, statements.HOLD_CLAIM, record)
                        return manifest.row_count
            if name in found:
                call(statements.DROP_LOADED, loaded=loaded)
            call(statements.CREATE_LOADED, loaded=loaded)
            for part in manifest.parts:
                check_rows(self._copy(call, loaded, part, stage), part.row_count, part.name)
            rows = _number(call(statements.COUNT_LOADED, loaded=loaded))
            # A later claim may have begun meanwhile, and even be done: then nothing is left here.
            self._check_newest(call, statements.HOLD_CLAIM, record)
            return rows

    def publish(self, record: Record, manifest: Manifest) -> int:
        """Replaces exactly this window by what was loaded, in one transaction."""
        name, rows = loaded_name(record, manifest), manifest.row_count
        loaded = self._in_schema(name)
        with self._transaction() as call:
            published = self._check_newest(call, statements.HOLD_CLAIM, record)
            if published == (record["claim_token"], manifest.digest):
                return rows  # done before, and only the answer was lost
            if name not in self._loaded_tables(call, record):
                raise not_loaded(record, manifest, self._where)
            check_rows(_number(call(statements.COUNT_LOADED, loaded=loaded)), rows, name)
            call(statements.DELETE_WINDOW, key_of(record))
            inserted = call(self._insert(), key_of(record), loaded=loaded, **self._column_names())
            check_rows(inserted.rowcount, rows, self._where)
            # Where a trigger, or a type that rounds, gave them another key, the next publication of
            # the window would not find them.
            found = _number(call(statements.COUNT_WINDOW, key_of(record)))
            check_rows(found, rows, f"{self._where}, looked up by their window")
            call(
                statements.NOTE_PUBLISHED,
                {**key_of(record), "digest": manifest.digest, "row_count": rows},
            )
            call(statements.DROP_LOADED, loaded=loaded)
            # Last, because it locks the record: heartbeats wait from here to the commit.
            if self._check_claim is not None:
                self._check_claim(call.connection, record)
        return rows

    def clean(self, record: Record) -> None:
        """Drops what this claim and earlier ones have loaded and not published."""
        with self._transaction() as call:
            found = self._loaded_tables(call, record)
        for name in found:
            token = claim_of_loaded(name)
            if token is None or token > record["claim_token"]:
                continue
            try:
                with self._transaction() as call:
                    call(statements.SHORT_LOCK_TIMEOUT)
                    call(statements.DROP_LOADED, loaded=self._in_schema(name))
            except MoveFailed as error:
                if error.sqlstate != _LOCK_NOT_AVAILABLE:
                    raise
                logs.logger.warning(logs.line(event="loaded_table_in_use", table=name))

    # ---------------------------------------------------------------- steps
    def _prepare(self, call: PostgresCalls, pipeline_id: str) -> None:
        """Creates the tables that are missing; refuses those that do not fit."""
        published = f"table {self._schema}.record_ledger_published"
        if not self._exists(call, "published"):
            call(statements.LOCK_CREATION, text=self._quoted(call, "published"))
            call(statements.CREATE_PUBLISHED)
            call(statements.COMMENT_PUBLISHED)
        _check_types(published, self._columns_of(call, "published"), _PUBLISHED, pipeline_id)
        try:
            call(statements.PLAN_BEGIN_CLAIM, _no_claim(pipeline_id))
        except psycopg.errors.InvalidColumnReference as error:
            raise MoveFailed(
                f"{published} has no unique key of pipeline_id and window_start_time",
                hint="Create a unique index on these two columns.",
            ) from error
        if not self._exists(call, "table"):
            if self._columns:
                raise MoveFailed(
                    f"{self._where} does not exist; with `columns` it has to",
                    hint="Create it with the columns pipeline_id text and window_start_time "
                    "timestamptz beside your own.",
                )
            call(statements.LOCK_CREATION, text=self._quoted(call, "published"))
            if not self._exists(call, "table"):
                call(statements.CREATE_TABLE)
                call(statements.CREATE_INDEX)
        there = self._columns_of(call, "table")
        lacking = [name for name in (*_KEY, *(self._columns or ["document"])) if name not in there]
        if lacking:
            raise MoveFailed(f"{self._where} has no column {', '.join(lacking)}")
        _check_types(self._where, there, _KEY, pipeline_id)

    def _columns_of(self, call: PostgresCalls, name: str) -> dict[str, Column]:
        return columns_of(call.connection, self._names[name])

    def _exists(self, call: PostgresCalls, name: str) -> bool:
        return bool(call(statements.EXISTS, text=self._quoted(call, name)).fetchone()[0])

    def _check_newest(self, call: PostgresCalls, statement: SQL, record: Record) -> Any:
        """Refuses a claim that is not the newest; returns who published the window, and what."""
        row = call(statement, key_of(record)).fetchone()
        if row is None:
            raise later_claim(record, self._where)
        return row

    def _loaded_tables(self, call: PostgresCalls, record: Record) -> list[str]:
        parameters = {"schema": self._schema, "prefix": loaded_prefix(record)}
        return [row[0] for row in call(statements.LOADED_TABLES, parameters)]

    def _copy(self, call: PostgresCalls, loaded: Composable, part: Part, stage: Stage) -> int:
        """Copies one part and returns its rows."""
        gzip = zlib.decompressobj(_GZIP)
        statement = call.composed(statements.COPY_DOCUMENTS, loaded=loaded)
        try:
            with closing(checked_chunks(part, stage)) as chunks, call.connection.cursor() as cursor:
                # The end of the chunks is before that of the COPY: what is damaged is not loaded.
                with cursor.copy(statement) as copy:
                    for chunk in chunks:
                        copy.write(gzip.decompress(chunk))
                return cursor.rowcount
        except zlib.error as error:
            raise StagedDataDamaged(f"{part.name} is not what was staged: {error}") from error
        except psycopg.DataError as error:
            line = _COPY_LINE.search(error.diag.context or "")
            raise MoveFailed(
                f"{part.name}{f', line {line[1]}' if line else ''} holds what {self._where} "
                f"cannot: {from_psycopg(error).message}",
                sqlstate=error.sqlstate,
            ) from error

    def _insert(self) -> SQL:
        return statements.INSERT_COLUMNS if self._columns else statements.INSERT_DOCUMENTS

    def _column_names(self) -> dict[str, Composable]:
        comma = SQL(", ")
        pairs = [
            statements.PAIR.format(column=Literal(column), path=Literal(path.split(".")))
            for column, path in self._columns.items()
        ]
        objects = [
            statements.OBJECT.format(pairs=comma.join(pairs[at : at + _PAIRS]))
            for at in range(0, len(pairs), _PAIRS)
        ]
        return {
            "columns": comma.join(map(Identifier, self._columns)),
            "values": comma.join(Identifier("d", column) for column in self._columns),
            "object": SQL(" || ").join(objects),
        }

    def _in_schema(self, name: str) -> Identifier:
        return Identifier(self._schema, name)

    def _quoted(self, call: PostgresCalls, name: str) -> Literal:
        """Returns the quoted name of one of our tables as a text, as to_regclass takes it."""
        return Literal(self._names[name].as_string(call.connection))

    @contextmanager
    def _transaction(self) -> Iterator[PostgresCalls]:
        with transaction_at(self._connect, self._where) as connection:
            call = PostgresCalls(connection, self._names)
            call(statements.STATEMENT_TIMEOUT, {"timeout": self._timeout})
            yield call


def _check_types(
    where: str,
    there: Mapping[str, Column],
    wanted: Mapping[str, tuple[str, ...]],
    pipeline_id: str,
) -> None:
    """Refuses columns that cannot tell one window from another, or not hold what they have to.

    :raises MoveFailed: naming the first such column, its type and how to change it.
    """
    for name, types in wanted.items():
        if name not in there:
            raise MoveFailed(f"{where} has no column {name}")
        column = there[name]
        right = _NAMES.get(types[0], types[0])
        if column.beneath not in types:
            # The session's zone would decide which instants the values become.
            using = (
                f" using {name} at time zone '...', with the zone that they were written in"
                if types == ("timestamptz",)
                else ""
            )
            raise MoveFailed(
                f"{where}, column {name}: it is of type {column}; it must be {right}",
                hint=f"Change it: alter {where} alter column {name} type {right}{using}.",
            )
        if not column.is_deterministic:
            raise MoveFailed(
                f"{where}, column {name}: its collation takes different texts for the same, and "
                "pipelines of different names would be one",
                hint=f'Change it: alter {where} alter column {name} type text collate "C".',
            )
        length = column.modifier - 4
        if name == "pipeline_id" and column.beneath == "varchar" and 0 < length < len(pipeline_id):
            raise MoveFailed(
                f"{where}, column {name}: it is of type {column}, and {pipeline_id!r} has "
                f"{len(pipeline_id)} characters",
                hint=f"Change it: alter {where} alter column pipeline_id type text.",
            )


def _no_claim(pipeline_id: str) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline_id,
        "window_start_time": dt.datetime(1900, 1, 1, tzinfo=dt.timezone.utc),
        "claim_token": 0,
    }


def _number(cursor: Any) -> int:
    return int(cursor.fetchone()[0])


class PostgresCalls:
    """Sends statements on one connection, with the target's names put in."""

    def __init__(
        self, connection: psycopg.Connection[Any], names: Mapping[str, Composable]
    ) -> None:
        self.connection = connection
        self._names = names

    def __call__(
        self, statement: SQL, parameters: Mapping[str, Any] | None = None, **names: Composable
    ) -> Any:
        """Returns the cursor of one statement."""
        return self.connection.execute(self.composed(statement, **names), parameters)

    def composed(self, statement: SQL, **names: Composable) -> Composed:
        """Returns a statement with the names put in."""
        return statement.format(**self._names, **names)
