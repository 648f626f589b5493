"""One window per run: pass a record, work on it, complete it, or fail it when the work failed."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from record_ledger.airflow import complete_record, keeps_claim, store_new_and_pass_valid_record

CONFIG = {
    "timezone": "America/Los_Angeles",
    "x_time_back": "1d",
    "granularity": "2h",
    "lease": "10m",
    "default_record": {
        "pipeline_id": "example_taskflow",
        "path": "orders/{{ target_day }}/{{ window_start_time.strftime('%H%M%z') }}.csv",
    },
}


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    default_args={"retries": 1, "retry_delay": dt.timedelta(seconds=1)},
    # To see what happens then: let the first tries fail, or let the work take its time.
    params={"failing_tries": 0, "seconds": 0},
    tags=["record-ledger", "example"],
)
def example_taskflow() -> None:
    """Copies one window per run."""
    record = store_new_and_pass_valid_record(CONFIG)

    @task
    @keeps_claim
    def copy(record: dict[str, Any], **context: Any) -> dict[str, Any]:
        print("copying", record["path"], flush=True)
        if context["ti"].try_number <= context["params"]["failing_tries"]:
            raise OSError("the disk is full")
        time.sleep(context["params"]["seconds"])
        return {"rows": 1200}

    @task
    @keeps_claim
    def check(record: dict[str, Any], copied: dict[str, Any]) -> None:
        print("checking", copied["rows"], "rows of", record["path"])

    copied = copy(record)
    check(record, copied) >> complete_record(record, detail=copied)


example_taskflow()
