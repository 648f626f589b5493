"""The grammar of `commands.counts`."""

from __future__ import annotations

from typing import Any

from .shared import command

_RECORD = "what `run` printed; - for stdin (default: the record of the `exec` around it)"
_TIME = "ISO 8601; without an offset as tables show it"


def add(commands: Any) -> None:
    """Adds the commands."""
    observe = command(
        commands, "observe", "counts.observe", "note how many rows a record has at a stage"
    )
    observe.add_argument("stage", metavar="STAGE", help="source, stage, target or your own name")
    observe.add_argument("rows", type=int, metavar="ROWS", help="how many rows were counted")
    observe.add_argument("--record", metavar="FILE", help=_RECORD)
    observe.add_argument("--pipeline", metavar="ID", help="instead: the record's pipeline")
    observe.add_argument("--window", metavar="TIME", help=f"and its window's start; {_TIME}")
    observe.add_argument(
        "--claim-token", type=int, metavar="N",
        help="and its claim token; without one the count is no evidence for completing",
    )  # fmt: skip
    observe.add_argument("--detail", metavar="JSON", help="what else was seen: bytes, digests")
    adopt = command(
        commands, "adopt", "counts.adopt", "take over what earlier claims on a record counted",
        aliases=("adopt-observations",),
    )  # fmt: skip
    adopt.add_argument("stage", nargs="?", metavar="STAGE", help="only of this stage")
    adopt.add_argument("--record", metavar="FILE", help=_RECORD)
    adopt.add_argument("--pipeline", metavar="ID", help="instead: the record's pipeline")
    adopt.add_argument("--claim-token", type=int, metavar="N", help="and its claim token")
    adopt.add_argument(
        "--window", metavar="TIME", help=f"and the start of its window, if known; {_TIME}"
    )
    waive = command(
        commands, "waive-counts", "counts.waive_counts",
        "let a record be completed whatever its counts are",
    )  # fmt: skip
    waive.add_argument("pipeline", metavar="PIPELINE")
    waive.add_argument("window_start", metavar="WINDOW_START", help=_TIME)
    waive.add_argument(
        "--reason", required=True, metavar="TEXT",
        help="why; kept in the history with who did it and when",
    )  # fmt: skip
