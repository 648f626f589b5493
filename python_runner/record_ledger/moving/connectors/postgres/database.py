"""Connections to the databases of sources and targets, and what the columns of their tables are."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL

from record_ledger import queries
from record_ledger.connection import connect, connect_options
from record_ledger.errors import LedgerError
from record_ledger.moving.errors import MoveFailed
from record_ledger.redaction import redact
from record_ledger.server_errors import from_psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    from psycopg.sql import Composable

    from record_ledger.client import RecordLedger
    from record_ledger.moving.settings import Settings
    from record_ledger.values import Record

# What decides how values become texts and texts become values. PGTZ, a role and a database may each
# say otherwise, and two workers would then read, or publish, something else. Names are looked up
# by the search_path as it is: functions and triggers of the tables' owners may rely on it, and the
# statements of ours name every schema.
_FIXED_SETTINGS = """
select pg_catalog.set_config(s.name, s.value, true)
from (
    values
        ('TimeZone', 'UTC'),
        ('timezone_abbreviations', 'Default'),
        ('DateStyle', 'ISO, MDY'),
        ('IntervalStyle', 'postgres'),
        ('bytea_output', 'hex'),
        ('extra_float_digits', '1'),
        ('lc_monetary', 'C'),
        ('array_nulls', 'on'),
        ('xmloption', 'content')
) as s (name, value)
"""


def database_of(settings: Settings, ledger: RecordLedger) -> Callable[[], psycopg.Connection[Any]]:
    """Returns what opens connections to the table's `dsn`; without one, to the ledger's database.

    One that cannot be read is noted as a problem.
    """
    dsn = settings.text("dsn", None)
    if dsn is None:
        return lambda: connect(ledger.conninfo)
    try:
        connect_options(dsn)
    except LedgerError as error:
        settings.problem("dsn", error.message)
    return lambda: connect(dsn)


@contextmanager
def transaction_at(
    connect: Callable[[], psycopg.Connection[Any]], where: str
) -> Iterator[psycopg.Connection[Any]]:
    """Yields a connection in a transaction that computes the same whatever the session's settings.

    They are set for the transaction alone: a pooler may give the session to somebody else
    afterwards. `where` is what errors call the table.

    :raises MoveFailed: for what the database refuses.
    """
    try:
        with connect() as connection, connection.transaction():
            connection.execute(_FIXED_SETTINGS)
            yield connection
    except psycopg.Error as error:
        raise failed_at(where, error) from error


def failed_at(where: str, error: psycopg.Error) -> LedgerError:
    """Returns the error for what a source's or a target's database answered.

    Without the ledger's hints: a table that is missing there is none of the ledger's. What the
    ledger itself refused stays as it is.
    """
    described = from_psycopg(error)
    if error.sqlstate is not None and error.sqlstate.startswith("RL"):
        return described
    hint = redact(error.diag.message_hint) if error.diag.message_hint else None
    return MoveFailed(f"{where}: {described.message}", sqlstate=error.sqlstate, hint=hint)


def check_claim_in_ledger(connection: psycopg.Connection[Any], record: Record) -> None:
    """Raises in the database that holds the ledger unless the record's claim is the current one.

    Until the transaction ends, the record can be passed to nobody else.
    """
    connection.execute(
        queries.EXTEND_LEASE,
        {
            "pipeline_id": record["pipeline_id"],
            "claim_token": record["claim_token"],
            "window_start_time": record["window_start_time"],
        },
    )


# PostgreSQL cuts a longer name without an error, and then two names may be one.
_NAME_BYTES = 63
# Of a view, a partitioned or a foreign table as well. `beneath` is the name in pg_catalog of the
# type that the column has, or that its domain is over; a type of another schema has that before it.
_COLUMNS = SQL("""
with recursive column_type (attname, attnum, declared, collation_id, type_id, modifier) as (
    select
        a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attcollation,
        a.atttypid, a.atttypmod
    from pg_catalog.pg_attribute as a
    where a.attrelid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s)
        and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
    union all
    select
        c.attname, c.attnum, c.declared, c.collation_id,
        t.typbasetype, t.typtypmod
    from column_type as c
    join pg_catalog.pg_type as t on t.oid operator(pg_catalog.=) c.type_id
    where t.typtype operator(pg_catalog.=) 'd'
)
select
    c.attname, c.declared,
    case
        when n.nspname operator(pg_catalog.<>) 'pg_catalog'
            then pg_catalog.format('%%s.%%s', n.nspname, t.typname)
        else t.typname
    end as beneath,
    c.modifier,
    exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s)
            and a.attnum operator(pg_catalog.=) c.attnum
            and a.atttypid operator(pg_catalog.<>) c.type_id
    ) as is_domain,
    not exists (
        select from pg_catalog.pg_collation as o
        where o.oid operator(pg_catalog.=) c.collation_id and not o.collisdeterministic
    ) as is_deterministic
from column_type as c
join pg_catalog.pg_type as t on t.oid operator(pg_catalog.=) c.type_id
join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) t.typnamespace
where t.typtype operator(pg_catalog.<>) 'd'
order by c.attnum
""")


@dataclass(frozen=True)
class Column:
    """One column: the type that it is declared with, and the one `beneath` its domains.

    `modifier` is the type's, such as the length of a varchar and 4; -1 without one.
    `is_deterministic` is false where its collation takes different texts for the same.
    """

    declared: str
    beneath: str
    modifier: int
    is_domain: bool
    is_deterministic: bool

    def __str__(self) -> str:
        return f"{self.declared} ({self.beneath})" if self.is_domain else self.declared


def columns_of(connection: psycopg.Connection[Any], table: Composable) -> dict[str, Column]:
    """Returns the columns of a table by their names; none when there is no such table."""
    found = connection.execute(_COLUMNS, {"table": table.as_string(connection)})
    return {name: Column(*column) for name, *column in found}


def schema_and_name(table: str) -> tuple[str, str]:
    """Returns the parts of a table's name; without a schema it is one in `public`.

    A search_path decides nothing: that of another user's session would find another table.

    :raises ValueError: when a part is longer than what PostgreSQL keeps of it.
    """
    schema, _, name = table.rpartition(".")
    return checked_name(schema or "public"), checked_name(name)


def checked_name(name: str) -> str:
    """Returns a name that PostgreSQL keeps as it is.

    :raises ValueError: when it is longer.
    """
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
        raise ValueError(
            f"{name!r} is longer than {_NAME_BYTES} bytes, and PostgreSQL would cut it; "
            "give a shorter name"
        )
    return name
