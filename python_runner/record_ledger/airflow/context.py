"""Reads what tasks are given: by Airflow, in the context, and by one another, as a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where a work task leaves what went wrong, for the task that ends the claim.
ERROR_KEY = "record_ledger_error"

# A task and the map index of one of its instances; -1 where it is not mapped.
Instance = tuple[str, int]


def task_run_id(context: Mapping[str, Any]) -> str:
    """Returns dag_id/run_id/task_id/map_index of the task that runs, the same for every retry.

    The map index is -1 for a task that is not mapped. In a template, for a shell:
    `{{ dag.dag_id }}/{{ run_id }}/{{ task.task_id }}/{{ ti.map_index }}`.
    """
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def is_ended_later(context: Mapping[str, Any], *, may_be_tried_again: bool = True) -> bool:
    """Tells whether the claim of a task that is killed now still has a task to end it.

    That is a retry, where the task may have one, or the task that completes the record; neither
    comes when Airflow has ended the whole run, by its timeout say.
    """
    ti = context["ti"]
    if _state_of_run(ti) in ("success", "failed"):
        return False
    will_be_tried_again = may_be_tried_again and ti.max_tries > 0 and ti.try_number <= ti.max_tries
    return will_be_tried_again or any(
        one.task_type == "CompleteRecordOperator"
        for one in context["task"].get_flat_relatives(upstream=False)
    )


def _state_of_run(ti: Any) -> Any:
    """Returns the state of the task's run, equal to its name, or None where Airflow says none."""
    if not hasattr(ti, "get_dagrun_state"):  # Airflow 2
        return None
    try:
        return ti.get_dagrun_state(ti.dag_id, ti.run_id)
    except Exception:  # noqa: BLE001 - a task that is being killed does what it still can
        return None


def states_of(task_ids: Iterable[str], context: Mapping[str, Any]) -> dict[Instance, str]:
    """Returns the states of the tasks' instances in this run.

    Of a task that is mapped like the caller, a mapped caller sees only the instance with its own
    index. One that is mapped otherwise, over more than the records, it sees as a whole.
    """
    ti = context["ti"]
    wanted = set(task_ids)
    if not wanted:  # Airflow 3 would take that for all tasks
        return {}
    found = _all_states(wanted | {ti.task_id}, context)
    own = _indexes(found, ti.task_id)
    alike = {task_id for task_id in wanted if _indexes(found, task_id) == own}
    return {
        (task_id, index): state
        for (task_id, index), state in found.items()
        if task_id in wanted and (task_id not in alike or index == ti.map_index)
    }


def _all_states(task_ids: set[str], context: Mapping[str, Any]) -> dict[Instance, str]:
    ti = context["ti"]
    if not hasattr(ti, "get_task_states"):  # Airflow 2, whose tasks see its database
        return {
            (one.task_id, one.map_index): str(one.state)
            for one in context["dag_run"].get_task_instances()
            if one.task_id in task_ids
        }
    # Airflow 3 joins a task and its map index into one name. So what is called like an instance of
    # another task, copy_1 beside a mapped copy, is asked for by itself.
    alone = {task_id for task_id in task_ids if re.search(r"_\d+$", task_id)}
    found = {}
    for asked in (task_ids - alone, *({task_id} for task_id in alone)):
        if asked:
            answer = ti.get_task_states(
                dag_id=ti.dag_id, task_ids=sorted(asked), run_ids=[ti.run_id]
            ).get(ti.run_id, {})
            found.update({_instance(key, asked): str(state) for key, state in answer.items()})
    return found


def _indexes(found: Mapping[Instance, str], task_id: str) -> set[int]:
    """Returns the map indexes of a task's instances."""
    return {index for (one, index), state in found.items() if one == task_id and state != "removed"}


def _instance(key: str, task_ids: set[str]) -> Instance:
    """Returns the task and the map index that Airflow 3 joins into one name."""
    if key in task_ids:
        return key, -1
    task_id, _, index = key.rpartition("_")
    return task_id, int(index)


def passed_record(record: Any) -> Mapping[str, Any]:
    """Returns a record that was passed, whatever a task was given as one.

    :raises AirflowFailException: when it holds no claim.
    """
    if isinstance(record, Mapping) and {"pipeline_id", "claim_token"} <= record.keys():
        return record
    raise AirflowFailException(
        "record must be the dict that the passing task returned, with pipeline_id and "
        f"claim_token, not {type(record).__name__}; a template gives a dict only with "
        "render_template_as_native_obj=True"
    )


def window_of(record: Mapping[str, Any]) -> str:
    """Returns how messages call a record."""
    start = record.get("window_start_time")
    window = f"window {time_text(start)} of " if start else ""
    return f"{window}{record['pipeline_id']}"


def time_text(time: Any) -> str | None:
    """Returns a time of a record as ISO 8601 text, None for none."""
    return str(time.isoformat() if hasattr(time, "isoformat") else time) if time else None
