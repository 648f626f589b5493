"""`LedgerObserver`: what is counted of records, and what of it decides about their completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import logs, queries
from .details import detail_json
from .past import LedgerPast
from .values import Time, claim_token_of, row_count_of, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .values import Record


class LedgerObserver(LedgerPast):
    """The part of a ledger that notes counts, adopts and waives them, and reads them.

    A window is named by its start: a date, datetime or ISO 8601 text; without an offset by the
    clock that it was cut with.
    """

    def observe_record(  # noqa: PLR0917 - the parameters of the SQL routine, in its order
        self,
        pipeline_id: str,
        window_start_time: Time,
        stage: str,
        row_count: int,
        detail: Mapping[str, Any] | None = None,
        claim_token: int | None = None,
    ) -> int:
        """Notes how many rows were counted of a record at a stage; what was noted never changes.

        Stages are 'source', 'stage', 'target' or a name of your own; `detail` holds bytes, digests,
        as that of `complete_record` does. With the claim's token it is evidence for completing the
        record; without one it may be noted at any time, also after completion, and is none. Returns
        its number. Repeated after a lost connection it may be noted twice, which decides nothing
        anew.

        :raises ClaimLost: when the token is no longer the record's; nothing was noted.
        :raises InvalidArgument: for what is no whole number from 0 on, or a window that is not
            stored or archived.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "window_start_time": time_text(window_start_time),
            "stage": stage,
            "row_count": row_count_of(row_count),
            "detail": detail_json(detail),
            "claim_token": None if claim_token is None else claim_token_of(claim_token),
        }
        return int(self._call("observe_record", queries.OBSERVE_RECORD, parameters))

    def adopt_observations(
        self,
        pipeline_id: str,
        claim_token: int,
        stage: str | None = None,
        window_start_time: Time | None = None,
    ) -> int:
        """Takes over what earlier claims of this generation counted; returns how many stages.

        Of all stages, or the given one, that this claim has not counted itself. Adopt the count of
        a source that is not read again, not that of a target that is loaded again. With the start
        of the claim's window, a token of another ledger's claim is refused.

        :raises ClaimLost: when the token is no longer the record's; nothing was adopted.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "claim_token": claim_token_of(claim_token),
            "stage": stage,
            "window_start_time": self._named(window_start_time, pipeline_id, "window_start_time"),
        }
        return int(self._call("adopt_observations", queries.ADOPT_OBSERVATIONS, parameters))

    def waive_counts(self, pipeline_id: str, window_start_time: Time, reason: str) -> bool:
        """Lets a record be completed whatever its counts are; returns whether that is new.

        In its present generation, while it is pending or in progress. Kept in its history.

        :raises IllegalStateChange: when the record is done or has failed for good.
        :raises InvalidArgument: without a reason, a stored window or a config that asks for counts.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "window_start_time": time_text(window_start_time),
            "reason": reason,
        }
        return bool(self._call("waive_counts", queries.WAIVE_COUNTS, parameters))

    def record_observations(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what was counted of a pipeline's records, or of the one of a window, in order."""
        start = self._window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._rows("record_observations", queries.RECORD_OBSERVATIONS, parameters)

    def archived_record_observations(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what was counted of archived records, or of the one of a window, in order."""
        start = self._window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._rows(
            "archived_record_observations", queries.ARCHIVED_RECORD_OBSERVATIONS, parameters
        )

    def _call(self, name: str, query: str, parameters: dict[str, Any]) -> Any:
        with logs.timed(name, **parameters) as outcome:
            longest = self._session.longest_call
            outcome["returned"] = self._one_row(name, query, parameters, longest=longest)[0]
        return outcome["returned"]
