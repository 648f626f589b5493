"""The grammar of `commands.work`."""

from __future__ import annotations

from typing import Any

from . import exec as grammar_of_exec
from .shared import add_claim, add_pass, command


def add(commands: Any) -> None:
    """Adds the commands, `exec` after `run`, which it is like."""
    run = command(
        commands,
        "run",
        "work.run",
        "store the windows that are due and pass the oldest valid record",
    )
    add_pass(run)
    grammar_of_exec.add(commands)
    complete = command(commands, "complete", "work.complete", "mark a passed record as done")
    add_claim(complete)
    complete.add_argument("--detail", metavar="JSON", help="kept with the record's history")
    fail = command(commands, "fail", "work.fail", "mark a passed record as failed")
    add_claim(fail)
    fail.add_argument("--error", required=True, metavar="TEXT", help="what went wrong")
    fail.add_argument("--no-retry", action="store_true", help="make no further attempt")
    release = command(commands, "release", "work.release", "give a passed record back untried")
    add_claim(release)
    release.add_argument(
        "--not-before",
        metavar="TIME",
        help="pass it to no run before then; ISO 8601, without an offset the pipeline's local time",
    )
    heartbeat = command(
        commands,
        "heartbeat",
        "work.heartbeat",
        "keep a passed record claimed for another lease, and say when it is cancelled",
    )
    add_claim(heartbeat)
