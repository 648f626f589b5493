"""The grammar of `commands.operate`."""

from __future__ import annotations

import argparse
from typing import Any

from .shared import add_pipeline, command

_TIMES = "ISO 8601; without an offset the pipeline's local time, a date its first instant"


def add(commands: Any) -> None:
    """Adds the commands."""
    for name, help_text, aliases in (
        ("waive", "mark pending and failed records as needing no run", ()),
        ("reopen", "make finished and failed records pending once more", ()),
        (
            "expire",
            "take records back from runs that are known to be dead (those that are alive: cancel)",
            ("expire-leases",),
        ),
        (
            "cancel",
            "stop the runs that hold records, within 30 s; the records fail for good",
            (),
        ),
    ):
        on_range = command(commands, name, f"operate.{name}", help_text, aliases=aliases)
        add_pipeline(on_range)
        _add_from(on_range, "records whose window starts before this stay as they are")
        on_range.add_argument(
            "--to", dest="to_time", required=True, metavar="TIME",
            help=f"records whose window ends after this stay as they are; {_TIMES}",
        )  # fmt: skip
        _add_how(on_range, reason_is_required=True)
    backfill = command(
        commands, "backfill", "operate.backfill", "add records before a pipeline's first one"
    )
    add_pipeline(backfill)
    _add_from(backfill, "the first record added starts at the beginning of this day")
    _add_how(backfill, reason_is_required=False)
    for name, help_text in (
        ("pause", "let no record of a pipeline be passed until it is resumed"),
        ("resume", "let a paused or retired pipeline run again"),
        ("retire", "pause a pipeline for good and keep its history"),
    ):
        on_pipeline = command(commands, name, f"operate.{name}", help_text)
        add_pipeline(on_pipeline)
        _add_how(on_pipeline, reason_is_required=name != "resume")
    owner = command(
        commands, "set-owner", "operate.set_owner", "give a pipeline to a role, or to all runners"
    )
    add_pipeline(owner)
    to_whom = owner.add_mutually_exclusive_group(required=True)
    to_whom.add_argument(
        "role", metavar="ROLE", nargs="?", help="only its members act in the pipeline from then on"
    )
    to_whom.add_argument(
        "--none", dest="has_no_owner", action="store_true", help="every runner may act in it again"
    )
    _add_json(owner)


def _add_from(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--from", dest="from_time", required=True, metavar="TIME", help=f"{what}; {_TIMES}"
    )


def _add_how(command: argparse.ArgumentParser, *, reason_is_required: bool) -> None:
    command.add_argument(
        "--reason",
        required=reason_is_required,
        metavar="TEXT",
        help="why; kept in the history with who did it and when",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what would change and write nothing"
    )
    _add_json(command)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the JSON object only")
