"""status, why, history: where pipelines stand, why records wait, what happened to one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from record_ledger.records import parsed_time

from .common import note, opened, print_json, unknown_pipeline
from .exits import FAILED, PROCEED, CommandError
from .tables import dim, duration, local, print_table

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.ledger import RecordLedger
    from record_ledger.records import Record


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
        print("No pipeline is registered yet: the first `record-ledger run` does it.")
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
        print("No pipeline is retired.")
    return PROCEED


def print_progress(rows: list[Record]) -> None:
    """Prints the table of pipelines, and under it one sentence for each."""
    header = ["PIPELINE", "VERDICT", "BEHIND", "PENDING", "IN PROGRESS", "FAILED"]
    right = ["BEHIND", "PENDING", "IN PROGRESS", "FAILED"]
    print_table(
        [*header, "DONE UNTIL", "READY AT", "TIME ZONE"],
        [
            [
                row["pipeline_id"],
                row["verdict"],
                duration(row["lag"]),
                row["pending_count"],
                row["in_progress_count"],
                row["failed_count"],
                local(row["done_until"]),
                local(row["ready_at"]),
                row["timezone"],
            ]
            for row in rows
        ],
        right,
    )
    print()
    for row in rows:
        print(f"{row['pipeline_id']}: {row['reason']}")


def why(args: Namespace) -> int:
    """Shows each open record with its verdict and the sentence that says why."""
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
        print(dim(f"These are the first {args.limit}; --limit 0 shows all."))
    if not rows:
        for row in pipelines:
            print(f"{row['pipeline_id']}: {row['verdict']}: {row['reason']}")
        if not pipelines:
            print("No pipeline is registered yet: the first `record-ledger run` does it.")
    return PROCEED


def history(args: Namespace) -> int:
    """Shows one record and everything that happened to it."""
    try:
        start = parsed_time(args.window_start)
    except ValueError as error:
        raise CommandError(
            f"{args.window_start!r} is no time; give ISO 8601, like 2026-11-22T06:00 (the "
            "pipeline's local time) or 2026-11-22T06:00-08:00"
        ) from error
    with opened(args) as ledger:
        records = ledger.pipeline_records(args.pipeline, start)
        if not records:
            if not ledger.pipelines(args.pipeline):
                raise unknown_pipeline(args.pipeline)
            raise CommandError(
                f"no record of pipeline {args.pipeline} starts at {args.window_start}"
            )
        events = ledger.record_events(args.pipeline, start)
    if args.json:
        print_json({"record": records[0], "events": events})
        return PROCEED
    # A wall clock that happens twice can name two records.
    for record in records:
        _print_record(record)
        own = [e for e in events if e["window_start_time"] == record["window_start_time"]]
        _print_events(own)
    return PROCEED


def _print_record(record: Record) -> None:
    print(
        f"{record['pipeline_id']}  {record['window_start_time'].isoformat()} to "
        f"{record['window_end_time'].isoformat()}  {record['time_interval']}  {record['status']}"
    )
    for name, value in record["fields"].items():
        print(dim(f"  {name} = {_short(value)}"))
    if record["missing_fields"]:
        print(f"  missing: {', '.join(record['missing_fields'])}")
    print()


def _print_events(events: list[Record]) -> None:
    if not events:
        print("Nothing has happened to it yet: it was stored and waits.")
        return
    print_table(
        ["TIME", "EVENT", "STATUS", "ATTEMPT", "RUN", "BY", "DETAIL"],
        [
            [
                event["event_time"].isoformat(sep=" ", timespec="seconds"),
                event["event"],
                f"{event['from_status']} -> {event['to_status']}",
                event["attempt"]
                if event["generation"] == 1
                else f"{event['attempt']} (generation {event['generation']})",
                event["run_id"],
                event["actor"],
                _short(event["detail"]) if event["detail"] else None,
            ]
            for event in events
        ],
        ["ATTEMPT"],
    )


def _troubles(ledger: RecordLedger, item: str, args: Namespace, rows: list[Record]) -> list[str]:
    """Returns a sentence for each pipeline that meets a condition of --fail-on."""
    name, _, limit = item.partition("=")
    if name in ("failed", "incomplete") and not limit:
        return [
            f"pipeline {row['pipeline_id']} has {name} records: {row[f'{name}_count']}"
            for row in rows
            if row[f"{name}_count"]
        ]
    behind = set(ledger.pipelines_behind(limit, args.pipeline))
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


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
