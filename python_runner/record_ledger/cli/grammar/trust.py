"""The grammar of `commands.trust`."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from .shared import add_json, add_pipeline, command, count


def add(commands: Any) -> None:
    """Adds the commands."""
    at_risk = command(
        commands, "at-risk", "trust.at_risk", "show which windows' source data will soon be gone"
    )
    add_pipeline(at_risk, is_required=False)
    at_risk.add_argument(
        "--all", action="store_true", help="all windows that are not done, by the time left"
    )
    at_risk.add_argument(
        "--limit",
        type=count,
        default=20,
        metavar="N",
        help="windows to show (default: 20; 0: all)",
    )
    add_json(at_risk)
    for name, is_required, help_text in (
        ("recount-due", True, "show which windows' source should be counted again"),
        ("changed", False, "show the completed records whose source has changed since"),
        ("reopen-changed", True, "reopen records whose source has changed beyond the tolerance"),
        ("lateness", False, "show how late data came, as recounts have measured it"),
    ):
        plain = command(commands, name, f"trust.{name.replace('-', '_')}", help_text)
        add_pipeline(plain, is_required=is_required)
        add_json(plain)
    suggest = command(
        commands,
        "suggest-x-time-back",
        "trust.suggest_x_time_back",
        "show the shortest measured x_time_back that misses few enough rows",
    )
    add_pipeline(suggest)
    suggest.add_argument(
        "--max-missed",
        type=_share,
        default="0",
        metavar="SHARE",
        help="the share of rows that may come later, like 0.001 (default: 0)",
    )
    add_json(suggest)
    coverage = command(
        commands, "coverage", "trust.coverage", "show how windows cover each local day"
    )
    add_pipeline(coverage)
    for option, which in (("--from", "first"), ("--to", "last")):
        coverage.add_argument(
            option,
            dest=f"{option[2:]}_date",
            type=_date,
            metavar="DATE",
            help=f"the {which} day (default: the {which} one with a window)",
        )
    add_json(coverage)
    is_day_sealed = command(
        commands,
        "is-day-sealed",
        "trust.is_day_sealed",
        "exit with 0 when a local day is covered by windows that are done, 99 when it is not",
    )
    add_pipeline(is_day_sealed)
    is_day_sealed.add_argument("date", type=_date, metavar="DATE", help="like 2026-11-22")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no date like 2026-11-22") from None


def _share(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no share from 0 to 1, such as 0.001")
    return text
