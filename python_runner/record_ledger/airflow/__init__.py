"""The record ledger inside Airflow, from 2.11 on: tasks, operators, a sensor, leases, a hook.

Everything is imported from here, and only when first used. No module of this package connects to
anything while a DAG file is parsed; the driver itself is imported by the tasks that need it.
"""

# ruff: noqa: I001 - a name that is imported `as` itself is one that is exported

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assets import pipeline_asset as pipeline_asset
    from .context import task_run_id as task_run_id
    from .decorators import (
        HeldClaim as HeldClaim,
        keeping_claim as keeping_claim,
        keeps_claim as keeps_claim,
        observe_record as observe_record,
    )
    from .hooks import RecordLedgerHook as RecordLedgerHook
    from .operators.bash import RecordLedgerBashOperator as RecordLedgerBashOperator
    from .operators.ending import (
        CompleteRecordOperator as CompleteRecordOperator,
        FailRecordOperator as FailRecordOperator,
    )
    from .operators.passing import (
        PassValidRecordsOperator as PassValidRecordsOperator,
        StoreNewAndPassValidRecordOperator as StoreNewAndPassValidRecordOperator,
    )
    from .sensors import ValidRecordSensor as ValidRecordSensor
    from .task_functions import (
        complete_record as complete_record,
        fail_record as fail_record,
        pass_valid_records as pass_valid_records,
        store_new_and_pass_valid_record as store_new_and_pass_valid_record,
        wait_for_valid_record as wait_for_valid_record,
    )
    from .triggers import ValidRecordTrigger as ValidRecordTrigger

# Each public name and the module that has it. The imports above are the same for type checkers.
_MODULE_OF = {
    "pipeline_asset": "assets",
    "task_run_id": "context",
    "HeldClaim": "decorators",
    "keeping_claim": "decorators",
    "keeps_claim": "decorators",
    "observe_record": "decorators",
    "RecordLedgerHook": "hooks",
    "RecordLedgerBashOperator": "operators.bash",
    "CompleteRecordOperator": "operators.ending",
    "FailRecordOperator": "operators.ending",
    "PassValidRecordsOperator": "operators.passing",
    "StoreNewAndPassValidRecordOperator": "operators.passing",
    "ValidRecordSensor": "sensors",
    "complete_record": "task_functions",
    "fail_record": "task_functions",
    "pass_valid_records": "task_functions",
    "store_new_and_pass_valid_record": "task_functions",
    "wait_for_valid_record": "task_functions",
    "ValidRecordTrigger": "triggers",
}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - derived from the table


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
