"""What the calls of a cycle return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .values import Record


@dataclass(frozen=True)
class PassResult:
    """What a pass answered: the record to process, or why there is none.

    `verdict` is the ledger's word for it, `reason` its sentence. `exit_dag` is True exactly when
    `record` is None.
    """

    exit_dag: bool
    verdict: str
    reason: str | None
    record: Record | None


@dataclass(frozen=True)
class ClaimState:
    """Whether a claim still decides about its record.

    `state` is 'current'; 'cancelled' when an operator wants the work to stop, `cancelled_by` and
    `reason` then say who and why; or 'lost', and `reason` says what ended the claim.
    """

    state: str
    reason: str | None
    cancelled_by: str | None


@dataclass(frozen=True)
class BatchResult:
    """What a pass of several records answered: the records, oldest first, or why there is none.

    `exit_dag` is True exactly when `records` is empty.
    """

    exit_dag: bool
    verdict: str
    reason: str | None
    records: list[Record]


@dataclass(frozen=True)
class Completion:
    """What became of one claim that `complete_records` was to end as completed.

    `outcome` is 'completed', now or earlier by this very token; 'lost' when the token is not the
    record's any more; or 'refused' when its counts do not agree: the record is still claimed then.
    `reason` is the ledger's sentence, None when it is completed.
    """

    claim_token: int
    outcome: str
    reason: str | None


class RangeStep(NamedTuple):
    """What one step of an operation on a range did, and how the next one is called."""

    changed_count: int
    # ISO 8601 in the pipeline's zone; None when this was the last step.
    go_on_from: str | None
    next_max_records: int
