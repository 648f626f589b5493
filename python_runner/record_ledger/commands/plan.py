"""plan: which windows the next runs will be passed, and when the backlog is drained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .common import opened, time_of
from .exits import PROCEED
from .tables import local, print_table
from .terminal import print_json, put

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.values import Record


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
