"""The grammar of `commands.keep`."""

from __future__ import annotations

from typing import Any

from .shared import command


def add(commands: Any) -> None:
    """Adds the commands."""
    archive = command(
        commands, "archive", "keep.archive", "move a pipeline's oldest finished records away"
    )
    archive.add_argument("pipeline", metavar="PIPELINE")
    archive.add_argument(
        "--before",
        required=True,
        metavar="TIME",
        help="records whose window ends by then; ISO 8601, without an offset local time",
    )
    archive.add_argument(
        "--dry-run", action="store_true", help="say what would be moved and change nothing"
    )
