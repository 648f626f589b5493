"""The operators that end a claim: complete it when all work succeeded, else fail it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Asset,
    BaseOperator,
)

from record_ledger.errors import CountsDisagree

from .context import error_of, states_of, work_before
from .failures import told_to_airflow
from .hook import DEFAULT_CONN_ID, RecordLedgerHook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from record_ledger import RecordLedger

    from .context import Instance

# An instance is removed when its task is mapped anew over fewer records.
_GOOD = ("success", "skipped", "removed")


class CompleteRecordOperator(BaseOperator):
    """Completes the record when every work task succeeded, and fails it when one did not.

    Use it as a teardown, behind the work: `complete_record(record)`, or by hand
    `CompleteRecordOperator(...).as_teardown(setups=passed, on_failure_fail_dagrun=True)`. The work
    is all that lies between the task that passed the record and this one. When none of it failed
    and at least one task succeeded, the record is completed and this task succeeds; else this task
    fails as well, so that a run whose record is not completed never looks finished. Work that was
    skipped as a whole leaves the record as if it had not been passed.

    The record is failed as well when the counts that its config requires do not agree: work tasks
    note them with `observe_record`.

    Every outlet of this task gets an asset event with the record's window, and only then.

    :param record: the record that was passed (template field)
    :param detail: what to keep with the completion: counts, paths, a dict (template field)
    :param retry: whether a failed record may be passed again while it has attempts left
    :param conn_id: the Airflow connection of the ledger's database (template field)
    """

    template_fields: Sequence[str] = ("record", "detail", "conn_id")
    template_fields_renderers = {"record": "json", "detail": "json"}  # noqa: RUF012
    ui_color = "#d8f0dc"

    def __init__(
        self,
        *,
        record: Any,
        detail: Any = None,
        retry: bool = True,
        conn_id: str | None = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.record = record
        self.detail = detail
        self.retry = retry
        self.conn_id = conn_id

    def execute(self, context: Mapping[str, Any]) -> None:
        """Ends the claim by how the work ended."""
        record = passed_record(self.record)
        states = states_of(work_before(context["task"]), context)
        failed = {one: state for one, state in states.items() if state not in _GOOD}
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            if failed:
                self._fail(ledger, record, failed, context)
            if "success" not in states.values():
                self._release(ledger, record, skipped=bool(states))
            claim = record["pipeline_id"], record["claim_token"]
            try:
                ledger.complete_record(*claim, as_detail(self.detail))
            except CountsDisagree as error:
                ledger.fail_record(*claim, error.message, self.retry)
                raise AirflowFailException(
                    f"{window_of(record)} is marked as failed: {error.message}"
                ) from None
        self._tell_followers(record, context)

    def _release(self, ledger: RecordLedger, record: Mapping[str, Any], skipped: bool) -> NoReturn:
        ledger.release_record(record["pipeline_id"], record["claim_token"])
        if skipped:
            raise AirflowSkipException(
                f"all work on {window_of(record)} was skipped: the record is released"
            )
        raise AirflowFailException(
            f"no work task lies before {self.task_id}: set one upstream of it, as in "
            f"copy(record) >> complete_record(record). The record is released"
        )

    def _fail(
        self,
        ledger: RecordLedger,
        record: Mapping[str, Any],
        failed: Mapping[Instance, str],
        context: Mapping[str, Any],
    ) -> NoReturn:
        # What a task failed by explains more than that another could not start after it.
        causes = {one: state for one, state in failed.items() if state != "upstream_failed"}
        text = "; ".join(
            f"task {_name(one)} {_how(state, error_of(one, context))}"
            for one, state in sorted((causes or failed).items())
        )
        ledger.fail_record(record["pipeline_id"], record["claim_token"], text, self.retry)
        raise AirflowFailException(f"{window_of(record)} is marked as failed: {text}")

    def _tell_followers(self, record: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        start, end = record.get("window_start_time"), record.get("window_end_time")
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(
                    pipeline_id=record["pipeline_id"],
                    window_start_time=_text(start),
                    window_end_time=_text(end),
                )


class FailRecordOperator(BaseOperator):
    """Fails a record on purpose: behind a check that finds the data bad, say.

    The record is pending again after its backoff while it has attempts left, and `retry=False`
    spends them all. Repeating it changes nothing.

    :param record: the record that was passed (template field)
    :param error: what is noted as the reason (template field)
    :param retry: whether it may be passed again while it has attempts left
    :param conn_id: the Airflow connection of the ledger's database (template field)
    """

    template_fields: Sequence[str] = ("record", "error", "conn_id")
    template_fields_renderers = {"record": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#f6dbdb"

    def __init__(
        self,
        *,
        record: Any,
        error: Any,
        retry: bool = True,
        conn_id: str | None = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.record = record
        self.error = error
        self.retry = retry
        self.conn_id = conn_id

    def execute(self, context: Mapping[str, Any]) -> None:  # noqa: ARG002 - Airflow's signature
        """Fails the record."""
        record = passed_record(self.record)
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            ledger.fail_record(
                record["pipeline_id"], record["claim_token"], str(self.error), self.retry
            )


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
    window = f"window {_text(start)} of " if start else ""
    return f"{window}{record['pipeline_id']}"


def as_detail(detail: Any) -> Mapping[str, Any] | None:
    """Returns what a task returned as the detail of a completion, which is a dict."""
    if detail is None or isinstance(detail, Mapping):
        return detail
    return {"result": detail}


def _text(time: Any) -> str | None:
    return str(time.isoformat() if hasattr(time, "isoformat") else time) if time else None


def _how(state: str, error: str | None) -> str:
    return f"failed: {error}" if error else f"ended as {state}"


def _name(instance: Instance) -> str:
    task_id, map_index = instance
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"
