"""archive: keeping the ledger small, in short steps that a pass can wait for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .common import opened, print_json, time_of
from .exits import PROCEED

if TYPE_CHECKING:
    import datetime as dt
    from argparse import Namespace
    from types import TracebackType

    from typing_extensions import Self

    from record_ledger.ledger import RecordLedger

# Passes of the pipeline wait while a step runs: this many records take well under a second.
STEP = 10_000


def archive(args: Namespace) -> int:
    """Moves finished records to the archive until none is left that may go; repeatable."""
    before = time_of(args.before)
    with opened(args) as ledger:
        found = ledger.archivable_records(args.pipeline, before)
        count, until = found["record_count"], found["archived_until"]
        if not args.dry_run:
            count, until = _move(ledger, args.pipeline, before, count)
            found = ledger.archivable_records(args.pipeline, before)
    reason = found["reason"]
    done = "would be archived" if args.dry_run else "archived"
    print(
        f"{args.pipeline}: {count:,} records {done}"
        + (f", until {until.isoformat()}" if until is not None else "")
        + (f"; {reason}" if reason else "")
    )
    print_json(
        {
            "pipeline_id": args.pipeline,
            "outcome": "dry_run" if args.dry_run else "archived",
            "record_count": count,
            "archived_until": until,
            "reason": reason,
        }
    )
    return PROCEED


def _move(
    ledger: RecordLedger, pipeline_id: str, before: dt.datetime, expected: int
) -> tuple[int, dt.datetime | None]:
    """Archives step by step; returns how many records went, and the end of the last window."""
    moved, until = 0, None
    with _Progress(expected) as progress:
        while True:
            step = ledger.archivable_records(pipeline_id, before, STEP)
            count = ledger.archive_records(pipeline_id, before, STEP)
            if count == 0:
                return moved, until
            moved, until = moved + count, step["archived_until"]
            progress.show(moved)


class _Progress:
    """A bar on standard error while it is a terminal; nothing anywhere else."""

    _WIDTH = 30

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._is_shown = sys.stderr.isatty()

    def show(self, moved: int) -> None:
        if self._is_shown:
            full = round(self._WIDTH * min(1.0, moved / max(self._expected, 1)))
            bar = "#" * full + "-" * (self._WIDTH - full)
            sys.stderr.write(f"\r[{bar}] {moved:,} of {max(self._expected, moved):,} records")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Clears the line: what comes next is an error, or the summary.
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
