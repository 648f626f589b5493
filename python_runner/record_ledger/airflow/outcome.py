"""Judges how the work on a record has ended: all that comes from passing it to ending its claim.

Nothing of it may have failed, and of the last of it, what no other work follows, at least one task
must have succeeded. So a check that stops the work, or a first step that nothing followed, does not
complete a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .context import ERROR_KEY, states_of

if TYPE_CHECKING:
    from .context import Instance

# The tasks that pass a record come before the work, whether they are setups or not.
_PASSING = {"StoreNewAndPassValidRecordOperator", "PassValidRecordsOperator", "ValidRecordSensor"}

# An instance is removed when its task is mapped anew over fewer records.
_GOOD = ("success", "skipped", "removed")


@dataclass(frozen=True)
class Work:
    """How the work has ended: `error` says what failed, `is_any` whether there is work at all."""

    error: str | None
    is_any: bool
    is_done: bool


def work_on(record: Any, context: Mapping[str, Any]) -> Work:
    """Returns how the work before the running task has ended, which ends the claim on `record`."""
    between = _between(record, context)
    states = states_of(between, context)
    work = {task_id for task_id, task in between.items() if _is_work(task)}
    last = _last({task_id: between[task_id] for task_id in work}, states)
    return Work(
        error=_error(states, between, context),
        is_any=bool(work),
        is_done=any(
            state == "success" for (task_id, _), state in states.items() if task_id in last
        ),
    )


def _between(record: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tasks from the one that passed the record to the one that runs, by their ids.

    The record's run id names the task that passed it. Where it does not, because somebody chose
    another run id, what comes before any task that can have passed it is left out.
    """
    upstream = {one.task_id: one for one in context["task"].get_flat_relatives(upstream=True)}
    passed_by = _passed_by(record, context["ti"])
    passing = (
        [upstream[passed_by]]
        if passed_by in upstream
        else [one for one in upstream.values() if one.is_setup or one.task_type in _PASSING]
    )
    before = {
        earlier.task_id for one in passing for earlier in one.get_flat_relatives(upstream=True)
    }
    return {task_id: one for task_id, one in upstream.items() if task_id not in before}


def _passed_by(record: Any, ti: Any) -> str:
    """Returns the id of the task of this run that passed the record, or nothing."""
    run_id = str(record.get("run_id")) if isinstance(record, Mapping) else ""
    own, _, rest = run_id.partition(f"{ti.dag_id}/{ti.run_id}/")
    return "" if own else rest.partition("/")[0]


def _is_work(task: Any) -> bool:
    """Tells whether a task works on records; one that passed its record by hand may do so too."""
    return not (task.is_setup or task.is_teardown or task.task_type in _PASSING)


def _last(work: dict[str, Any], states: Mapping[Instance, str]) -> set[str]:
    """Returns the work that no other work follows.

    A task that was mapped over nothing, as over the files of a window that has none, is left out.
    """
    done = {
        task_id: task
        for task_id, task in work.items()
        if not (states.get((task_id, -1)) == "skipped" and _is_expanded(task))
    }
    return {
        task_id
        for task_id, task in done.items()
        if not any(later.task_id in done for later in task.get_flat_relatives(upstream=False))
    }


def _is_expanded(task: Any) -> bool:
    is_mapped = hasattr(task, "iter_mapped_dependencies")  # on Airflow 2 and 3
    return is_mapped or task.get_closest_mapped_task_group() is not None


def _error(
    states: Mapping[Instance, str], between: Mapping[str, Any], context: Mapping[str, Any]
) -> str | None:
    """Returns what failed and how, or None when nothing did."""
    failed = {
        one for one, state in states.items() if state not in _GOOD and _counts(between[one[0]])
    }
    # What a task failed by explains more than that another could not start after it.
    causes = {one for one in failed if states[one] != "upstream_failed"} or failed
    said = [
        f"task {_name(one)} {_how(states[one], error_of(one, context))}"
        for one in sorted(causes | _given_up(states, context))
    ]
    return "; ".join(said) or None


def _given_up(states: Mapping[Instance, str], context: Mapping[str, Any]) -> set[Instance]:
    """Returns the work that waited for another try when somebody ended the run.

    Airflow has it as skipped, and it has left an error; a try that begins removes those before.
    """
    skipped = {one for one, state in states.items() if state == "skipped"}
    tasks = {task_id for task_id, _ in skipped}
    suspects = {task_id for task_id in tasks if _has_left_errors(task_id, context)}
    return {one for one in skipped if one[0] in suspects and error_of(one, context)}


def _counts(task: Any) -> bool:
    """Tells whether a task that fails fails the record: of teardowns, those that fail the run."""
    return not task.is_teardown or bool(task.on_failure_fail_dagrun)


def error_of(instance: Instance, context: Mapping[str, Any]) -> str | None:
    """Returns what a work task that kept the claim has left about its failure, if it has."""
    task_id, map_index = instance
    text = context["ti"].xcom_pull(task_ids=task_id, key=ERROR_KEY, map_indexes=map_index)
    return str(text) if text else None


def _has_left_errors(task_id: str, context: Mapping[str, Any]) -> bool:
    """Tells in one look whether any instance of a task has left an error."""
    left = context["ti"].xcom_pull(task_ids=task_id, key=ERROR_KEY)
    return any(left) if isinstance(left, list) else bool(left)


def _how(state: str, error: str | None) -> str:
    return f"failed: {error}" if error else f"ended as {state}"


def _name(instance: Instance) -> str:
    task_id, map_index = instance
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"
