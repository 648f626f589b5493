"""`LedgerOperator`: what a person does to records and pipelines by hand, under SQL's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import logs, queries
from .trust import LedgerTrust
from .values import Time, time_text

if TYPE_CHECKING:
    from .values import Record


# The steps that may be done twice: a second reopening, expiry or cancellation would undo what runs
# did in between.
_REPEATED = ("waive", "backfill")


class RangeStep(NamedTuple):
    """What one step of an operation on a range did, and how the next one is called."""

    changed_count: int
    # ISO 8601 in the pipeline's zone; None when this was the last step.
    go_on_from: str | None
    next_max_records: int


class LedgerOperator(LedgerTrust):
    """What operators do with a ledger: waive, reopen, expire, cancel, backfill, pause, retire.

    A range holds the records whose whole window lies in [from_time, to_time). Its times are
    datetimes, dates or ISO 8601 text; without an offset they are the pipeline's local time. What
    clocks show twice is refused. A call is one transaction, and no run of the pipeline is served
    while it lasts: for very many records the command `record-ledger` works in steps.

    All that is done is kept in the history, with its reason, who did it and when. Repeated after a
    lost connection a call counts only what it changed itself. To reopen, to expire and to cancel
    are not repeated: a run may have been passed, or have completed, what they had changed.
    """

    # ---------------------------------------------------------------- records
    def waive_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Marks the pending and failed records of a range WAIVED; returns how many changed.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted("waive_records", queries.WAIVE_RECORDS, parameters)

    def reopen_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Makes the finished and failed records of a range pending anew; returns how many changed.

        Their attempts start again, in a new generation. What was done before stays in the history.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "reopen_records", queries.REOPEN_RECORDS, parameters, may_run_twice=False
        )

    def expire_leases(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Takes records of a range back from runs known to be dead; returns how many changed.

        As if their leases had run out now: pending after a backoff, or failed without attempts
        left. A run that is alive after all gets ClaimLost when it ends or extends its claim, and
        may write until then: `cancel_records` is for those.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "expire_leases", queries.EXPIRE_LEASES, parameters, may_run_twice=False
        )

    def cancel_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Asks the runs that hold records of a range to stop; returns how many it asks.

        A run that sends heartbeats learns of it within 30 s, any from `claim_state`. It keeps its
        claim until it has stopped: no second run begins beside one that still writes. However the
        claim ends then, the record has failed for good, unless the run completes it. For runs that
        are dead there is `expire_leases`.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "cancel_records", queries.CANCEL_RECORDS, parameters, may_run_twice=False
        )

    def backfill_records(self, pipeline_id: str, from_time: Time, reason: str | None = None) -> int:
        """Adds records before the pipeline's first one, back to the day of from_time.

        Returns how many: 0 when the first record starts there already.

        :raises InvalidArgument: for a time before 1970, or a pipeline without records or retired.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "from_time": time_text(from_time),
            "reason": reason,
        }
        return self._counted("backfill_records", queries.BACKFILL_RECORDS, parameters)

    def range_effects(
        self, operation: str, pipeline_id: str, from_time: Time, to_time: Time | None = None
    ) -> list[Record]:
        """Returns what an operation would change in a range, and leave alone and why; only reads.

        `operation` is 'waive', 'reopen', 'expire', 'cancel' or 'backfill' (whose to_time may be
        None). Rows have effect ('changed' or 'left alone'), status, reason, record_count,
        first_window_start_time and last_window_end_time.

        :raises InvalidArgument: where the operation itself would.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "operation": operation,
            **_range(pipeline_id, from_time, to_time),
        }
        rows = self._rows("range_effects", queries.RANGE_EFFECTS, parameters)
        return [{key: row[key] for key in row if key != "ordinality"} for row in rows]

    # ---------------------------------------------------------------- steps of a long way
    def _range_step(
        self,
        operation: str,
        pipeline_id: str,
        from_time: Time,
        to_time: Time | None,
        reason: str | None,
        *,
        max_records: int,
    ) -> RangeStep:
        """Does the first step of an operation on a range, a short one, in a transaction of its own.

        `operation` is one of `range_effects`. Changes `max_records` at most; a backfill adds about
        so many. What earlier steps did stays, whatever becomes of this one.

        :raises InvalidArgument: where the operation itself would.
        :raises LedgerUnavailable: also when the connection was lost before the answer came, except
            to waive and to backfill, which are repeated then.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {
            "operation": operation,
            **_range(pipeline_id, from_time, to_time),
            "reason": reason,
            "max_records": max_records,
        }
        with logs.timed("range_step", **parameters) as outcome:
            row = self._one_row(
                "range_step",
                queries.RANGE_STEP,
                parameters,
                may_run_twice=operation in _REPEATED,
            )
            step = RangeStep(*row)
            outcome["record_count"] = step.changed_count
        return step

    # ---------------------------------------------------------------- pipelines
    def pause_pipeline(self, pipeline_id: str, reason: str) -> None:
        """Lets no record of the pipeline be passed until it is resumed; again, replaces the reason.

        Claims in progress may be completed.

        :raises InvalidArgument: when no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        self._change_pipeline("pause_pipeline", queries.PAUSE_PIPELINE, pipeline_id, reason)

    def resume_pipeline(self, pipeline_id: str, reason: str | None = None) -> bool:
        """Lets a paused or retired pipeline run again; returns whether it was one.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        return bool(
            self._change_pipeline("resume_pipeline", queries.RESUME_PIPELINE, pipeline_id, reason)
        )

    def retire_pipeline(self, pipeline_id: str, reason: str) -> None:
        """Pauses the pipeline for good: no window is stored any more, no status speaks of it.

        :raises InvalidArgument: when no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        self._change_pipeline("retire_pipeline", queries.RETIRE_PIPELINE, pipeline_id, reason)

    def set_pipeline_owner(self, pipeline_id: str, role: str | None) -> bool:
        """Gives the pipeline to a role, whose members alone act in it from then on.

        None gives it back to all runners. Returns whether that changed anything. Who registered a
        pipeline may do so, members of its owner, and the ledger's owner.

        :raises InvalidArgument: when the server has no such role.
        :raises PermissionDenied: when the user may not give it away, or not to that role.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "role": role}
        with logs.timed("set_pipeline_owner", **parameters):
            statement = queries.SET_PIPELINE_OWNER
            return bool(self._one_row("set_pipeline_owner", statement, parameters)[0])

    # ---------------------------------------------------------------- how calls are made
    def _counted(
        self, name: str, query: str, parameters: dict[str, Any], *, may_run_twice: bool = True
    ) -> int:
        with logs.timed(name, **parameters) as outcome:
            row = self._one_row(name, query, parameters, may_run_twice=may_run_twice)
            count = int(row[0])
            outcome["record_count"] = count
        return count

    def _change_pipeline(self, name: str, query: str, pipeline_id: str, reason: str | None) -> Any:
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "reason": reason}
        with logs.timed(name, **parameters):
            return self._one_row(name, query, parameters)[0]


def _range(pipeline_id: str, from_time: Time, to_time: Time | None) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline_id,
        "from_time": time_text(from_time),
        "to_time": time_text(to_time),
    }
