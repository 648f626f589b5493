"""The operators as functions, to be called like @task functions while a DAG is declared.

What a function does not know goes to the operator: task_id, conn_id, retries, pool, outlets ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import get_unique_task_id

from .operators.ending import CompleteRecordOperator, FailRecordOperator
from .operators.passing import PassValidRecordsOperator, StoreNewAndPassValidRecordOperator
from .sensors import ValidRecordSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import XComArg


def store_new_and_pass_valid_record(config: Any, **operator_arguments: Any) -> XComArg:
    """Declares the task that passes the oldest valid record, and returns the record for others.

    See `StoreNewAndPassValidRecordOperator`.
    """
    task_id = _task_id("store_new_and_pass_valid_record", operator_arguments)
    return StoreNewAndPassValidRecordOperator(
        task_id=task_id, config=config, **operator_arguments
    ).output


def pass_valid_records(
    config: Any, *, record_limit: int | str = 10, **operator_arguments: Any
) -> XComArg:
    """Declares the task that passes a batch, and returns the records to expand the work over.

    See `PassValidRecordsOperator`.
    """
    task_id = _task_id("pass_valid_records", operator_arguments)
    return PassValidRecordsOperator(
        task_id=task_id,
        config=config,
        record_limit=record_limit,
        **operator_arguments,
    ).output


def wait_for_valid_record(config: Any, **operator_arguments: Any) -> XComArg:
    """Declares the task that waits until there is a valid record and passes it.

    See `ValidRecordSensor`.
    """
    task_id = _task_id("wait_for_valid_record", operator_arguments)
    return ValidRecordSensor(task_id=task_id, config=config, **operator_arguments).output


def complete_record(
    record: Any,
    *,
    detail: Any = None,
    retry: bool = True,
    **operator_arguments: Any,
) -> CompleteRecordOperator:
    """Declares the teardown that completes the record when all work succeeded, else fails it.

    Put it behind the work: `copy(record) >> complete_record(record)`. What it does not stand behind
    is not asked after; in `with complete_record(record):` Airflow leaves out mapped tasks. The task
    that passed the record becomes its setup, so that clearing the work passes the record again. See
    `CompleteRecordOperator`.
    """
    task_id = _task_id("complete_record", operator_arguments)
    operator = CompleteRecordOperator(
        task_id=task_id,
        record=record,
        detail=detail,
        retry=retry,
        **operator_arguments,
    )
    operator.as_teardown(setups=_setups_of(record), on_failure_fail_dagrun=True)
    return operator


def fail_record(
    record: Any,
    error: Any,
    *,
    retry: bool = True,
    **operator_arguments: Any,
) -> FailRecordOperator:
    """Declares a task that fails the record on purpose. See `FailRecordOperator`."""
    task_id = _task_id("fail_record", operator_arguments)
    return FailRecordOperator(
        task_id=task_id,
        record=record,
        error=error,
        retry=retry,
        **operator_arguments,
    )


def _task_id(default: str, operator_arguments: dict[str, Any]) -> str:
    """Returns the task id to use; the default one gets a number when the DAG has it already."""
    given = operator_arguments.pop("task_id", None)
    return str(given) if given is not None else str(get_unique_task_id(default))


def _setups_of(record: Any) -> list[Any]:
    """Returns the tasks that pass the record one by one; a batch is passed once for all."""
    operators = {operator for operator, _ in getattr(record, "iter_references", list)()}
    passing = (StoreNewAndPassValidRecordOperator, ValidRecordSensor)
    return [operator for operator in operators if isinstance(operator, passing)]
