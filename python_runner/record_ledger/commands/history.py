"""history: the life of one record, archived or not, and what was counted of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .common import opened, time_of
from .exits import PROCEED, CommandError
from .tables import print_table
from .terminal import DIM, print_json, put

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.values import Record


def history(args: Namespace) -> int:
    """Shows one record, archived or not, what happened to it and what was counted of it."""
    time = time_of(args.window_start)
    with opened(args) as ledger:
        start = ledger.window_time(args.pipeline, time)
        # The ledger before the archive: a record that moves meanwhile is seen twice, and not never.
        records = _by_key(
            [
                *ledger.pipeline_records(args.pipeline, start),
                *ledger.archived_records(args.pipeline, start),
            ]
        )
        if not records:
            raise CommandError(
                f"no record of pipeline {args.pipeline} starts at {args.window_start}"
            )
        events = _by_key(
            [
                *ledger.record_events(args.pipeline, start),
                *ledger.archived_record_events(args.pipeline, start),
            ]
        )
        observations = _by_key(
            [
                *ledger.record_observations(args.pipeline, start),
                *ledger.archived_record_observations(args.pipeline, start),
            ]
        )
    record = records[0]
    if args.json:
        print_json({"record": record, "events": events, "observations": observations})
        return PROCEED
    _print_record(record)
    _print_events(events)
    _print_observations(observations)
    return PROCEED


def _by_key(rows: list[Record]) -> list[Record]:
    """Returns each record, event or observation once, in order; of two the later one."""
    found = {
        (row["window_start_time"], row.get("event_no", row.get("observation_no"))): row
        for row in rows
    }
    return [found[key] for key in sorted(found)]


def _print_record(record: Record) -> None:
    archived_at = record.get("archived_at")
    put(
        f"{record['pipeline_id']}  {record['window_start_time'].isoformat()} to "
        f"{record['window_end_time'].isoformat()}  {record['time_interval']}  {record['status']}"
        + _published(record)
        + (f", archived {archived_at.isoformat(timespec='seconds')}" if archived_at else "")
    )
    for name, value in record["fields"].items():
        put((f"  {name} = {_short(value)}", DIM))
    if record["missing_fields"]:
        put(f"  missing: {', '.join(record['missing_fields'])}")
    put()


def _published(record: Record) -> str:
    """Returns which generation is published, where it is not the present one."""
    published = record["published_generation"]
    if published in (None, record["generation"]):
        return ""
    return f", generation {published} is published"


def _print_events(events: list[Record]) -> None:
    if not events:
        put("Nothing has happened to it yet: it was stored and waits.")
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


def _print_observations(observations: list[Record]) -> None:
    if not observations:
        return
    put()
    print_table(
        ["COUNTED", "STAGE", "ROWS", "CLAIM", "EVIDENCE", "BY", "DETAIL"],
        [
            [
                seen["observed_at"].isoformat(sep=" ", timespec="seconds"),
                seen["stage"],
                seen["row_count"],
                seen["claim_token"],
                _evidence(seen),
                seen["run_id"] or seen["actor"],
                _short(seen["detail"]) if seen["detail"] else None,
            ]
            for seen in observations
        ],
        ["ROWS", "CLAIM"],
    )


def _evidence(seen: Record) -> str:
    adopted = "" if seen["adopted_no"] is None else ", adopted"
    return ("yes" if seen["is_evidence"] else "no") + adopted


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
