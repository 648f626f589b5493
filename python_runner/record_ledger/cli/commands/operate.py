"""What a person does to records and pipelines: waive, reopen, cancel, pause, retire, own ..."""

from __future__ import annotations

import shlex
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import note, opened, unknown_pipeline
from record_ledger.cli.exits import PROCEED, CommandError
from record_ledger.cli.progress import Progress
from record_ledger.cli.tables import local, print_table
from record_ledger.cli.terminal import print_json, put
from record_ledger.heartbeat import LONGEST_PAUSE

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

_DRY_RUN = "Dry run: nothing was written."
# A pipeline without an owner.
_ANY_RUNNER = "(any runner)"
# range_effects, of a window that lies across an end of the range.
_CUT = "only a part of its window lies in the range"
_WHEN_RUNS_LEARN = (
    f"Runs that send heartbeats learn of it within {LONGEST_PAUSE:.0f} s and stop. From runs that "
    "are dead, `record-ledger expire` takes records back."
)


def waive(args: Namespace) -> int:
    """Marks the pending and failed records of a range WAIVED."""
    return _change_records(args, "waive")


def reopen(args: Namespace) -> int:
    """Makes the finished and failed records of a range pending anew."""
    return _change_records(args, "reopen")


def expire(args: Namespace) -> int:
    """Takes the records of a range back from runs that are known to be dead."""
    return _change_records(args, "expire")


def cancel(args: Namespace) -> int:
    """Asks the runs that hold the records of a range to stop."""
    return _change_records(args, "cancel")


def backfill(args: Namespace) -> int:
    """Adds records before the first one of a pipeline."""
    return _change_records(args, "backfill")


def _change_records(args: Namespace, operation: str) -> int:
    """Shows what is changed and what is left alone; changes it unless it is a dry run."""
    _check_reason(args, operation)
    to_time = getattr(args, "to_time", None)
    with opened(args) as ledger:
        effects = ledger.range_effects(operation, args.pipeline, args.from_time, to_time)
        whole_range = _whole_range(ledger, args, effects)
        expected = _counted(effects, "changed")
        result = {
            "operation": operation,
            "pipeline_id": args.pipeline,
            "dry_run": args.dry_run,
            "changed_count": expected,
            "left_alone_count": _counted(effects, "left alone"),
            "effects": effects,
        }
        if not args.dry_run:
            steps = Steps(args, operation)
            try:
                in_steps(ledger, args, steps, expected)
            except BaseException:
                # Ctrl-C, too: whatever stops the work, what is done is done, and is said.
                _stopped(args, result, steps)
                raise
            result["changed_count"] = steps.changed
            if steps.changed != expected:
                note(
                    args,
                    f"{expected:,} records were to change and {steps.changed:,} did: somebody else "
                    "changed others meanwhile",
                )
    if not args.json:
        _print_effects(effects)
        if whole_range is not None:
            put(whole_range)
        put(_DRY_RUN if args.dry_run else f"Changed: {_records(steps.changed)}.")
        if operation == "cancel" and not args.dry_run and steps.changed:
            put(_WHEN_RUNS_LEARN)
    print_json(result)
    return PROCEED


def _stopped(args: Namespace, result: dict[str, Any], steps: Steps) -> None:
    if steps.finished == 0:
        return
    note(
        args,
        f"stopped after {_records(steps.changed)} changed, all steps before this one kept; go on "
        f"with {steps.how_to_go_on()}",
    )
    with suppress(OSError):  # what stopped the work matters more
        print_json(
            {
                **result,
                "changed_count": steps.changed,
                "stopped": True,
                "go_on_from": steps.go_on_from,
            }
        )


def _print_effects(effects: list[Record]) -> None:
    print_table(
        ["EFFECT", "STATUS", "RECORDS", "FROM", "TO", "WHY"],
        [
            [
                row["effect"],
                row["status"],
                f"{row['record_count']:,}",
                local(row["first_window_start_time"]),
                local(row["last_window_end_time"]),
                row["reason"],
            ]
            for row in effects
        ],
        ["RECORDS"],
    )
    if not effects:
        put("No record lies in the range.")


def _whole_range(ledger: RecordLedger, args: Namespace, effects: list[Record]) -> str | None:
    """Returns the sentence that names the range in which windows lie whole that this one cuts.

    The days of a new zone, for instance, cut every window of an older one.
    """
    cut = [row for row in effects if row["reason"] == _CUT]
    if not cut:
        return None
    first = min(row["first_window_start_time"] for row in cut)
    last = max(row["last_window_end_time"] for row in cut)
    count = sum(row["record_count"] for row in cut)
    start, end = args.from_time, args.to_time
    if first < ledger.pipeline_time(args.pipeline, start):
        start = first.isoformat()
    if last > ledger.pipeline_time(args.pipeline, end):
        end = last.isoformat()
    windows, them = ("window lies", "it") if count == 1 else ("windows lie", "them")
    whole = shlex.join(["--from", start, "--to", end])
    return f"{count:,} {windows} across an end of the range: {whole} holds {them} whole."


def _counted(effects: list[Record], effect: str) -> int:
    return sum(row["record_count"] for row in effects if row["effect"] == effect)


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


# ---------------------------------------------------------------- pipelines
def pause(args: Namespace) -> int:
    """Lets no record of a pipeline be passed until it is resumed."""
    return _change_pipeline(args, "pause")


def resume(args: Namespace) -> int:
    """Lets a paused or retired pipeline run again."""
    return _change_pipeline(args, "resume")


def retire(args: Namespace) -> int:
    """Pauses a pipeline for good, and keeps its history."""
    return _change_pipeline(args, "retire")


def set_owner(args: Namespace) -> int:
    """Gives a pipeline to a role, or back to all runners."""
    with opened(args) as ledger:
        before = ledger.pipelines(args.pipeline)
        ledger.set_pipeline_owner(args.pipeline, None if args.has_no_owner else args.role)
        after = ledger.pipelines(args.pipeline)
    was, now = before[0]["owner_role"], after[0]["owner_role"]
    if not args.json:
        shown = [_ANY_RUNNER if role is None else role for role in (was, now)]
        print_table(["PIPELINE", "WAS OWNED BY", "IS OWNED BY"], [[args.pipeline, *shown]])
    print_json({"operation": "set-owner", "pipeline_id": args.pipeline, "was": was, "is": now})
    return PROCEED


def _change_pipeline(args: Namespace, operation: str) -> int:
    """Shows what a pipeline was and is, or would be; changes it unless it is a dry run."""
    _check_reason(args, operation)
    with opened(args) as ledger:
        before = ledger.pipelines(args.pipeline)
        if args.dry_run:
            if not before:
                raise unknown_pipeline(args.pipeline)
        elif operation == "pause":
            ledger.pause_pipeline(args.pipeline, args.reason)
        elif operation == "resume":
            ledger.resume_pipeline(args.pipeline, args.reason)
        else:
            ledger.retire_pipeline(args.pipeline, args.reason)
        after = ledger.pipelines(args.pipeline)
    was, now = _state(before[0]), _state(after[0])
    paused = {key: after[0][key] for key in ("paused_at", "paused_by", "pause_reason")}
    if args.dry_run:
        now = _foretold(was, operation)
        # Who does it, and when, is not known before.
        paused = {**dict.fromkeys(paused), "pause_reason": None if now == "active" else args.reason}
    if not args.json:
        print_table(
            ["PIPELINE", "WAS", "IS", "SINCE", "BY", "REASON"],
            [
                [
                    args.pipeline,
                    was,
                    now,
                    local(paused["paused_at"]),
                    paused["paused_by"],
                    paused["pause_reason"],
                ]
            ],
        )
        if args.dry_run:
            put(_DRY_RUN)
    print_json(
        {
            "operation": operation,
            "pipeline_id": args.pipeline,
            "dry_run": args.dry_run,
            "was": was,
            "is": now,
            **paused,
        }
    )
    return PROCEED


def _foretold(was: str, operation: str) -> str:
    """Returns the state that an operation leads to."""
    if operation == "resume":
        return "active"
    # A retired pipeline stays retired when it is paused.
    return "retired" if operation == "retire" or was == "retired" else "paused"


def _check_reason(args: Namespace, operation: str) -> None:
    """A dry run sends the server no reason: it refuses here what the server would."""
    if args.dry_run and operation not in ("backfill", "resume") and not args.reason.strip():
        raise CommandError("reason: must not be blank")


def _state(pipeline: Record) -> str:
    if pipeline["is_retired"]:
        return "retired"
    return "active" if pipeline["paused_at"] is None else "paused"


# ---------------------------------------------------------------- long work in steps
# Each step is a call of its own, committed whole, so that runs get their turn.

# The first step; the server says after each how many records the next one can change in a moment.
# While a step lasts no run of the pipeline is served.
STEP_SIZE = 1_000
LARGEST_STEP = 10_000


class Steps:
    """How far the work has come: what was changed, and where to go on when it is stopped."""

    def __init__(self, args: Namespace, operation: str) -> None:
        self.changed = 0
        self.finished = 0
        self.go_on_from: str = args.from_time
        self._args = args
        self._operation = operation

    def finish(self, changed: int, go_on_from: str) -> None:
        """Notes that a step was committed."""
        self.changed += changed
        self.finished += 1
        self.go_on_from = go_on_from

    def how_to_go_on(self) -> str:
        """Returns the command that does the rest."""
        words = ["record-ledger", self._operation, self._args.pipeline, "--from", self.go_on_from]
        if getattr(self._args, "to_time", None) is not None:
            words += ["--to", self._args.to_time]
        if self._args.reason is not None:
            words += ["--reason", self._args.reason]
        return shlex.join(words)


def in_steps(ledger: RecordLedger, args: Namespace, steps: Steps, expected: int) -> None:
    """Waives, reopens, expires or cancels the records of a range, the oldest first.

    A backfill adds records, the newest first, so that each step leaves a whole history.
    """
    with Progress(args, expected) if expected > STEP_SIZE else nullcontext() as progress:
        size = STEP_SIZE
        start: str | None = steps.go_on_from
        while start is not None:
            step = ledger._range_step(
                args.function,
                args.pipeline,
                start,
                getattr(args, "to_time", None),
                args.reason,
                max_records=size,
            )
            start = step.go_on_from
            size = min(step.next_max_records, LARGEST_STEP)
            steps.finish(step.changed_count, start or steps.go_on_from)
            if progress is not None:
                progress.advance(step.changed_count)
