"""The wrapper of the project's first days: a task function that asks, skips or returns the record.

It uses the plain functions, so the DAG does everything by hand: the run id (a retry gets the same
record with it), the skip, and the completion. When `process` fails, no task ends the claim: its
lease runs out, and the ledger passes the record again. example_taskflow.py does all of that itself.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, dag, task

from record_ledger import complete_record, store_new_and_pass_valid_record
from record_ledger.airflow import RecordLedgerHook, task_run_id


def airflow_task_wrapper(**context: Any) -> dict[str, Any]:
    """Passes the oldest valid record to downstream tasks, or skips them."""
    config = {
        "timezone": "America/Los_Angeles",
        "x_time_back": "1d",
        "granularity": "2h",
        "default_record": {
            "source_name": "elasticsearch",
            "target_name": "snowflake",
            "pipeline_id": "example_handoff",
        },
    }
    with RecordLedgerHook().get_conn() as ledger:
        result = store_new_and_pass_valid_record(config, run_id=task_run_id(context), ledger=ledger)
    if result["exit_dag"]:
        # Skip downstream tasks
        raise AirflowSkipException("No valid record to process")
    # Pass the valid record to downstream tasks
    record: dict[str, Any] = result["record"]
    return record


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    tags=["record-ledger", "example"],
)
def example_handoff() -> None:
    """Passes, processes and completes one window per run."""

    @task
    def process(record: dict[str, Any]) -> dict[str, Any]:
        print("copying", record["window_start_time"], "to", record["window_end_time"])
        return record

    @task
    def complete(record: dict[str, Any]) -> None:
        with RecordLedgerHook().get_conn() as ledger:
            complete_record(record, detail={"rows": 1200}, ledger=ledger)

    complete(process(task(airflow_task_wrapper)()))


example_handoff()
