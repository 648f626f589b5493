"""The record ledger inside Airflow, from 2.11 on: tasks, operators, a sensor, leases, a hook.

Everything is imported from here, and only when first used. No module of this package connects to
anything while a DAG file is parsed; the driver itself is imported by the tasks that need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assets import pipeline_asset
    from .bash import RecordLedgerBashOperator
    from .claims import HeldClaim, keeping_claim, keeps_claim
    from .context import task_run_id
    from .counting import observe_record
    from .ending import CompleteRecordOperator, FailRecordOperator
    from .hook import RecordLedgerHook
    from .passing import PassValidRecordsOperator, StoreNewAndPassValidRecordOperator
    from .sensors import ValidRecordSensor
    from .tasks import (
        complete_record,
        fail_record,
        pass_valid_records,
        store_new_and_pass_valid_record,
        wait_for_valid_record,
    )
    from .triggers import ValidRecordTrigger

__all__ = [
    "CompleteRecordOperator",
    "FailRecordOperator",
    "HeldClaim",
    "PassValidRecordsOperator",
    "RecordLedgerBashOperator",
    "RecordLedgerHook",
    "StoreNewAndPassValidRecordOperator",
    "ValidRecordSensor",
    "ValidRecordTrigger",
    "complete_record",
    "fail_record",
    "keeping_claim",
    "keeps_claim",
    "observe_record",
    "pass_valid_records",
    "pipeline_asset",
    "store_new_and_pass_valid_record",
    "task_run_id",
    "wait_for_valid_record",
]

_MODULES = {
    "assets": ("pipeline_asset",),
    "bash": ("RecordLedgerBashOperator",),
    "claims": ("HeldClaim", "keeping_claim", "keeps_claim"),
    "context": ("task_run_id",),
    "counting": ("observe_record",),
    "ending": ("CompleteRecordOperator", "FailRecordOperator"),
    "hook": ("RecordLedgerHook",),
    "passing": ("PassValidRecordsOperator", "StoreNewAndPassValidRecordOperator"),
    "sensors": ("ValidRecordSensor",),
    "tasks": (
        "complete_record",
        "fail_record",
        "pass_valid_records",
        "store_new_and_pass_valid_record",
        "wait_for_valid_record",
    ),
    "triggers": ("ValidRecordTrigger",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
