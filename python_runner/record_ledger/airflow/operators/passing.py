"""The operators that pass records: one, or a batch for dynamic task mapping."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    conf,
)

from record_ledger.airflow.context import task_run_id
from record_ledger.airflow.errors import told_to_airflow, way_back
from record_ledger.airflow.hooks import DEFAULT_CONN_ID, RecordLedgerHook
from record_ledger.config import pipeline_id_of
from record_ledger.errors import ClaimLost
from record_ledger.values import claim_of, start_of
from record_ledger.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from record_ledger import BatchResult, PassResult

# Verdicts that only somebody's decision can change.
_UNTIL_REOPENED = ("ALREADY_DONE", "FAILED")


class LeavesConfigAlone:
    """Keeps Airflow's Jinja out of `config`, whose templates are the ledger's.

    `{{ window_start_time }}` in default_record is rendered when the record is built, and would be
    an unknown name to Airflow. A config that comes from another task's XCom is still looked up.
    """

    config: Any

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns `content` rendered, and a config as it stands."""
        if content is self.config and isinstance(content, Mapping):
            return content
        return super().render_template(content, *args, **kwargs)  # type: ignore[misc]


class StoreNewAndPassValidRecordOperator(LeavesConfigAlone, BaseOperator):
    """Hands out at most one record per task instance: the same one to each of its retries.

    Stores the windows that are due and passes the oldest valid record, which is the task's XCom:
    a dict with the record's fields, its times as DateTimes, and the claim token. With nothing to do
    the task is skipped, and with it what is downstream; the skip message is the ledger's reason.

    :param config: the pipeline's config; its templates are the ledger's (template field for XComs)
    :param conn_id: the Airflow connection of the ledger's database (template field)
    """

    template_fields: Sequence[str] = ("config", "conn_id")
    template_fields_renderers = {"config": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#dbe9f6"

    def __init__(
        self, *, config: Any, conn_id: str | None = DEFAULT_CONN_ID, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.conn_id = conn_id
        self._passed: list[dict[str, Any]] = []

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Passes a record and returns it, or skips with the reason."""
        run_id = task_run_id(context)
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            result = ledger.store_new_and_pass_valid_record(checked(self.config), run_id)
        if result.record is None:
            raise AirflowSkipException(skip_message(result, self.config))
        self._passed = [result.record]
        self.log.info("%s", visible(result.reason or ""))
        return result.record

    def on_kill(self) -> None:
        """Releases what was passed when Airflow kills the task: no work has begun on it."""
        release_all(self._passed, self.conn_id)


class PassValidRecordsOperator(LeavesConfigAlone, BaseOperator):
    """Hands out up to `record_limit` records per task instance, for dynamic task mapping.

    The XCom is a list of records, oldest first: expand the work over it. Each has a claim of its
    own, and the k-th is bound to the run id of this task and /k. A retry, or the task cleared, gets
    the same records again without those that are finished. With nothing to do the task is skipped.
    Where tasks are mapped over them, no more are passed than Airflow's max_map_length allows.

    :param config: the pipeline's config; its templates are the ledger's (template field for XComs)
    :param record_limit: 1 to 10,000 records (template field)
    :param conn_id: the Airflow connection of the ledger's database (template field)
    """

    template_fields: Sequence[str] = ("config", "record_limit", "conn_id")
    template_fields_renderers = {"config": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#dbe9f6"

    def __init__(
        self,
        *,
        config: Any,
        record_limit: int | str = 10,
        conn_id: str | None = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.record_limit = record_limit
        self.conn_id = conn_id
        self._passed: list[dict[str, Any]] = []

    def execute(self, context: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Passes the records and returns them, or skips with the reason."""
        limit = as_mappable(whole_number(self.record_limit, "record_limit"), self)
        run_id = task_run_id(context)
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            result = ledger.pass_valid_records(checked(self.config), run_id, limit)
        if not result.records:
            raise AirflowSkipException(skip_message(result, self.config))
        self._passed = result.records
        self.log.info("%d records are passed to run %s", len(result.records), run_id)
        return result.records

    def on_kill(self) -> None:
        """Releases what was passed when Airflow kills the task: no work has begun on it."""
        release_all(self._passed, self.conn_id)


def checked(config: Any) -> Mapping[str, Any]:
    """Returns a config that is one, whatever a DAG or another task gave.

    :raises AirflowFailException: when it is no mapping.
    """
    if isinstance(config, Mapping):
        return config
    raise AirflowFailException(
        f"config must be a dict, not {type(config).__name__}; see the ledger's README, chapter "
        "Config"
    )


def whole_number(value: Any, name: str) -> int:
    """Returns a number that may have been a template.

    :raises AirflowFailException: when it is none.
    """
    try:
        return int(value)
    except (TypeError, ValueError):
        raise AirflowFailException(f"{name} must be a whole number, not {value!r}") from None


def as_mappable(limit: int, task: Any) -> int:
    """Returns how many records can be passed without Airflow refusing to map tasks over them.

    It would fail the task that has passed them, and their claims would be left to their leases.
    """
    if not task.has_dag() or not any(True for _ in task.iter_mapped_dependants()):
        return limit
    longest: int = conf.getint("core", "max_map_length", fallback=1024)
    if limit > longest:
        task.log.info("record_limit %d is cut to Airflow's max_map_length, %d", limit, longest)
    return min(limit, longest)


def skip_message(result: PassResult | BatchResult, config: Mapping[str, Any]) -> str:
    """Returns why a task is skipped, and the way on where only somebody's decision helps."""
    message = f"{result.verdict}: {visible(result.reason or '')}"
    if result.verdict not in _UNTIL_REOPENED:
        return message
    return f"{message}. {way_back(pipeline_id_of(config), 'this task')}"


def release_all(records: list[dict[str, Any]], conn_id: str | None) -> None:
    """Releases records that were passed and empties the list; those that are lost stay so.

    On a connection of its own: in a signal handler, the task's may be in the middle of a call.
    """
    given_back = records[:]
    records.clear()
    if not given_back:
        return
    with told_to_airflow(conn_id), RecordLedgerHook(conn_id).get_conn() as ledger:
        for record in given_back:
            with suppress(ClaimLost):
                ledger.release_record(*claim_of(record), window_start_time=start_of(record))
