"""why --window: one window in full: its verdict, and when its turn comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .common import opened, time_of
from .exits import PROCEED, CommandError
from .tables import local
from .terminal import STYLES, print_json, put

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.values import Record

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
