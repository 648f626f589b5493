"""Long work in steps: each is a call of its own, committed whole, so that runs get their turn."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from typing import TYPE_CHECKING

from .progress import Progress

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.client import RecordLedger

# The first step; the server says after each how many records the next one can change in a moment.
# While a step lasts no run of the pipeline is served.
STEP_SIZE = 1_000
LARGEST_STEP = 10_000


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


def in_steps(ledger: RecordLedger, args: Namespace, steps: Steps, expected: int) -> None:
    """Waives, reopens, expires or cancels the records of a range, the oldest first.

    A backfill adds records, the newest first, so that each step leaves a whole history.
    """
    with Progress(args, expected) if expected > STEP_SIZE else nullcontext() as progress:
        size = STEP_SIZE
        start: str | None = steps.go_on_from
        while start is not None:
            step = ledger._range_step(
                args.function,
                args.pipeline,
                start,
                getattr(args, "to_time", None),
                args.reason,
                max_records=size,
            )
            start = step.go_on_from
            size = min(step.next_max_records, LARGEST_STEP)
            steps.finish(step.changed_count, start or steps.go_on_from)
            if progress is not None:
                progress.advance(step.changed_count)
