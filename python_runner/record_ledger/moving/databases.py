"""Opens connections to PostgreSQL databases for sources and targets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from record_ledger import queries
from record_ledger.connection import connect, connect_options
from record_ledger.errors import LedgerError
from record_ledger.redaction import redact
from record_ledger.server_errors import from_psycopg

from .errors import MoveFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

    from .settings import Settings

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
