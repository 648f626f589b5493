"""Long work in steps: each is a call of its own, committed whole, so that runs get their turn."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from .progress import Progress

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.ledger import RecordLedger
    from record_ledger.records import Record

# So many records take about a second, and while a call lasts no run of the pipeline is served.
STEP_SIZE = 20_000


class Steps:
    """How far the work has come: what was changed, and where to go on when it is stopped."""

    def __init__(self, args: Namespace, operation: str) -> None:
        self.changed = 0
        self.finished = 0
        self.go_on_from: str = args.from_time
        self._args = args
        self._operation = operation

    def finish(self, changed: int, go_on_from: str) -> None:
        """Notes that a step was committed."""
        self.changed += changed
        self.finished += 1
        self.go_on_from = go_on_from

    def how_to_go_on(self) -> str:
        """Returns the command that does the rest."""
        words = ["record-ledger", self._operation, self._args.pipeline, "--from", self.go_on_from]
        if getattr(self._args, "to_time", None) is not None:
            words += ["--to", self._args.to_time]
        if self._args.reason is not None:
            words += ["--reason", self._args.reason]
        return shlex.join(words)


def range_in_steps(
    ledger: RecordLedger, args: Namespace, steps: Steps, effects: list[Record]
) -> None:
    """Waives, reopens, expires or cancels the records of a range, the oldest first."""
    change = {
        "waive": ledger.waive_records,
        "reopen": ledger.reopen_records,
        "expire": ledger.expire_leases,
        "cancel": ledger.cancel_records,
    }[args.function]
    total = sum(row["record_count"] for row in effects)
    if total <= STEP_SIZE:
        changed = change(args.pipeline, args.from_time, args.to_time, args.reason)
        steps.finish(changed, args.to_time)
        return
    with Progress(args, total) as progress:
        is_last = False
        while not is_last:
            start = steps.go_on_from
            end, is_last = ledger.range_step(args.pipeline, start, args.to_time, STEP_SIZE)
            steps.finish(change(args.pipeline, start, end, args.reason), end)
            progress.advance(STEP_SIZE)


def backfill_in_steps(
    ledger: RecordLedger, args: Namespace, steps: Steps, effects: list[Record]
) -> None:
    """Adds records year by year, the newest first, so that each step leaves a whole history."""
    total = sum(row["record_count"] for row in effects if row["effect"] == "changed")
    if total <= STEP_SIZE:
        added = ledger.backfill_records(args.pipeline, args.from_time, args.reason)
        steps.finish(added, args.from_time)
        return
    with Progress(args, total) as progress:
        start, is_done = ledger.backfill_step(args.pipeline, args.from_time)
        while not is_done:
            added = ledger.backfill_records(args.pipeline, start, args.reason)
            # The first record has moved: the same command adds what is still missing before it.
            steps.finish(added, args.from_time)
            progress.advance(added)
            start, is_done = ledger.backfill_step(args.pipeline, args.from_time)
