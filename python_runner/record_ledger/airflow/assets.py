"""The asset by which other DAGs follow a pipeline."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import Asset


def pipeline_asset(pipeline_id: str, **options: Any) -> Asset:
    """Returns the asset of a pipeline's completed records, the same in every DAG.

    As an outlet of the task that completes, it gets an event for each completed record. The extra
    of the event has pipeline_id, window_start_time and window_end_time (ISO 8601). As a schedule
    the asset starts the DAG that follows. On Airflow 2 it is a Dataset.
    """
    return Asset(uri=f"record-ledger://pipeline/{quote(pipeline_id, safe='')}", **options)
