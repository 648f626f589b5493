"""A DAG that waits for its window without a worker slot, and one that follows it by its asset."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from record_ledger.airflow import (
    complete_record,
    keeps_claim,
    pipeline_asset,
    wait_for_valid_record,
)

CONFIG = {
    "timezone": "Europe/Berlin",
    "x_time_back": "15m",
    "granularity": "1h",
    "default_record": {"pipeline_id": "example_waiting", "source_name": "shop"},
}
WINDOWS = pipeline_asset("example_waiting")


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    tags=["record-ledger", "example"],
)
def example_waiting() -> None:
    """Waits until a window is stable, copies it, and updates an asset for followers."""
    record = wait_for_valid_record(CONFIG, timeout=6 * 3600, soft_fail=True)

    @task
    @keeps_claim
    def copy(record: dict[str, Any]) -> None:
        print("copying", record["window_start_time"])

    copy(record) >> complete_record(record, outlets=[WINDOWS])


@dag(
    schedule=[WINDOWS],
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    tags=["record-ledger", "example"],
)
def example_follower() -> None:
    """Runs for each completed window of example_waiting."""

    @task
    def report(**context: Any) -> list[str]:
        # Airflow 2 calls an asset a dataset.
        name = next(name for name in ("asset", "dataset") if f"triggering_{name}_events" in context)
        triggering = context[f"triggering_{name}_events"]
        return [
            event.extra["window_start_time"] for events in triggering.values() for event in events
        ]

    report()


example_waiting()
example_follower()
