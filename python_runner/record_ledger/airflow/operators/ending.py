"""The operators that end a claim: complete it when all work succeeded, else fail it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Asset,
    BaseOperator,
)

from record_ledger.airflow.context import passed_record, time_text, window_of
from record_ledger.airflow.errors import lost, told_to_airflow
from record_ledger.airflow.hooks import DEFAULT_CONN_ID, RecordLedgerHook
from record_ledger.airflow.outcome import work_on
from record_ledger.config import text_of
from record_ledger.errors import ClaimLost, CountsDisagree
from record_ledger.values import claim_of, start_of
from record_ledger.visible import visible_lines

if TYPE_CHECKING:
    from record_ledger import RecordLedger
    from record_ledger.airflow.outcome import Work


class CompleteRecordOperator(BaseOperator):
    """Completes the record when its work succeeded, and fails it when a task of that failed.

    Use it as a teardown, behind the work: `complete_record(record)`, or by hand
    `CompleteRecordOperator(...).as_teardown(setups=passed, on_failure_fail_dagrun=True)`. The work
    is all that lies between the task that passed the record and this one. The record is completed
    when none of it failed and of the last of it, what no other work follows, a task succeeded. When
    a task failed, the record is failed and this task fails as well, so that the run never looks
    finished. When the last work was skipped, the record is as if it had not been passed. Teardowns
    that do not fail the run do not fail the record, and a task mapped over nothing counts as none.

    The record is failed as well when the counts that its config requires do not agree: work tasks
    note them with `observe_record`.

    Every outlet of this task gets an asset event with the record's window, and only then.

    :param record: the record that was passed (template field)
    :param detail: what to keep with the completion: counts, paths, a dict (template field); it
        decides nothing, whatever it holds
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
        self._detail_error: str | None = None

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns `content` rendered; what keeps the detail from being so is kept in its place.

        The detail of work that failed is often not there, and its record has to be failed; that of
        work that succeeded does not decide about it.
        """
        try:
            return super().render_template(content, *args, **kwargs)
        except Exception as error:
            if content is not self.detail:
                raise
            self._detail_error = f"{type(error).__name__}: {error}"
            return content

    def execute(self, context: Mapping[str, Any]) -> None:
        """Ends the claim by how the work ended."""
        work = work_on(self.record, context)
        if self.record is None:
            _end_without_record(work)
        record = passed_record(self.record)
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            ledger.hold(record)
            if work.error:
                self._fail(ledger, record, work.error)
            if not work.is_done:
                self._release(ledger, record, work)
            try:
                ledger.complete_record(*claim_of(record), self._rendered_detail(), start_of(record))
            except CountsDisagree as error:
                self._fail(ledger, record, error.message)
        self._tell_followers(record, context)

    def _rendered_detail(self) -> Mapping[str, Any] | None:
        """Returns what is kept with the completion: a note about work never decides about it."""
        if self._detail_error is None:
            return as_detail(self.detail)
        self.log.warning("the detail could not be rendered: %s", visible_lines(self._detail_error))
        return {"detail_error": self._detail_error}

    def _release(self, ledger: RecordLedger, record: Mapping[str, Any], work: Work) -> NoReturn:
        try:
            ledger.release_record(*claim_of(record), window_start_time=start_of(record))
        except ClaimLost as error:
            raise lost(error, ledger, record) from None
        if work.is_any:
            raise AirflowSkipException(
                f"the work on {window_of(record)} was skipped: the record is released"
            )
        raise AirflowFailException(
            f"no work task lies before {self.task_id}: set one upstream of it, as in "
            f"copy(record) >> complete_record(record). The record is released"
        )

    def _fail(self, ledger: RecordLedger, record: Mapping[str, Any], error: str) -> NoReturn:
        ledger.fail_record(*claim_of(record), error, self.retry, start_of(record))
        raise AirflowFailException(
            f"{window_of(record)} is marked as failed: {visible_lines(error)}"
        ) from None

    def _tell_followers(self, record: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        start, end = record.get("window_start_time"), record.get("window_end_time")
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(
                    pipeline_id=record["pipeline_id"],
                    window_start_time=time_text(start),
                    window_end_time=time_text(end),
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
            ledger.hold(record)
            ledger.fail_record(*claim_of(record), text_of(self.error), self.retry, start_of(record))


def _end_without_record(work: Work) -> NoReturn:
    """Ends a task that was given no record: whatever passes it had none to pass, or has failed."""
    if work.error:
        raise AirflowFailException(f"no record was passed: {visible_lines(work.error)}")
    raise AirflowSkipException("no record was passed")


def as_detail(detail: Any) -> Mapping[str, Any] | None:
    """Returns what a task returned as the detail of a completion, which is a dict."""
    return detail if detail is None or isinstance(detail, Mapping) else {"result": detail}
