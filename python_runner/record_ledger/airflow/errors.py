"""Says what went wrong in one message, and whether Airflow should try again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from record_ledger.errors import ClaimLost, LedgerError, LedgerUnavailable
from record_ledger.visible import visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from record_ledger import RecordLedger

FINISHED = ("COMPLETED", "WAIVED")


def way_back(pipeline_id: str, task: str) -> str:
    """Returns how a record that is finished, or failed for good, is processed once more."""
    return (
        f"To process it once more, reopen it (`record-ledger reopen {pipeline_id} --from ... "
        f"--to ... --reason ...`, or reopen_records in SQL), then clear {task} with its downstream "
        "tasks."
    )


@contextmanager
def as_airflow_errors(conn_id: str | None) -> Iterator[None]:
    """Turns the ledger's errors into Airflow's, with their message and without a chain of causes.

    Airflow prints messages as they are, so control characters in them are made visible here.

    Raises AirflowFailException where no further try can help: a wrong config, a ledger that is not
    deployed, a lost claim. Else it raises AirflowException, which Airflow may try again.
    """
    try:
        yield
    except LedgerError as error:
        where = f" (connection {conn_id})" if conn_id else ""
        kind = AirflowException if can_be_tried_again(error) else AirflowFailException
        raise kind(f"{type(error).__name__}{where}: {visible_lines(str(error))}") from None


def can_be_tried_again(error: LedgerError) -> bool:
    """Tells whether the same call can succeed later, with no change by an operator."""
    if type(error) is LedgerError:
        return error.sqlstate is not None
    if not isinstance(error, LedgerUnavailable):
        return False
    import psycopg  # noqa: PLC0415 - it is loaded: the error came from it

    from record_ledger.server_errors import is_retryable  # noqa: PLC0415

    cause = error.__cause__
    # A call that took too long met a lock; a task that Airflow tries again in minutes may not.
    return not isinstance(cause, psycopg.Error) or is_retryable(cause, ends_claim=True)


def lost(error: ClaimLost, ledger: RecordLedger, record: Mapping[str, Any]) -> Exception:
    """Returns what a task whose claim is gone raises before it touches any data.

    A finished record needs no work: the task, which was perhaps cleared, is skipped and says how to
    process the record once more. Else another run has the record, or the next run can get it.
    """
    start = record.get("window_start_time")
    stored = ledger.pipeline_records(str(record["pipeline_id"]), start) if start else []
    answer: Exception
    if stored and stored[0]["status"] in FINISHED:
        answer = AirflowSkipException(
            f"window {stored[0]['window_start_time'].isoformat()} of {record['pipeline_id']} is "
            f"{stored[0]['status']}. {way_back(record['pipeline_id'], 'the task that passed it')}"
        )
    else:
        answer = AirflowFailException(
            f"{visible(error.message)}. No data was touched. To try again in this run, clear the "
            "task that passed the record, with its downstream tasks."
        )
    return answer
