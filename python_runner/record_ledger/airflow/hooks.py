"""Turns an Airflow connection into a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
)

if TYPE_CHECKING:
    from record_ledger import RecordLedger

DEFAULT_CONN_ID = "record_ledger_default"
CONN_TYPES = ("postgres", "postgresql", "record_ledger")

# What Airflow's own PostgreSQL provider reads from a connection's extra; libpq knows none of it.
_NOT_LIBPQ = frozenset(
    {
        "aws_conn_id",
        "azure_conn_id",
        "cluster-identifier",
        "cursor",
        "enable_log_db_messages",
        "iam",
        "port",
        "profile",
        "redshift",
        "redshift-serverless",
        "sqlalchemy_query",
        "sqlalchemy_scheme",
        "workgroup-name",
    }
)


class RecordLedgerHook(BaseHook):
    """Gives tasks the ledger that an Airflow connection names.

    `conn_id` is a connection of type record_ledger, which comes with this package, or postgres;
    its extra may hold any option of libpq, such as sslmode. With `conn_id=None` no connection of
    Airflow's is read: RECORD_LEDGER_DSN and libpq's PG* variables decide, as outside of Airflow.
    """

    conn_name_attr = "conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "record_ledger"
    hook_name = "Record ledger (PostgreSQL)"

    def __init__(self, conn_id: str | None = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def get_conn(self) -> RecordLedger:
        """Returns the ledger; it connects when first used, and is to be closed (`with` does).

        :raises AirflowFailException: when the connection is missing or cannot be meant.
        """
        from record_ledger import RecordLedger  # noqa: PLC0415 - keeps the driver out of parsing

        return RecordLedger(self.conninfo())

    def conninfo(self) -> str | None:
        """Returns libpq's connection string, or None where the environment decides.

        :raises AirflowFailException: when the connection is missing or cannot be meant.
        """
        if self.conn_id is None:
            return None
        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            raise no_connection(self.conn_id) from None
        return conninfo_of(connection, self.conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Tells whether the ledger answers: behind the button of Airflow's connection form."""
        try:
            with self.get_conn() as ledger:
                count = len(ledger.pipelines())
        except Exception as error:  # noqa: BLE001 - the form shows whatever was wrong
            return False, str(error)
        return True, f"The ledger answers; it knows {count} pipelines."


def no_connection(conn_id: str) -> Exception:
    """Returns the error for a connection that is missing."""
    error: Exception = AirflowFailException(
        f"there is no Airflow connection {conn_id!r}; add one of type record_ledger that names the "
        "ledger's database, or give the task another conn_id"
    )
    return error


def conninfo_of(connection: Any, conn_id: str) -> str:
    """Returns libpq's connection string for a connection of Airflow's.

    :raises AirflowFailException: when it is of another type, or its extra holds what libpq does
        not know: a misspelt sslmode must not be passed over.
    """
    from psycopg import pq  # noqa: PLC0415 - keeps the driver out of parsing
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    if connection.conn_type not in CONN_TYPES:
        problem = (
            f"connection {conn_id!r} is of type {connection.conn_type!r}; the ledger needs one of "
            "type record_ledger or postgres"
        )
        if connection.conn_type == "generic":
            problem += (
                "; `airflow connections add` stores postgres as generic where Airflow's provider "
                "of PostgreSQL is not installed: add it as record_ledger"
            )
        raise AirflowFailException(problem)
    extra = {
        name: value
        for name, value in connection.extra_dejson.items()
        if name not in _NOT_LIBPQ and value is not None
    }
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    unknown = sorted(set(extra) - known)
    if unknown:
        raise AirflowFailException(
            f"connection {conn_id!r}: its extra holds {', '.join(unknown)}, no option of libpq"
        )
    given = {
        "host": connection.host,
        "port": connection.port,
        "user": connection.login,
        "password": connection.password,
        "dbname": connection.schema,
        **extra,
    }
    return make_conninfo(
        **{name: value for name, value in given.items() if value not in (None, "")}
    )
