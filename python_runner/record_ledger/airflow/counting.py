"""Notes counts of the record that a work task works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import get_current_context

from .claims import conn_id_of
from .ending import passed_record
from .failures import told_to_airflow
from .hook import RecordLedgerHook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import EllipsisType


def observe_record(
    record: Mapping[str, Any],
    stage: str,
    row_count: int,
    detail: Mapping[str, Any] | None = None,
    *,
    conn_id: str | EllipsisType | None = ...,
) -> int:
    """Notes how many rows this task counted of its record at a stage: evidence for completing it.

    To be called inside of a work task. Returns the number of the observation; see
    `record_ledger.observe_record`. Without a `conn_id`, that of the default_args of the group or
    the DAG is used, else record_ledger_default.

    :raises AirflowFailException: when the claim is lost, or the count is none.
    """
    from record_ledger import observe_record as observe  # noqa: PLC0415 - keeps parsing short

    passed = passed_record(record)
    conn_id = conn_id_of(conn_id, get_current_context())
    with told_to_airflow(conn_id), RecordLedgerHook(conn_id).get_conn() as ledger:
        return observe(passed, stage, row_count, detail, ledger=ledger)
