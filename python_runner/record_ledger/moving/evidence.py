"""What the ledger knows of a window's phases: counts, digests, and where the manifest lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

# What is counted, in this order; the ledger keeps each under this name.
SOURCE, STAGE, LOAD, TARGET = "source", "stage", "load", "target"
# What has to agree before a record is completed.
REQUIRED_COUNTS = [SOURCE, STAGE, TARGET]


class Evidence:
    """Notes counts under a record's claim, and finds what earlier claims have noted."""

    def __init__(self, ledger: RecordLedger) -> None:
        self._ledger = ledger

    def note(
        self, record: Record, stage: str, count: int, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Notes that a phase is done.

        :raises ClaimLost: when the claim is not the current one; nothing was noted.
        """
        self._ledger.observe_record(
            record["pipeline_id"],
            record["window_start_time"],
            stage,
            count,
            detail,
            record["claim_token"],
        )

    def adopt(self, record: Record, stage: str) -> None:
        """Takes an earlier claim's newest count of a stage over as this claim's own."""
        self._ledger.adopt_observations(
            record["pipeline_id"], record["claim_token"], stage, record["window_start_time"]
        )

    def newest(self, record: Record, stage: str) -> Mapping[str, Any] | None:
        """Returns what was noted last of a stage in this generation; None when nothing was."""
        observations = self._ledger.record_observations(
            record["pipeline_id"], record["window_start_time"]
        )
        found = [
            one
            for one in observations
            if one["stage"] == stage
            and one["generation"] == record["generation"]
            and one["claim_token"] is not None
        ]
        return max(found, key=lambda one: one["observation_no"], default=None)
