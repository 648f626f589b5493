"""The options of `record-ledger pipeline`. Imports nothing that is slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def add_pipeline(commands: Any, add_command: Callable[..., Any], add_pass: Any) -> None:
    """Adds `pipeline run`."""
    group = commands.add_parser(
        "pipeline",
        help="move windows of data from a source to a target",
        description="Move windows of data from a source to a target.",
        allow_abbrev=False,
    )
    verbs = group.add_subparsers(metavar="COMMAND", required=True, title="commands")
    run = add_command(
        verbs,
        "run",
        "pipeline.run",
        "pass the oldest valid record, move its window and complete it",
    )
    add_pass(run)
