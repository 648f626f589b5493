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
def told_to_airflow(conn_id: str | None) -> Iterator[None]:
    """Turns the ledger's errors into Airflow's: its message only, without a chain of causes.

    Airflow prints messages as they are, so what others wrote is made visible here.

    AirflowFailException where no further try can help (a wrong config, a ledger that is not
    deployed, a lost claim), else AirflowException, which Airflow tries again while it may.
    """
    try:
        yield
    except LedgerError as error:
        where = f" (connection {conn_id})" if conn_id else ""
        kind = AirflowException if can_be_tried_again(error) else AirflowFailException
        raise kind(f"{type(error).__name__}{where}: {visible_lines(str(error))}") from None


def can_be_tried_again(error: LedgerError) -> bool:
    """Tells whether the same call can succeed later without anybody's help."""
    if type(error) is LedgerError:
        return error.sqlstate is not None
    if not isinstance(error, LedgerUnavailable):
        return False
    import psycopg  # noqa: PLC0415 - it is loaded: the error came from it

    from record_ledger.server_errors import is_retryable  # noqa: PLC0415

    cause = error.__cause__
    # A call that took too long met a lock: a task that is tried again in minutes may not.
    return not isinstance(cause, psycopg.Error) or is_retryable(cause, ends_claim=True)


def lost(error: ClaimLost, ledger: RecordLedger, record: Mapping[str, Any]) -> Exception:
    """Returns what a task whose claim is gone raises before it touches any data.

    A record that is finished needs nothing: the task, cleared perhaps, is skipped and says how to
    process it once more. Else the record is somebody else's, or free for the next run.
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
