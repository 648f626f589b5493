"""Reads what the ledger's tasks need from the context that Airflow gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Where a work task leaves what went wrong, for the task that ends the claim.
ERROR_KEY = "record_ledger_error"

# The tasks that pass a record come before the work, whether they are setups or not.
_PASSING = {"StoreNewAndPassValidRecordOperator", "PassValidRecordsOperator", "ValidRecordSensor"}

# A task and the map index of one of its instances; -1 where it is not mapped.
Instance = tuple[str, int]


def task_run_id(context: Mapping[str, Any]) -> str:
    """Returns dag_id/run_id/task_id/map_index of the task that runs, the same for every retry.

    The map index is -1 for a task that is not mapped. In a template, for a shell:
    `{{ dag.dag_id }}/{{ run_id }}/{{ task.task_id }}/{{ ti.map_index }}`.
    """
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def is_last_try(context: Mapping[str, Any]) -> bool:
    """Tells whether Airflow would not try this task again if it failed now."""
    ti = context["ti"]
    return bool(ti.max_tries == 0 or ti.try_number > ti.max_tries)


def work_before(task: Any) -> set[str]:
    """Returns the tasks between the one that passes the record and `task`, which ends its claim.

    That is all upstream of `task` but setups and passing tasks, and what comes before those.
    """
    upstream = task.get_flat_relatives(upstream=True)
    passing = [one for one in upstream if one.is_setup or one.task_type in _PASSING]
    before = {one.task_id for one in passing}
    for one in passing:
        before.update(earlier.task_id for earlier in one.get_flat_relatives(upstream=True))
    return {one.task_id for one in upstream} - before


def states_of(task_ids: Iterable[str], context: Mapping[str, Any]) -> dict[Instance, str]:
    """Returns the states of the tasks' instances in this run.

    Of a mapped task, a mapped caller sees only the instance with its own index.
    """
    ti = context["ti"]
    wanted = set(task_ids)
    found: dict[Instance, str] = {}
    if not wanted:  # Airflow 3 would take that for all tasks
        return found
    if hasattr(ti, "get_task_states"):
        answer = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=sorted(wanted), run_ids=[ti.run_id]
        ).get(ti.run_id, {})
        found = {_instance(key, wanted): str(state) for key, state in answer.items()}
    else:  # Airflow 2, whose tasks see its database
        for one in context["dag_run"].get_task_instances():
            if one.task_id in wanted:
                found[one.task_id, one.map_index] = str(one.state)
    own = {task_id for task_id, index in found if index == ti.map_index}
    return {
        (task_id, index): state
        for (task_id, index), state in found.items()
        if task_id not in own or index == ti.map_index
    }


def error_of(instance: Instance, context: Mapping[str, Any]) -> str | None:
    """Returns what a work task that kept the claim has left about its failure, if it has."""
    task_id, map_index = instance
    text = context["ti"].xcom_pull(task_ids=task_id, key=ERROR_KEY, map_indexes=map_index)
    return str(text) if text else None


def _instance(key: str, task_ids: set[str]) -> Instance:
    """Returns the task and the map index that Airflow 3 joins into one name."""
    if key in task_ids:
        return key, -1
    task_id, _, index = key.rpartition("_")
    return task_id, int(index)
