"""For the inside of work tasks: keeping the claim on a record meanwhile, and counting its rows."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
    get_current_context,
)

from record_ledger.errors import ClaimCancelled, ClaimLost, LedgerError, LedgerUnavailable
from record_ledger.values import claim_of, start_of
from record_ledger.visible import visible_lines

from .context import ERROR_KEY, is_ended_later, passed_record, window_of
from .errors import lost, told_to_airflow
from .hooks import DEFAULT_CONN_ID, RecordLedgerHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import EllipsisType

    from record_ledger import RecordLedger

Function = TypeVar("Function", bound="Callable[..., Any]")


class HeldClaim:
    """The claim that a work task keeps: its `record`, and the events `lost` and `cancelled`."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self.cancellation: ClaimCancelled | None = None

    def cancel(self, cancellation: ClaimCancelled | None) -> None:
        """Notes that an operator has cancelled the claim."""
        self.cancellation = cancellation
        self.cancelled.set()

    def check(self) -> None:
        """Does nothing while the claim is held and the work may go on.

        :raises AirflowFailException: once a heartbeat has found that it is lost, or cancelled.
        """
        if self.lost.is_set():
            raise AirflowFailException(
                f"the claim on {window_of(self.record)} was lost while this task worked: it was "
                "ended by somebody else, or no heartbeat came through for the length of its lease; "
                "another run may be working on it"
            )
        if self.cancellation is not None:
            raise AirflowFailException(
                f"the claim on {window_of(self.record)} was {visible_lines(str(self.cancellation))}"
            )


@contextmanager
def keeping_claim(
    record: Mapping[str, Any], *, conn_id: str | EllipsisType | None = ...
) -> Iterator[HeldClaim]:
    """Holds the claim on `record` for the length of a block, or does not let the block begin.

    The claim is checked and its lease extended before the block begins: when it is lost the task
    fails, without a retry, before it touches data (and is skipped when the record is finished).
    While the block runs, heartbeats extend the lease at every third of it and every 30 s; at its
    end it is extended once more, so that the next task has a full lease to start in. What the block
    raises goes on, and is noted for the task that ends the claim.

    The block is interrupted where it is when the claim is lost, when an operator cancels it, and
    when Airflow kills the task; then the record fails at once, unless a retry or the task that
    completes it is still to come. A cancelled one has no retry: its record has failed for good.

    Without a `conn_id`, that of the default_args of the group or the DAG is used, else
    record_ledger_default.

    :raises AirflowFailException: when the claim is lost or cancelled.
    """
    from record_ledger.heartbeat import Heartbeat  # noqa: PLC0415 - keeps the driver out of parsing

    context = get_current_context()
    conn_id = conn_id_of(conn_id, context)
    record = dict(passed_record(record))
    claim = HeldClaim(record)
    with RecordLedgerHook(conn_id).get_conn() as ledger:
        with told_to_airflow(conn_id):
            try:
                _, state = ledger.beat(*claim_of(record), start_of(record))
            except ClaimLost as error:
                raise lost(error, ledger, record) from None
            heartbeat = Heartbeat(ledger, record, claim.lost)

        def cancelled() -> None:
            claim.cancel(heartbeat.cancellation)
            _interrupt()

        try:
            if state.state == "cancelled":
                claim.cancel(ClaimCancelled.by(state.cancelled_by or "", state.reason or ""))
            claim.check()
            with _interrupted(context["task"], claim):
                heartbeat.start(on_lost=_interrupt, on_cancelled=cancelled)
                try:
                    yield claim
                finally:
                    heartbeat.stop()
            # Work that has swallowed the interruption is half done.
            claim.check()
        except BaseException as error:
            _note(error, context, ledger, claim)
            raise
        with told_to_airflow(conn_id):
            _extend_once_more(ledger, record)


def keeps_claim(
    function: Function | None = None,
    *,
    record: str = "record",
    conn_id: str | EllipsisType | None = ...,
) -> Any:
    """Makes a work function keep the claim on the record that it is given: see `keeping_claim`.

    Stands below @task: `@task`, `@keeps_claim`, `def copy(record): ...`. `record` names the
    function's parameter that holds the record.
    """

    def decorate(work: Function) -> Function:
        if hasattr(work, "expand"):
            raise TypeError("@keeps_claim stands below @task, not above it")
        signature = inspect.signature(work)
        if record not in signature.parameters:
            raise TypeError(
                f"{work.__name__} has no parameter {record!r} for the record; name the one that "
                "holds it: @keeps_claim(record='...')"
            )
        if inspect.iscoroutinefunction(work):
            raise TypeError(f"{work.__name__} is async; use `with keeping_claim(...)` inside of it")

        @wraps(work)
        def keep(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            with keeping_claim(given.arguments[record], conn_id=conn_id):
                return work(*args, **kwargs)

        return keep  # type: ignore[return-value]

    return decorate if function is None else decorate(function)


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


def _extend_once_more(ledger: RecordLedger, record: dict[str, Any]) -> None:
    """Extends the lease; work that is done is not done again for want of a database."""
    from record_ledger.heartbeat import warn  # noqa: PLC0415 - see keeping_claim

    ledger.hurry()  # the lease is held as it is: nothing is lost by going on
    try:
        ledger.extend_lease(*claim_of(record), start_of(record))
    except LedgerUnavailable as error:
        warn("extend_lease", claim_of(record), error)


def conn_id_of(given: str | EllipsisType | None, context: Any) -> str | None:
    """Returns the connection that a task uses: what it was given, else its group's or its DAG's."""
    if given is None or isinstance(given, str):
        return given
    task = context["task"]
    defaults = {**context["dag"].default_args, **getattr(task.task_group, "default_args", {})}
    # A template, where it is a template field of the operators that take it from there.
    found: str | None = task.render_template(defaults.get("conn_id", DEFAULT_CONN_ID), context)
    return found


class TaskKilled(AirflowException):
    """Airflow ended the task from outside: somebody marked or cleared it, or its worker stops."""


@contextmanager
def _interrupted(task: Any, claim: HeldClaim) -> Iterator[None]:
    """Raises in the block when Airflow kills the task: Airflow 3 would let it work on for a while.

    The signal arrives in the main thread, so the block stops where it is.
    """
    on_kill_before = task.on_kill

    def on_kill() -> None:
        claim.check()
        on_kill_before()
        raise TaskKilled("the task was killed from outside")

    task.on_kill = on_kill
    try:
        yield
    finally:
        task.on_kill = on_kill_before


def _interrupt() -> None:
    """Interrupts the work as Airflow would, where Airflow has set a handler that does so."""
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)


def _note(error: BaseException, context: Any, ledger: RecordLedger, claim: HeldClaim) -> None:
    """Leaves what went wrong for the task that ends the claim; a killed task may have to end it."""
    from record_ledger.processing import error_text  # noqa: PLC0415 - see keeping_claim

    record, cancellation = claim.record, claim.cancellation
    text = error_text(error)
    if cancellation is not None:
        text = cancellation.message
    # On Airflow 2 its own exception may come first.
    killed = isinstance(error, TaskKilled) or type(error).__name__ == "AirflowTaskTerminated"
    if not isinstance(error, (AirflowSkipException, TaskDeferred)):
        with suppress(Exception):
            context["ti"].xcom_push(key=ERROR_KEY, value=text)
    with suppress(LedgerError):
        if cancellation is not None and not is_ended_later(context, may_be_tried_again=False):
            ledger.fail_record(*claim_of(record), text, False, start_of(record))
        elif killed and not is_ended_later(context):
            ledger.fail_record(*claim_of(record), text, window_start_time=start_of(record))
        else:
            ledger.hurry()
            ledger.extend_lease(*claim_of(record), start_of(record))
