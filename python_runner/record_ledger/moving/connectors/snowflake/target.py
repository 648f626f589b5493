"""Snowflake as a target: COPY into a table of its own, then one transaction for the window."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snowflake import connector

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
from record_ledger.moving.errors import MoveFailed
from record_ledger.moving.protocols import Published
from record_ledger.moving.staged import check_staged, checked_chunks

from . import statements
from .calls import SnowflakeCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from record_ledger.client import RecordLedger
    from record_ledger.moving.manifest import Manifest, Part
    from record_ledger.moving.protocols import Stage
    from record_ledger.moving.settings import Settings
    from record_ledger.values import Record

# As many files as one COPY names.
_FILES = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*){0,2}\Z")
_STAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_$.]*(?:/[A-Za-z0-9_./-]+)?\Z")
# The types that columns must have. By a time without a zone two windows are one in the hour that
# comes twice.
_KEY = {"pipeline_id": ("TEXT",), "window_start_time": ("TIMESTAMP_TZ", "TIMESTAMP_LTZ")}
_PUBLISHED = {
    **_KEY,
    "claim_token": ("NUMBER",),
    "generation": ("NUMBER",),
    "published_by": ("NUMBER",),
    "digest": ("TEXT",),
    "row_count": ("NUMBER",),
}
_WORDS = {"TEXT": "varchar"}
# What decides, beside the columns' types, which instants the texts of documents become.
_SESSION = {
    "TIMEZONE": "UTC",
    "DATE_INPUT_FORMAT": "AUTO",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
}
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


def from_settings(settings: Settings, _ledger: RecordLedger) -> SnowflakeTarget:
    """Returns the target that a definition's table describes; `connection` is for the connector."""
    connection = settings.table("connection")
    table = settings.text("table")
    columns = settings.table("columns", None)
    arguments = {
        "columns": columns,
        "external_stage": settings.text("external_stage", None),
        "timeout": settings.number("timeout_seconds", 3600),
    }
    settings.check()
    settings.made("columns", lambda: checked_columns(columns))
    given = connection.get("session_parameters")
    parameters = {**_SESSION, **(given if isinstance(given, dict) else {})}
    connection = {**connection, "session_parameters": parameters}
    return settings.made(
        "table",
        lambda: SnowflakeTarget(partial(connector.connect, **connection), table, **arguments),
    )


class SnowflakeTarget:
    """Publishes windows into a table of a Snowflake database.

    The rows of a window are those with its pipeline_id (varchar) and window_start_time
    (timestamp_tz or timestamp_ltz), two columns that the table must have; a table that does not
    exist is created, with the documents in a third column, `document`. `columns` maps other columns
    to paths in a document, such as "customer.id".

    Parts are sent to a temporary internal stage of the load's own. With `external_stage`, a stage
    object of Snowflake's over the very bucket and prefix that the windows are staged in, they are
    read from there. The COPY runs asynchronously, is polled, and is cancelled after `timeout`
    seconds; so is each statement of the publication.

    `connect` opens a connection that commits by itself; each call opens one and closes it.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        table: str,
        *,
        columns: Mapping[str, str] | None = None,
        external_stage: str | None = None,
        timeout: int = 3600,
        poll_seconds: float = 1.0,
    ) -> None:
        self._connect = connect
        self._where = f"table {table}"
        self._columns = checked_columns(columns)
        self._external_stage = external_stage and external_stage.strip("@/")
        self._timeout = timeout
        self._poll_seconds = poll_seconds
        self._is_checked = False
        if self._external_stage and not _STAGE.match(self._external_stage):
            raise ValueError(f"{external_stage!r} is not valid; it must be a stage, or stage/path")
        for name in (table, *self._columns):
            if not _NAME.match(name):
                raise ValueError(f"{name!r} is not valid; it must be a plain name of Snowflake's")
        for path in self._columns.values():
            if not _PATH.match(path):
                raise ValueError(f"{path!r} is not valid; it must be a path such as customer.id")
        *self._schema, _ = table.split(".")
        self._names = {
            "table": table,
            "published": self._beside("record_ledger_published"),
            "window": statements.WINDOW,
            "start": statements.START,
        }

    def check(self, pipeline_id: str) -> None:
        """Refuses tables that no window of the pipeline could be published in; creates none.

        :raises MoveFailed: naming the table, the column, its type and what to do.
        """
        with self._session() as call:
            self._check_tables(call, pipeline_id)

    def begin(self, record: Record) -> Published | None:
        """Shuts out earlier claims on the window from now on; returns what is published of it."""
        key = _bound(record)
        with self._session() as call:
            call(statements.CREATE_PUBLISHED)
            if not self._columns:
                call(statements.CREATE_TABLE)
            if not self._is_checked:  # the catalog answers slowly
                self._check_tables(call, record["pipeline_id"])
                self._is_checked = True
            call(statements.BEGIN_CLAIM, key)
            self._check_newest(call, record)
            published = call(statements.PUBLISHED, key)
            if not published:
                return None
            ((generation, claim_token, digest),) = published
            return Published(
                int(generation),
                int(claim_token),
                digest,
                _number(call(statements.COUNT_WINDOW, key)),
            )

    def load(self, record: Record, manifest: Manifest, stage: Stage) -> int:
        """Copies the parts into a table of this claim, or takes over an earlier claim's."""
        name, rows = loaded_name(record, manifest), manifest.row_count
        loaded = self._beside(name)
        with self._session() as call:
            self._check_newest(call, record)
            for other in self._loaded_tables(call, record):
                table = self._beside(other)
                if (
                    holds_content(other, manifest)
                    and _number(call(statements.COUNT_LOADED, loaded=table)) == rows
                ):
                    if other != name:
                        call(statements.RENAME_LOADED, loaded=table, name=loaded)
                    return rows
            call(statements.CREATE_LOADED, loaded=loaded)
            if self._external_stage is not None:
                for part in manifest.parts:
                    check_staged(part, stage)
                for at in range(0, len(manifest.parts), _FILES):
                    self._copy_external(call, loaded, manifest.parts[at : at + _FILES])
            elif manifest.parts:
                call(statements.CREATE_STAGE, loaded=loaded)
                for part in manifest.parts:
                    _put(call, loaded, part, stage)
                self._copy(call, loaded, loaded, "", manifest.parts)
            return _number(call(statements.COUNT_LOADED, loaded=loaded))

    def publish(self, record: Record, manifest: Manifest) -> int:
        """Replaces exactly this window by what was loaded, in one transaction."""
        key, rows = _bound(record), manifest.row_count
        name = loaded_name(record, manifest)
        loaded = self._beside(name)
        with self._session() as call, call.transaction():
            call(statements.HOLD_CLAIM, key)
            self._check_newest(call, record)
            published = call(statements.PUBLISHED, key)
            if published and (published[0][1], published[0][2]) == (
                record["claim_token"],
                manifest.digest,
            ):
                return rows  # done before, and only the answer was lost
            if name not in self._loaded_tables(call, record):
                raise not_loaded(record, manifest, self._where)
            check_rows(_number(call(statements.COUNT_LOADED, loaded=loaded)), rows, name)
            call(statements.DELETE_WINDOW, key)
            values = [f"get_path(document, '{path}')" for path in self._columns.values()]
            inserted = call(
                statements.INSERT_WINDOW,
                key,
                loaded=loaded,
                columns=", ".join(self._columns or ["document"]),
                values=", ".join(values or ["document"]),
            )
            check_rows(_number(inserted), rows, self._where)
            # Where a type rounds their key, the next publication would not find them.
            found = _number(call(statements.COUNT_WINDOW, key))
            check_rows(found, rows, f"{self._where}, looked up by their window")
            call(statements.NOTE_PUBLISHED, {**key, "digest": manifest.digest, "row_count": rows})
        return rows

    def clean(self, record: Record) -> None:
        """Drops what this claim and earlier ones have loaded."""
        with self._session() as call:
            for name in self._loaded_tables(call, record):
                token = claim_of_loaded(name)
                if token is not None and token <= record["claim_token"]:
                    call(statements.DROP_LOADED, loaded=self._beside(name))

    # ---------------------------------------------------------------- steps
    def _check_newest(self, call: SnowflakeCalls, record: Record) -> None:
        newest = call(statements.NEWEST_CLAIM, _bound(record))[0][0]
        if newest is None or int(newest) != record["claim_token"]:
            raise later_claim(record, self._where)

    def _check_tables(self, call: SnowflakeCalls, pipeline_id: str) -> None:
        """Refuses columns that cannot tell one window from another; tables may be missing."""
        *_, name = self._names["table"].split(".")
        for table, wanted in (("record_ledger_published", _PUBLISHED), (name, _KEY)):
            found = call(statements.COLUMNS, {"name": table.upper()}, **self._places())
            columns = {str(column): rest for column, *rest in found}
            where = f"table {self._beside(table)}"
            if not columns and (table != name or not self._columns):
                continue  # `begin` creates it
            if not columns:
                raise MoveFailed(
                    f"{where} does not exist; with `columns` it has to",
                    hint="Create it with the columns pipeline_id varchar and window_start_time "
                    "timestamp_tz beside your own.",
                )
            others = [column.lower() for column in self._columns] or ["document"]
            lacking = [
                column
                for column in (*wanted, *(others if table == name else ()))
                if column not in columns
            ]
            if lacking:
                raise MoveFailed(f"{where} has no column {', '.join(lacking)}")
            for column, types in wanted.items():
                of_type, collation, length = columns[column]
                if of_type not in types:
                    raise MoveFailed(
                        f"{where}, column {column}: it is of type {of_type}; it must be "
                        f"{_WORDS.get(types[0], types[0])}",
                        hint="Snowflake changes no such type in place: create the table anew with "
                        "it.",
                    )
                if collation and str(collation).lower() != "utf8":
                    raise MoveFailed(
                        f"{where}, column {column}: its collation {collation} may take different "
                        "texts for the same, and pipelines of different names would be one",
                        hint="Create the table anew without it.",
                    )
                if column == "pipeline_id" and length and int(length) < len(pipeline_id):
                    raise MoveFailed(
                        f"{where}, column {column}: it holds {length} characters, and "
                        f"{pipeline_id!r} has {len(pipeline_id)}",
                        hint=f"Change it: alter {where} alter column pipeline_id type varchar.",
                    )

    def _loaded_tables(self, call: SnowflakeCalls, record: Record) -> list[str]:
        parameters = {"prefix": loaded_prefix(record).upper()}
        found = call(statements.LOADED_TABLES, parameters, **self._places())
        return [str(name).lower() for (name,) in found]

    def _places(self) -> dict[str, str]:
        """Returns where the catalog is, and which schema to look for in it."""
        *database, schema = self._schema or [""]
        return {
            "database": "".join(f"{one}." for one in database),
            "schema": f"upper('{schema}')" if schema else "current_schema()",
        }

    def _copy_external(self, call: SnowflakeCalls, loaded: str, parts: tuple[Part, ...]) -> None:
        """Has Snowflake read the parts where they are staged, by their names."""
        names = ", ".join("'" + part.name.replace("'", "''") + "'" for part in parts)
        self._copy(call, loaded, f"{self._external_stage}/", f"files = ({names})", parts)

    def _copy(
        self, call: SnowflakeCalls, loaded: str, stage: str, files: str, parts: tuple[Part, ...]
    ) -> None:
        """Copies what lies in a stage, and compares the rows of each file with its part's."""
        answer = call.awaited(
            statements.COPY.format(loaded=loaded, stage=stage, files=files), self._poll_seconds
        )
        rows = {_base(str(row[0])): int(row[3]) for row in answer}
        for part in parts:
            check_rows(rows.get(_base(part.name), 0), part.row_count, part.name)

    def _beside(self, name: str) -> str:
        """Returns the name of a table in the schema of the target's."""
        return ".".join([*self._schema, name])

    @contextmanager
    def _session(self) -> Iterator[SnowflakeCalls]:
        try:
            with self._connect() as connection:
                yield SnowflakeCalls(connection, self._names, self._timeout)
        except connector.errors.Error as error:
            raise MoveFailed(
                f"{self._where}: {error.msg or error}", sqlstate=error.sqlstate
            ) from error


def _put(call: SnowflakeCalls, loaded: str, part: Part, stage: Stage) -> None:
    """Sends a part to the load's own stage, after its digest was checked."""
    with tempfile.TemporaryDirectory(prefix="record-ledger-") as folder:
        path = Path(folder) / _base(part.name)
        with path.open("wb") as copy:
            for chunk in checked_chunks(part, stage):
                copy.write(chunk)
        call(statements.PUT, path=path.as_posix(), loaded=loaded)


def _bound(record: Record) -> dict[str, Any]:
    # As text, with its offset: the connector would bind a time without one. In the format of START.
    start = record["window_start_time"].astimezone(dt.timezone.utc)
    text = start.replace(tzinfo=None).isoformat(timespec="microseconds")
    return {**key_of(record), "window_start_time": f"{text}+00:00"}


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _number(rows: list[tuple[Any, ...]]) -> int:
    return int(rows[0][0])
