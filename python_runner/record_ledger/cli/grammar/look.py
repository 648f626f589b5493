"""The grammar of `commands.look`."""

from __future__ import annotations

import argparse
from typing import Any

from .shared import add_json, command, count


def add(commands: Any) -> None:
    """Adds the commands."""
    status = command(commands, "status", "look.status", "show where each pipeline stands")
    status.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this one")
    which = status.add_mutually_exclusive_group()
    which.add_argument(
        "--retired", action="store_true", help="show the retired pipelines instead, and why"
    )
    which.add_argument(
        "--fail-on",
        type=_conditions,
        default=[],
        metavar="LIST",
        help="exit 1 when a pipeline meets one of: failed, incomplete, at-risk, behind=DURATION "
        "(such as failed,behind=2h)",
    )
    add_json(status)
    why = command(commands, "why", "look.why", "show why each open record is passed or not")
    why.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this one")
    why.add_argument(
        "--limit",
        type=count,
        default=20,
        metavar="N",
        help="records to show (default: 20; 0: all)",
    )
    why.add_argument(
        "--window",
        metavar="TIME",
        help="only PIPELINE's window that starts then, and when its turn comes; ISO 8601",
    )
    add_json(why)
    plan = command(
        commands, "plan", "look.plan", "show which windows the next runs will be passed, and when"
    )
    plan.add_argument("pipeline", metavar="PIPELINE")
    plan.add_argument("--runs", type=count, default=10, metavar="N", help="how many (default: 10)")
    plan.add_argument(
        "--at",
        metavar="TIME",
        help="plan from then on: ISO 8601; without an offset the pipeline's local time",
    )
    plan.add_argument(
        "--workers", type=count, default=1, metavar="N", help="runs at a time (default: 1)"
    )
    plan.add_argument(
        "--run-duration",
        metavar="DURATION",
        help="how long a run takes, like 20m (default: the median of the newest completed ones)",
    )
    add_json(plan)
    history = command(
        commands, "history", "look.history", "show what happened to one record, archived or not"
    )
    history.add_argument("pipeline", metavar="PIPELINE")
    history.add_argument(
        "window_start",
        metavar="WINDOW_START",
        help="ISO 8601; without an offset as tables show it",
    )
    add_json(history)
    as_of = command(
        commands, "as-of", "look.as_of", "show how many records were in each status at a time"
    )
    as_of.add_argument(
        "time",
        metavar="TIME",
        help="ISO 8601; without an offset PIPELINE's local time",
    )
    as_of.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this one")
    as_of.add_argument(
        "--json", action="store_true", help="print one JSON object with the records as they were"
    )


def _conditions(text: str) -> list[str]:
    conditions = [part.strip() for part in text.split(",") if part.strip()]
    if not conditions:
        raise argparse.ArgumentTypeError(f"{text!r:.80} would never fail; give one at least")
    for condition in conditions:
        name, equals, limit = condition.partition("=")
        if name == "behind" and limit:
            continue
        if name not in ("failed", "incomplete", "at-risk") or equals:
            raise argparse.ArgumentTypeError(
                f"{condition!r} is none of failed, incomplete, at-risk, behind=DURATION "
                "(such as behind=2h)"
            )
    return conditions
