"""A DAG that counts finished windows again each day, and opens those that have changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from record_ledger.airflow import RecordLedgerHook

PIPELINE = "example_recounts"


@dag(
    schedule="@daily",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    max_active_runs=1,
    # To see what happens then: let the source have other rows than were loaded.
    params={"rows": 1200},
    tags=["record-ledger", "example"],
)
def example_recounts() -> None:
    """Counts what is due, and reopens what was loaded before all of its rows had come."""

    @task
    def windows_to_count() -> list[dict[str, Any]]:
        with RecordLedgerHook().get_conn() as ledger:
            due = ledger.recount_due(PIPELINE)
        return [
            {column: window[column] for column in ("window_start_time", "window_end_time")}
            for window in due
        ]

    @task(max_active_tis_per_dag=4)
    def count_again(window: dict[str, Any], **context: Any) -> None:
        print("counting from", window["window_start_time"], "to", window["window_end_time"])
        rows = context["params"]["rows"]
        with RecordLedgerHook().get_conn() as ledger:
            ledger.observe_record(PIPELINE, window["window_start_time"], "source", rows)

    # Also on a day on which nothing is due, and after a failed count: the others were recorded.
    @task(trigger_rule="all_done")
    def reopen_changed() -> int:
        with RecordLedgerHook().get_conn() as ledger:
            return ledger.reopen_changed_records(PIPELINE)

    count_again.expand(window=windows_to_count()) >> reopen_changed()


example_recounts()
