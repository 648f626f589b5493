"""A whole pipeline, a task per phase: a retry goes on where the one before it stopped."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import dag, task

from record_ledger.airflow import (
    RecordLedgerHook,
    complete_record,
    keeps_claim,
    store_new_and_pass_valid_record,
)
from record_ledger.moving import PipelineDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from record_ledger.moving import Move

PIPELINE = PipelineDefinition(
    {
        "timezone": "America/Los_Angeles",
        "x_time_back": "1d",
        "granularity": "2h",
        "default_record": {"pipeline_id": "example_pipeline"},
        # Without a dsn, both tables are in the ledger's own database. All workers see the stage.
        "source": {"kind": "postgres", "table": "example_orders", "time_column": "ordered_at"},
        "stage": {"kind": "local", "folder": "${EXAMPLE_STAGE}", "keep_days": 7},
        "target": {"kind": "postgres", "table": "example_warehouse"},
    }
)


@contextmanager
def moving() -> Iterator[Move]:
    """Yields what moves windows, with the ledger of the Airflow connection."""
    with RecordLedgerHook().get_conn() as ledger:
        yield PIPELINE.move(ledger)


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    default_args={"retries": 1, "retry_delay": dt.timedelta(seconds=1)},
    tags=["record-ledger", "example"],
)
def example_pipeline() -> None:
    """Moves one window per run."""

    @task
    def check() -> None:
        """Refuses tables that do not fit, before a record is taken."""
        with moving() as move:
            move.check("example_pipeline")

    record = store_new_and_pass_valid_record(PIPELINE.config)

    @task
    @keeps_claim
    def extract(record: dict[str, Any]) -> bool:
        """Stages the window; False when an earlier attempt has published it already."""
        with moving() as move:
            if move.published_rows(record) is not None:
                return False
            move.extract(record)
            return True

    @task
    @keeps_claim
    def load(record: dict[str, Any], is_staged: bool) -> bool:
        with moving() as move:
            if is_staged:
                move.load(record)
            return is_staged

    @task
    @keeps_claim
    def publish(record: dict[str, Any], is_loaded: bool) -> None:
        with moving() as move:
            if is_loaded:
                move.publish(record)
            move.clean(record)

    check() >> record
    publish(record, load(record, extract(record))) >> complete_record(record)


example_pipeline()
