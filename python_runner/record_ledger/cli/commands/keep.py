"""archive: keeping the ledger small, in short steps that a pass can wait for."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from record_ledger.cli.common import opened, time_of
from record_ledger.cli.exits import PROCEED
from record_ledger.cli.progress import Progress
from record_ledger.cli.terminal import print_json, put

if TYPE_CHECKING:
    import datetime as dt
    from argparse import Namespace

    from record_ledger.client import RecordLedger
    from record_ledger.values import Time

# Passes of the pipeline wait while a step runs: this many records take well under a second.
STEP = 10_000


def archive(args: Namespace) -> int:
    """Moves finished records to the archive until none is left that may go; repeatable."""
    before = time_of(args.before)
    with opened(args) as ledger:
        found = ledger.archivable_records(args.pipeline, before)
        count, until = found["record_count"], found["archived_until"]
        if not args.dry_run:
            count, until = _move(ledger, args, before, count)
            found = ledger.archivable_records(args.pipeline, before)
    reason = found["reason"]
    done = "would be archived" if args.dry_run else "archived"
    put(
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
    ledger: RecordLedger, args: Namespace, before: Time, expected: int
) -> tuple[int, dt.datetime | None]:
    """Archives step by step; returns how many records went, and the end of the last window."""
    moved, until = 0, None
    with Progress(args, expected) if expected > STEP else nullcontext() as progress:
        while True:
            step = ledger.archivable_records(args.pipeline, before, STEP)
            count = ledger.archive_records(args.pipeline, before, STEP)
            if count == 0:
                return moved, until
            moved, until = moved + count, step["archived_until"]
            if progress is not None:
                progress.advance(count)
