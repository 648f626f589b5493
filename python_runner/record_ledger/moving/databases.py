"""Opens connections to PostgreSQL databases for sources and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from record_ledger import statements
from record_ledger.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from record_ledger.ledger import RecordLedger
    from record_ledger.records import Record


def database_of(ledger: RecordLedger, dsn: str | None) -> Callable[[], psycopg.Connection[Any]]:
    """Returns what opens connections to a database; to the ledger's own without a `dsn`."""
    conninfo = ledger.conninfo if dsn is None else dsn
    return lambda: connect(conninfo)


def check_claim_in_ledger(connection: psycopg.Connection[Any], record: Record) -> None:
    """Raises in the database that holds the ledger unless the record's claim is the current one.

    Until the transaction ends, the record can be passed to nobody else.
    """
    connection.execute(
        statements.EXTEND_LEASE,
        {"pipeline_id": record["pipeline_id"], "claim_token": record["claim_token"]},
    )
