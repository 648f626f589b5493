"""Many windows per run, by dynamic task mapping: a batch of one pipeline, or several pipelines."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.providers.common.compat.sdk import dag, task, task_group

from record_ledger.airflow import (
    complete_record,
    keeps_claim,
    pass_valid_records,
    store_new_and_pass_valid_record,
)


def hourly(pipeline_id: str) -> dict[str, Any]:
    """Returns the config of a pipeline with hourly windows."""
    return {
        "timezone": "UTC",
        "x_time_back": "1h",
        "granularity": "1h",
        "default_record": {"pipeline_id": pipeline_id},
    }


@task
@keeps_claim
def copy(record: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Copies a window, and fails at the hours that `failing_hours` names."""
    if record["window_start_time"].hour in params["failing_hours"]:
        raise OSError("the disk is full")
    return {"rows": 1200}


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    params={"failing_hours": []},
    tags=["record-ledger", "example"],
)
def example_batch() -> None:
    """Copies up to five windows at the same time; each is completed or failed by itself."""

    @task_group
    def window(record: Any) -> None:
        copy(record) >> complete_record(record)

    window.expand(record=pass_valid_records(hourly("example_batch"), record_limit=5))


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    params={"failing_hours": []},
    tags=["record-ledger", "example"],
)
def example_pipelines() -> None:
    """Copies one window of each of several pipelines; those with nothing to do are skipped."""

    @task_group
    def pipeline(config: Any) -> None:
        record = store_new_and_pass_valid_record(config)
        copy(record) >> complete_record(record)

    pipeline.expand(config=[hourly("example_north"), hourly("example_south")])


example_batch()
example_pipelines()
