"""What the commands' grammar shares. Imports nothing that is slow."""

from __future__ import annotations

import argparse
from typing import Any

_LONGEST_RETRY = 86400.0


def common_options() -> argparse.ArgumentParser:
    """Returns the options that stand before or after the command alike."""
    # No defaults: the command's would override what stands before it.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("global options")
    group.add_argument("--dsn", metavar="DSN", help="libpq connection string of the database")
    group.add_argument(
        "--embedded",
        nargs="?",
        const="",
        metavar="DIR",
        help="use the embedded server, with its data in DIR (default: RECORD_LEDGER_HOME, or "
        "~/.record-ledger)",
    )
    group.add_argument(
        "--retry-within",
        type=_seconds,
        metavar="SECONDS",
        help="how long a call is tried while the database cannot be reached; what ends a claim, "
        "until its lease is over (default: RECORD_LEDGER_RETRY_WITHIN, or 30)",
    )
    group.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        help="what to log to standard error (default: warning)",
    )
    group.add_argument("-v", "--verbose", action="count", help="log more; -vv logs most")
    group.add_argument("-q", "--quiet", action="store_true", help="log errors only")
    return common


def command(
    commands: Any, name: str, target: str, help_text: str, **options: Any
) -> argparse.ArgumentParser:
    """Adds a command; `target` is 'module.function' under cli.commands."""
    module, function = target.split(".")
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        parents=[common_options()],
        allow_abbrev=False,
        **options,
    )
    command.set_defaults(module=module, function=function)
    return command


def add_pipeline(command: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """Adds the PIPELINE that a command is about."""
    if is_required:
        command.add_argument("pipeline", metavar="PIPELINE")
    else:
        command.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this one")


def add_json(command: argparse.ArgumentParser) -> None:
    """Adds --json."""
    command.add_argument(
        "--json", action="store_true", help="print one JSON object (durations in seconds)"
    )


def add_pass(command: argparse.ArgumentParser) -> None:
    """Adds what a pass needs: the config and the name of the run."""
    command.add_argument(
        "--config", required=True, metavar="FILE", help="the config, JSON or TOML; - for stdin"
    )
    command.add_argument(
        "--run-id",
        type=_run_id,
        metavar="ID",
        help="name of this run, another one for each: asking again gives its record back, and no "
        "second one (default: from AIRFLOW_CTX_*, else a new one)",
    )


def add_claim(command: argparse.ArgumentParser) -> None:
    """Adds what names a claim."""
    command.add_argument("--pipeline", metavar="ID", help="the record's pipeline")
    command.add_argument("--claim-token", type=int, metavar="N", help="the record's claim token")
    command.add_argument(
        "--window",
        metavar="TIME",
        help="the start of its window: with another one the token is refused; "
        "ISO 8601, without an offset the pipeline's local time",
    )
    command.add_argument(
        "--record", metavar="FILE", help="instead of these: what `run` printed; - for stdin"
    )


def count(text: str) -> int:
    """Reads a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no whole number from 0 on")
    return int(text)


def _run_id(text: str) -> str:
    if not text.strip():  # by a variable that is not set, say; each retry would take a new window
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} names no run; without --run-id one is drawn"
        )
    return text


def _seconds(text: str) -> str:
    """Returns the text as it is: the connection reads it from the environment."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= _LONGEST_RETRY:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is not a valid number of seconds; give one from 0 to a day"
        )
    return text
