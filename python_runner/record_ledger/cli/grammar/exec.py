"""The grammar of `commands.exec`."""

from __future__ import annotations

import argparse
from typing import Any

from .shared import add_pass, command

_USAGE = "record-ledger exec --config FILE [OPTION ...] -- COMMAND [ARG ...]"
_EPILOG = """\
{{ window_start_time }} in an argument, and every other field and column of the record, is rendered.
The command finds the record in RECORD_LEDGER_RECORD and the like, and whole in the file that
RECORD_LEDGER_RECORD_FILE names; the ledger in RECORD_LEDGER_DSN, without a password of --dsn. The
lease is extended while it runs. Exit code 0 of the command completes the record when its standard
output was written; any other end fails it. `record-ledger cancel` has the command stopped within
30 s, as by SIGTERM; the record then fails for good.

A template within a program's text (sh -c 'cat {{ file }}') makes a field's text code. The safe
forms: sh -c 'cat -- "$RECORD_LEDGER_FIELD_FILE"', and cat -- '{{ file }}'.

A run has one record. With a fixed --run-id one window is processed, ever: name each run, as in
--run-id "nightly-$(date +%F)", or leave the option out. With --drain or --jobs the records are
passed to the runs ID/1, ID/2 ... of a --run-id ID.

exit codes: 0 as the command, 1 it failed or was cancelled, its output could not be written or the
claim was lost, 99 no record was passed, 130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP, which
are passed on to the command
"""
_LONGEST_GRACE = 86400.0


def add(commands: Any) -> None:
    """Adds `exec`, which has the options of `run` and others."""
    execute = command(
        commands,
        "exec",
        "exec.execute",
        "pass a record, run a command on it, and complete or fail the record by how it ends",
        usage=_USAGE,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pass(execute)
    execute.add_argument(
        "--drain", action="store_true", help="go on with the next record until none is valid"
    )
    execute.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="run up to N commands at the same time (default: 1)",
    )
    execute.add_argument(
        "--grace",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long a command that is stopped may take before it is killed (default: 10)",
    )
    execute.add_argument(
        "--no-dsn",
        action="store_true",
        help="keep the ledger from the command: neither RECORD_LEDGER_DSN nor a PG* variable of "
        "ours is in its environment",
    )
    execute.add_argument(
        "arguments",
        nargs="+",
        metavar="COMMAND",
        help="the command and its arguments, Jinja templates over the record; after --",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= _LONGEST_GRACE:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no number of seconds from 0 to a day")
    return seconds
