"""at-risk, recount-due, changed, lateness, coverage ...: whether data can be relied on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from record_ledger.cli.common import opened, unknown_pipeline
from record_ledger.cli.exits import NOTHING_TO_DO, PROCEED
from record_ledger.cli.tables import duration, local, print_table, share
from record_ledger.cli.terminal import DIM, print_json, put

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record


def at_risk(args: Namespace) -> int:
    """Shows the windows that are not done by the time left of their source data."""
    limit = args.limit + 1 if args.limit else None
    with opened(args) as ledger:
        rows = ledger.records_at_risk(args.pipeline, limit, only_at_risk=not args.all)
        _check_known(ledger, args.pipeline, rows)
    left_out = bool(limit) and len(rows) > args.limit
    rows = rows[: args.limit] if args.limit else rows
    if args.json:
        print_json({"records": rows, "left_out": left_out})
    elif rows:
        print_table(
            ["PIPELINE", "WINDOW", "STATUS", "SOURCE KEPT UNTIL", "TIME LEFT", "AT RISK"],
            [
                [
                    row["pipeline_id"],
                    local(row["window_start_time"]),
                    row["status"] or "not stored",
                    local(row["source_kept_until"]),
                    duration(row["time_left"]) if row["time_left"].total_seconds() > 0 else "gone",
                    "yes" if row["is_at_risk"] else "no",
                ]
                for row in rows
            ],
            ["TIME LEFT"],
        )
    else:
        put("No window is at risk.")
    if left_out and not args.json:
        put((f"These are the first {args.limit}; --limit 0 shows all.", DIM))
    return PROCEED


def recount_due(args: Namespace) -> int:
    """Shows the completed windows whose source should be counted again."""
    with opened(args) as ledger:
        rows = ledger.recount_due(args.pipeline)
    if args.json:
        print_json({"records": rows})
    elif rows:
        print_table(
            ["WINDOW", "GENERATION", "LOADED", "COUNTED AT", "AGE", "DUE SINCE"],
            [
                [
                    local(row["window_start_time"]),
                    row["generation"],
                    f"{row['loaded_count']:,}",
                    local(row["counted_at"]),
                    duration(row["recount_age"]),
                    local(row["due_at"]),
                ]
                for row in rows
            ],
            ["GENERATION", "LOADED", "AGE"],
        )
    else:
        put(f"{args.pipeline}: no window is to be counted again.")
    return PROCEED


def changed(args: Namespace) -> int:
    """Shows the completed records whose source has changed since."""
    with opened(args) as ledger:
        rows = ledger.changed_records(args.pipeline)
        _check_known(ledger, args.pipeline, rows)
    if args.json:
        print_json({"records": rows})
    elif rows:
        print_table(
            ["PIPELINE", "WINDOW", "LOADED", "COUNTED", "CHANGED BY", "COUNTED AT", "TOLERANCE"],
            [
                [
                    row["pipeline_id"],
                    local(row["window_start_time"]),
                    f"{row['loaded_count']:,}",
                    f"{row['source_count']:,}",
                    f"{row['changed_by']:+,}",
                    local(row["observed_at"]),
                    "exceeded" if row["is_beyond_tolerance"] else "kept",
                ]
                for row in rows
            ],
            ["LOADED", "COUNTED", "CHANGED BY"],
        )
    else:
        put("No completed window has changed.")
    return PROCEED


def reopen_changed(args: Namespace) -> int:
    """Reopens records whose source has changed beyond the tolerance, within the day's budget."""
    with opened(args) as ledger:
        count = ledger.reopen_changed_records(args.pipeline)
        left = sum(row["is_beyond_tolerance"] for row in ledger.changed_records(args.pipeline))
    if not args.json:
        put(
            f"{args.pipeline}: {count:,} record{'' if count == 1 else 's'} reopened"
            + (f"; {left:,} more have changed (reopen_budget, source_retention)" if left else "")
        )
    print_json({"pipeline_id": args.pipeline, "reopened_count": count, "left_count": left})
    return PROCEED


def lateness(args: Namespace) -> int:
    """Shows how late data came, by recount age."""
    with opened(args) as ledger:
        rows = ledger.pipeline_lateness(args.pipeline)
        _check_known(ledger, args.pipeline, rows)
    if args.json:
        print_json({"lateness": rows})
        return PROCEED
    print_table(
        ["PIPELINE", "AGE", "WINDOWS", "LATE", "COUNTED AFTER", "MISSED", "WORST WINDOW"],
        [
            [
                row["pipeline_id"],
                duration(row["recount_age"]) if row["recount_age"] else "first",
                row["window_count"],
                row["late_window_count"],
                "-"
                if row["max_lateness"] is None
                else f"{duration(row['min_lateness'])} to {duration(row['max_lateness'])}",
                share(row["missed_share"]),
                share(row["worst_missed_share"]),
            ]
            for row in rows
        ],
        ["AGE", "WINDOWS", "LATE", "MISSED", "WORST WINDOW"],
    )
    return PROCEED


def suggest_x_time_back(args: Namespace) -> int:
    """Shows the shortest measured x_time_back that misses at most a share of the rows."""
    with opened(args) as ledger:
        row = ledger.suggest_x_time_back(args.pipeline, args.max_missed)
    if not args.json:
        found = (
            "nothing can be suggested"
            if row["x_time_back"] is None
            else (f"x_time_back {duration(row['x_time_back'])}")
        )
        put(f"{args.pipeline}: {found}: {row['reason']}")
    print_json({"pipeline_id": args.pipeline, **row})
    return PROCEED


def coverage(args: Namespace) -> int:
    """Shows how windows cover each local day."""
    with opened(args) as ledger:
        rows = ledger.daily_coverage(args.pipeline, args.from_date, args.to_date)
        _check_known(ledger, args.pipeline, rows)
    if args.json:
        print_json({"days": rows})
    elif rows:
        print_table(
            ["DAY", "LENGTH", "COVERED", "WINDOWS", "PUBLISHED", "WAIVED", "OPEN", "STATE", "ROWS"],
            [
                [
                    row["local_date"],
                    duration(row["day_length"]),
                    duration(row["covered_length"]),
                    row["window_count"],
                    row["published_count"],
                    row["waived_count"],
                    row["open_count"],
                    "sealed"
                    if row["is_sealed"]
                    else "published"
                    if row["is_published"]
                    else "not covered",
                    ", ".join(
                        f"{stage} {counted['rows']:,}"
                        for stage, counted in sorted(row["counts"].items())
                    )
                    or None,
                ]
                for row in rows
            ],
            ["LENGTH", "COVERED", "WINDOWS", "PUBLISHED", "WAIVED", "OPEN"],
        )
    else:
        put(f"{args.pipeline}: no window is stored in these days.")
    return PROCEED


def is_day_sealed(args: Namespace) -> int:
    """Exits with 0 when a local day is sealed, 99 when it is not."""
    with opened(args) as ledger:
        is_sealed = ledger.is_day_sealed(args.pipeline, args.date)
    print_json({"pipeline_id": args.pipeline, "local_date": args.date, "is_sealed": is_sealed})
    return PROCEED if is_sealed else NOTHING_TO_DO


def _check_known(ledger: RecordLedger, pipeline_id: str | None, rows: list[Record]) -> None:
    """Raises when nothing is found because nobody registered the pipeline."""
    if pipeline_id is not None and not rows and not ledger.pipelines(pipeline_id):
        raise unknown_pipeline(pipeline_id)
