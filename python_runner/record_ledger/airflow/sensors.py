"""The sensor that waits for the next valid record, by default without a worker slot."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    timezone,
)

from record_ledger.config import pipeline_id_of
from record_ledger.visible import visible

from .context import task_run_id
from .errors import told_to_airflow
from .hooks import DEFAULT_CONN_ID, RecordLedgerHook
from .operators.passing import LeavesConfigAlone, checked, release_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from record_ledger import PassResult

# What Airflow resumes a task with whose deferral has lasted too long.
_TIME_IS_OVER = "Trigger timeout"


class ValidRecordSensor(LeavesConfigAlone, BaseSensorOperator):
    """Waits until the pipeline has a valid record, then passes it: at most one per task instance.

    It stands where `StoreNewAndPassValidRecordOperator` would, for DAGs that should wait where that
    one skips, and its XCom is the record: no other run can take it between waiting and passing.
    Deferred, it holds no worker slot; the triggerer looks again when the ledger says that a record
    can be ready, and every `poke_interval` seconds besides, for what people change meanwhile.

    :param config: the pipeline's config; its templates are the ledger's (template field for XComs)
    :param conn_id: the Airflow connection of the ledger's database (template field)
    :param deferrable: False keeps a worker slot and asks every `poke_interval` (or `mode`)
    """

    template_fields: Sequence[str] = ("config", "conn_id")
    template_fields_renderers = {"config": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#dbe9f6"

    def __init__(
        self,
        *,
        config: Any,
        conn_id: str | None = DEFAULT_CONN_ID,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.conn_id = conn_id
        self.deferrable = deferrable
        self._passed: list[dict[str, Any]] = []

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Passes a record and returns it, or waits for one."""
        if not self.deferrable:
            return super().execute(context)
        deadline = timezone.utcnow() + dt.timedelta(seconds=self.timeout)
        return self._pass_or_defer(context, deadline)

    def execute_complete(self, context: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
        """Asks again, after the triggerer has seen that it is worth asking."""
        self.log.info("the triggerer saw: %s", visible(event["why"]))
        return self._pass_or_defer(context, dt.datetime.fromisoformat(event["deadline"]))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Asks a last time when Airflow says that the time to wait is over."""
        if next_method == "__fail__" and (next_kwargs or {}).get("error") == _TIME_IS_OVER:
            over = timezone.utcnow().isoformat()
            next_method = "execute_complete"
            next_kwargs = {"event": {"why": "the time to wait is over", "deadline": over}}
        return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Mapping[str, Any]) -> Any:
        """Asks once, for the modes that hold a worker slot."""
        result = self._pass(context)
        return PokeReturnValue(is_done=result.record is not None, xcom_value=result.record)

    def on_kill(self) -> None:
        """Releases what was passed when Airflow kills the task: no work has begun on it."""
        release_all(self._passed, self.conn_id)

    def _pass_or_defer(self, context: Mapping[str, Any], deadline: dt.datetime) -> Any:
        result = self._pass(context)
        if result.record is not None:
            return result.record
        left = deadline - timezone.utcnow()
        if left <= dt.timedelta():
            kind = AirflowSkipException if self.soft_fail else AirflowSensorTimeout
            raise kind(
                f"no valid record within {self.timeout:g} s; "
                f"{result.verdict}: {visible(result.reason or '')}"
            )

        from .triggers import ValidRecordTrigger  # noqa: PLC0415 - not for parsing

        self.defer(
            trigger=ValidRecordTrigger(
                pipeline_id=pipeline_id_of(self.config),
                conn_id=self.conn_id,
                poke_interval=self.poke_interval,
                deadline=deadline.isoformat(),
            ),
            method_name="execute_complete",
            timeout=left,
        )
        return None

    def _pass(self, context: Mapping[str, Any]) -> PassResult:
        with told_to_airflow(self.conn_id), RecordLedgerHook(self.conn_id).get_conn() as ledger:
            result = ledger.store_new_and_pass_valid_record(
                checked(self.config), task_run_id(context)
            )
        self.log.info("%s: %s", result.verdict, visible(result.reason or ""))
        if result.record is not None:
            self._passed = [result.record]
        return result
