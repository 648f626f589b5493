"""status, why, as-of: where pipelines stand, why records wait, what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import note, opened, time_of, unknown_pipeline
from .exits import FAILED, PROCEED, CommandError
from .tables import duration, local, print_table
from .terminal import DIM, print_json, put
from .window import why_window

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

_STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "WAIVED")


def status(args: Namespace) -> int:
    """Shows where each pipeline stands; with --fail-on exits 1 when one is in trouble."""
    if args.retired:
        return _retired(args)
    with opened(args) as ledger:
        rows = ledger.pipeline_progress(args.pipeline)
        if args.pipeline is not None and not rows:
            raise _not_shown(ledger, args.pipeline)
        troubles = [
            trouble for item in args.fail_on for trouble in _troubles(ledger, item, args, rows)
        ]
    if args.json:
        print_json({"pipelines": rows})
    elif rows:
        print_progress(rows)
    else:
        put("No pipeline is registered yet: the first `record-ledger run` does it.")
    for trouble in troubles:
        note(args, trouble)
    return FAILED if troubles else PROCEED


def _retired(args: Namespace) -> int:
    """Shows the pipelines that status leaves out."""
    with opened(args) as ledger:
        rows = [row for row in ledger.pipelines(args.pipeline) if row["is_retired"]]
    if args.json:
        print_json({"pipelines": rows})
    elif rows:
        print_table(
            ["PIPELINE", "RETIRED", "BY", "REASON"],
            [
                [
                    row["pipeline_id"],
                    local(row["paused_at"]),
                    row["paused_by"],
                    row["pause_reason"],
                ]
                for row in rows
            ],
        )
    else:
        put("No pipeline is retired.")
    return PROCEED


def print_progress(rows: list[Record]) -> None:
    """Prints the table of pipelines, and under it one sentence for each."""
    # Most pipelines say nothing of how long their source data is kept.
    rare = [
        (title, column)
        for title, column in (("AT RISK", "at_risk_count"), ("LOST", "lost_count"))
        if any(row[column] for row in rows)
    ]
    right = ["BEHIND", "PENDING", "IN PROGRESS", "FAILED", *(title for title, _ in rare)]
    print_table(
        ["PIPELINE", "VERDICT", *right, "DONE UNTIL", "READY AT", "TIME ZONE"],
        [
            [
                row["pipeline_id"],
                row["verdict"],
                duration(row["lag"]),
                row["pending_count"],
                row["in_progress_count"],
                row["failed_count"],
                *(row[column] for _, column in rare),
                local(row["done_until"]),
                local(row["ready_at"]),
                row["timezone"],
            ]
            for row in rows
        ],
        right,
    )
    put()
    for row in rows:
        put(f"{row['pipeline_id']}: {row['reason']}")


def why(args: Namespace) -> int:
    """Shows each open record, or one window, with its verdict and the sentence that says why."""
    if args.window is not None:
        return why_window(args)
    with opened(args) as ledger:
        pipelines = ledger.pipeline_progress(args.pipeline)
        limit = args.limit + 1 if args.limit else None
        rows = ledger.record_verdicts(args.pipeline, limit=limit)
        # The records of a retired pipeline have verdicts, although no status speaks of it.
        if args.pipeline is not None and not pipelines and not rows:
            raise _not_shown(ledger, args.pipeline)
    left_out = bool(limit) and len(rows) > args.limit
    rows = rows[: args.limit] if args.limit else rows
    if args.json:
        print_json({"records": rows, "left_out": left_out})
        return PROCEED
    if rows:
        print_table(
            ["PIPELINE", "WINDOW", "VERDICT", "WHY"],
            [
                [row["pipeline_id"], local(row["window_start_time"]), row["verdict"], row["reason"]]
                for row in rows
            ],
        )
    if left_out:
        put((f"These are the first {args.limit}; --limit 0 shows all.", DIM))
    if not rows:
        for row in pipelines:
            put(f"{row['pipeline_id']}: {row['verdict']}: {row['reason']}")
        if not pipelines:
            put("No pipeline is registered yet: the first `record-ledger run` does it.")
    return PROCEED


def as_of(args: Namespace) -> int:
    """Shows how many records each pipeline had in each status at a time; or, as JSON, all."""
    at = time_of(args.time)
    with opened(args) as ledger:
        if args.pipeline is not None and not ledger.pipelines(args.pipeline):
            raise unknown_pipeline(args.pipeline)
        if args.json:
            print_json({"at": at, "records": ledger.records_as_of(at, args.pipeline)})
            return PROCEED
        counts = ledger._counts_as_of(at, args.pipeline)
    if not counts:
        put(f"No record was stored yet at {args.time}.")
        return PROCEED
    print_table(
        ["PIPELINE", *(status.replace("_", " ") for status in _STATUSES), "ALL"],
        [
            [name, *(found.get(status, 0) for status in _STATUSES), sum(found.values())]
            for name, found in counts.items()
        ],
        [*(status.replace("_", " ") for status in _STATUSES), "ALL"],
    )
    return PROCEED


def _troubles(ledger: RecordLedger, item: str, args: Namespace, rows: list[Record]) -> list[str]:
    """Returns a sentence for each pipeline that meets a condition of --fail-on."""
    name, _, limit = item.partition("=")
    if not limit:
        column = f"{name.replace('-', '_')}_count"
        what = "windows at risk" if name == "at-risk" else f"{name} records"
        return [
            f"pipeline {row['pipeline_id']} has {what}: {row[column]}"
            for row in rows
            if row[column]
        ]
    behind = set(ledger._pipelines_behind(limit, args.pipeline))
    return [
        f"pipeline {row['pipeline_id']} is {duration(row['lag'])} behind (limit {limit})"
        for row in rows
        if row["pipeline_id"] in behind
    ]


def _not_shown(ledger: RecordLedger, pipeline_id: str) -> Exception:
    """Returns why status says nothing of a pipeline."""
    known = ledger.pipelines(pipeline_id)
    if not known:
        return unknown_pipeline(pipeline_id)
    retired = known[0]
    return CommandError(
        f"pipeline {pipeline_id} was retired by {retired['paused_by']} at "
        f"{retired['paused_at'].isoformat()}: {retired['pause_reason']}"
    )
