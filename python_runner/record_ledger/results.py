"""What the calls of a cycle return."""

from __future__ import annotations

from dataclasses import dataclass

from .records import Record


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
class BatchResult:
    """What a pass of several records answered: the records, oldest first, or why there is none.

    `exit_dag` is True exactly when `records` is empty.
    """

    exit_dag: bool
    verdict: str
    reason: str | None
    records: list[Record]
