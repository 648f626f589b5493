"""status, why, plan, history, as-of: where pipelines stand, what comes next, what has been."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import note, opened, time_of, unknown_pipeline
from record_ledger.cli.exits import FAILED, PROCEED, CommandError
from record_ledger.cli.tables import duration, local, print_table
from record_ledger.cli.terminal import DIM, STYLES, print_json, put

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


# ---------------------------------------------------------------- why --window
# As many runs as the server plans at once.
_RUNS = 10_000


def why_window(args: Namespace) -> int:
    """Shows one window, stored or not: why it is passed or not, and which runs come before it."""
    if args.pipeline is None:
        raise CommandError("--window needs the PIPELINE whose window it is")
    time = time_of(args.window)
    with opened(args) as ledger:
        start = ledger.window_time(args.pipeline, time)
        # The ledger before the archive: a record that moves meanwhile is seen twice, and not never.
        records = [
            *ledger.pipeline_records(args.pipeline, start),
            *ledger.archived_records(args.pipeline, start),
        ]
        verdicts = ledger.record_verdicts(args.pipeline, start)
        plan = ledger.plan_runs(args.pipeline, _RUNS, window_start_time=start)
    run = next((row for row in plan if row["run_no"] is not None), None)
    ending = next((row["reason"] for row in plan if row["run_no"] is None), None)
    record = records[0] if records else run
    if record is None:
        raise CommandError(
            f"no record of pipeline {args.pipeline} starts at {args.window}, "
            f"nor does a window of its next {_RUNS:,} runs"
        )
    verdict = verdicts[0] if verdicts else None
    if args.json:
        before = run and run["run_no"] - 1
        print_json({"record": verdict or record, "runs_before": before, "run": run})
        return PROCEED
    put(
        f"{args.pipeline}  {record['window_start_time'].isoformat()} to "
        f"{record['window_end_time'].isoformat()}  {record['time_interval']}  "
        + (record["status"] if records else "not stored yet")
    )
    for name, value in _facts(record, verdict, run, ending).items():
        put(f"  {name:8}  ", (str(value), STYLES.get(value) if name == "verdict" else None))
    return PROCEED


def _facts(
    record: Record, verdict: Record | None, run: Record | None, ending: str | None
) -> dict[str, Any]:
    facts = {}
    if verdict is not None:
        facts["verdict"] = verdict["verdict"]
        facts["why"] = verdict["reason"]
        facts["ready at"] = local(verdict["ready_at"])
        if verdict["counts_problem"] is not None:
            facts["counts"] = f"it cannot be completed yet: {verdict['counts_problem']}"
    facts["in line"] = _place(record, verdict, run, ending)
    return facts


def _place(record: Record, verdict: Record | None, run: Record | None, ending: str | None) -> str:
    """Returns the sentence that says how many runs come before the window's own."""
    if run is not None:
        count = run["run_no"] - 1
        before = (
            "it is next"
            if count == 0
            else f"{count:,} run{' comes' if count == 1 else 's come'} before it"
        )
        return f"{before}; its run starts at {local(run['starts_at'])}: {run['reason']}"
    if verdict is None:
        return f"it is {record['status']}: `record-ledger history` shows its life"
    if verdict["verdict"] == "LEASED":
        return "the run that holds it is expected to complete it"
    # A lost claim that comes back has a time for it.
    if verdict["verdict"] in ("FAILED", "INCOMPLETE", "LOST") or (
        verdict["verdict"] == "LEASE_EXPIRED" and verdict["ready_at"] is None
    ):
        return "no run will be passed it as things stand"
    return ending or f"none of the next {_RUNS:,} runs is passed it"


# ---------------------------------------------------------------- plan
def plan(args: Namespace) -> int:
    """Shows what the next runs of a pipeline will be passed; writes nothing."""
    at = None if args.at is None else time_of(args.at)
    with opened(args) as ledger:
        rows = ledger.plan_runs(args.pipeline, args.runs, at, args.workers, args.run_duration)
    runs = [row for row in rows if row["run_no"] is not None]
    reasons = [row["reason"] for row in rows if row["run_no"] is None]
    drain = _drain(runs)
    if args.json:
        print_json({"runs": runs, **drain, "ends_because": reasons[0] if reasons else None})
        return PROCEED
    if runs:
        print_table(
            ["RUN", "WINDOW", "LENGTH", "SETTLED AT", "STARTS AT", "ENDS AT", "WHY"],
            [
                [
                    row["run_no"],
                    local(row["window_start_time"]),
                    row["time_interval"],
                    *(local(row[column]) for column in ("stable_at", "starts_at", "ends_at")),
                    row["reason"],
                ]
                for row in runs
            ],
            right=["RUN", "LENGTH"],
        )
        put()
    for reason in reasons:
        put(f"{args.pipeline}: {reason}")
    if drain["drained_at"] is not None or (runs and not reasons):
        put(f"{args.pipeline}: {_sentence(drain, runs[-1])}")
    return PROCEED


def _drain(runs: list[Record]) -> dict[str, Any]:
    """Returns how many windows have settled by the start of the plan, and when none waits."""
    last = next((row for row in runs if row["drains_backlog"]), None)
    return {
        "backlog_count": sum(bool(row["is_backlog"]) for row in runs),
        "drained_at": last and last["ends_at"],
        "drained_after_run": last and last["run_no"],
    }


def _sentence(drain: dict[str, Any], last: Record) -> str:
    count, after = drain["backlog_count"], drain["drained_after_run"]
    windows = f"{count} window{'' if count == 1 else 's'}"
    if after is None:
        return (
            f"windows still wait at {local(last['ends_at'])}, after run {last['run_no']}; "
            "--runs looks further ahead"
        )
    if count == 0:
        return f"there is no backlog; after run {after} none of what settles meanwhile waits either"
    return f"the backlog of {windows} is drained at {local(drain['drained_at'])}, after run {after}"


# ---------------------------------------------------------------- history
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
