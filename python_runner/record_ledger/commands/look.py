"""status, why, history, as-of: where pipelines stand, why records wait, what happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .common import note, opened, print_json, time_of, unknown_pipeline
from .exits import FAILED, PROCEED, CommandError
from .tables import dim, duration, local, print_table
from .window import why_window

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.ledger import RecordLedger
    from record_ledger.records import Record

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
    print()
    for row in rows:
        print(f"{row['pipeline_id']}: {row['reason']}")


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
        print(dim(f"These are the first {args.limit}; --limit 0 shows all."))
    if not rows:
        for row in pipelines:
            print(f"{row['pipeline_id']}: {row['verdict']}: {row['reason']}")
        if not pipelines:
            print("No pipeline is registered yet: the first `record-ledger run` does it.")
    return PROCEED


def history(args: Namespace) -> int:
    """Shows one record, archived or not, and everything that happened to it."""
    start = time_of(args.window_start)
    with opened(args) as ledger:
        # The ledger before the archive: a record that moves meanwhile is seen twice, and not never.
        records = _by_key(
            [
                *ledger.pipeline_records(args.pipeline, start),
                *ledger.archived_records(args.pipeline, start),
            ]
        )
        if not records:
            if not ledger.pipelines(args.pipeline):
                raise unknown_pipeline(args.pipeline)
            raise CommandError(
                f"no record of pipeline {args.pipeline} starts at {args.window_start}"
            )
        events = _by_key(
            [
                *ledger.record_events(args.pipeline, start),
                *ledger.archived_record_events(args.pipeline, start),
            ]
        )
    if args.json:
        print_json({"record": records[0], "events": events})
        return PROCEED
    # A wall clock that happens twice can name two records.
    for record in records:
        _print_record(record)
        own = [e for e in events if e["window_start_time"] == record["window_start_time"]]
        _print_events(own)
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
        counts = ledger.counts_as_of(at, args.pipeline)
    if not counts:
        print(f"No record was stored yet at {args.time}.")
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


def _by_key(rows: list[Record]) -> list[Record]:
    """Returns each record or event once, in order; of two the later one."""
    found = {(row["window_start_time"], row.get("event_no")): row for row in rows}
    return [found[key] for key in sorted(found)]


def _print_record(record: Record) -> None:
    archived_at = record.get("archived_at")
    print(
        f"{record['pipeline_id']}  {record['window_start_time'].isoformat()} to "
        f"{record['window_end_time'].isoformat()}  {record['time_interval']}  {record['status']}"
        + (f", archived {archived_at.isoformat(timespec='seconds')}" if archived_at else "")
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
                event["attempt"],
                event["run_id"],
                event["actor"],
                _short(event["detail"]) if event["detail"] else None,
            ]
            for event in events
        ],
        ["ATTEMPT"],
        _generations(events),
    )


def _generations(events: list[Record]) -> dict[int, str]:
    """Returns the heading of each generation by the number of its first event; one needs none."""
    if events[-1]["generation"] == 1:
        return {}
    first: dict[int, int] = {}
    for number, event in enumerate(events):
        first.setdefault(event["generation"], number)
    return {number: f"-- generation {generation}" for generation, number in first.items()}


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
