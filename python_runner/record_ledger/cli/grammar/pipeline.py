"""The grammar of `commands.pipeline`."""

from __future__ import annotations

from typing import Any

from .shared import add_pass, command


def add(commands: Any) -> None:
    """Adds `pipeline run`."""
    group = commands.add_parser(
        "pipeline",
        help="move windows of data from a source to a target",
        description="Move windows of data from a source to a target.",
        allow_abbrev=False,
    )
    verbs = group.add_subparsers(metavar="COMMAND", required=True, title="commands")
    run = command(
        verbs,
        "run",
        "pipeline.run",
        "pass the oldest valid record, move its window and complete it",
    )
    add_pass(run)
