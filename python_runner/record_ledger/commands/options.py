"""The command line's grammar: commands, options and help texts. Imports nothing that is slow."""

from __future__ import annotations

import argparse
from typing import Any

from . import exec_options
from .counts_options import add_counts
from .operator_options import add_operations
from .pipeline_options import add_pipeline
from .terminal import put
from .trust_options import add_trust

_LONGEST_RETRY = 86400.0
_EPILOG = """\
exit codes: 0 proceed (or done), 99 nothing to do, 1 error (or a command of exec failed),
2 wrong usage

database: --dsn ('' for libpq's defaults), else --embedded, else RECORD_LEDGER_DSN, else libpq's
PGHOST, PGDATABASE ..., else the embedded server in RECORD_LEDGER_HOME; else an error
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `record-ledger`; its result names the module and function to call."""
    top = argparse.ArgumentParser(
        prog="record-ledger",
        description="Which time window of which pipeline is next, settled, complete and free.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[_common_options()],
    )
    top.add_argument("--version", action=_Version, help="show the release and exit")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    _add_setup(commands)
    _add_work(commands)
    _add_views(commands)
    add_counts(commands, _command)
    add_operations(commands, _command)
    add_trust(commands, _command, _count)
    add_pipeline(commands, _command, _add_pass)
    _add_keeping(commands)
    return top


class _Version(argparse.Action):
    """Looks the release up only when asked for: reading package metadata takes time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "nargs": 0})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from record_ledger.server.sql_files import package_release  # noqa: PLC0415 - see above

        put(f"record-ledger {package_release()}")
        parser.exit()


def _common_options() -> argparse.ArgumentParser:
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


def _command(
    commands: Any, name: str, target: str, help_text: str, **options: Any
) -> argparse.ArgumentParser:
    """Adds a command; `target` is 'module.function' under record_ledger.commands."""
    module, function = target.split(".")
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        parents=[_common_options()],
        allow_abbrev=False,
        **options,
    )
    command.set_defaults(module=module, function=function)
    return command


def _add_setup(commands: Any) -> None:
    demo = _command(
        commands, "demo", "demo.demo", "try the ledger: two pipelines on an embedded server"
    )
    demo.add_argument(
        "--dir",
        default="record-ledger-demo",
        metavar="DIR",
        help="where the demo's server keeps its data (default: ./record-ledger-demo)",
    )
    deploy = _command(
        commands, "deploy", "setup.deploy", "create or upgrade the ledger in a database"
    )
    deploy.add_argument(
        "--print-sql", action="store_true", help="print the script for psql and change nothing"
    )
    deploy.add_argument(
        "--owner",
        metavar="ROLE",
        help="the role that the ledger is to belong to (default: its owner now, at first the user)",
    )
    doctor = _command(
        commands, "doctor", "setup.doctor", "check that this machine and the database fit together"
    )
    _add_json(doctor)


def _add_work(commands: Any) -> None:
    run = _command(
        commands,
        "run",
        "work.run",
        "store the windows that are due and pass the oldest valid record",
    )
    _add_pass(run)
    _add_exec(commands)
    complete = _command(commands, "complete", "work.complete", "mark a passed record as done")
    _add_claim(complete)
    complete.add_argument("--detail", metavar="JSON", help="kept with the record's history")
    fail = _command(commands, "fail", "work.fail", "mark a passed record as failed")
    _add_claim(fail)
    fail.add_argument("--error", required=True, metavar="TEXT", help="what went wrong")
    fail.add_argument("--no-retry", action="store_true", help="make no further attempt")
    release = _command(commands, "release", "work.release", "give a passed record back untried")
    _add_claim(release)
    release.add_argument(
        "--not-before",
        metavar="TIME",
        help="pass it to no run before then; ISO 8601, without an offset the pipeline's local time",
    )
    heartbeat = _command(
        commands,
        "heartbeat",
        "work.heartbeat",
        "keep a passed record claimed for another lease, and say when it is cancelled",
    )
    _add_claim(heartbeat)


def _add_exec(commands: Any) -> None:
    execute = _command(
        commands,
        "exec",
        "execute.execute",
        "pass a record, run a command on it, and complete or fail the record by how it ends",
        usage=exec_options.USAGE,
        epilog=exec_options.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_pass(execute)
    exec_options.add_to(execute)


def _add_pass(command: argparse.ArgumentParser) -> None:
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


def _add_views(commands: Any) -> None:
    status = _command(commands, "status", "look.status", "show where each pipeline stands")
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
    _add_json(status)
    why = _command(commands, "why", "look.why", "show why each open record is passed or not")
    why.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this one")
    why.add_argument(
        "--limit",
        type=_count,
        default=20,
        metavar="N",
        help="records to show (default: 20; 0: all)",
    )
    why.add_argument(
        "--window",
        metavar="TIME",
        help="only PIPELINE's window that starts then, and when its turn comes; ISO 8601",
    )
    _add_json(why)
    plan = _command(
        commands, "plan", "plan.plan", "show which windows the next runs will be passed, and when"
    )
    plan.add_argument("pipeline", metavar="PIPELINE")
    plan.add_argument("--runs", type=_count, default=10, metavar="N", help="how many (default: 10)")
    plan.add_argument(
        "--at",
        metavar="TIME",
        help="plan from then on: ISO 8601; without an offset the pipeline's local time",
    )
    plan.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="runs at a time (default: 1)"
    )
    plan.add_argument(
        "--run-duration",
        metavar="DURATION",
        help="how long a run takes, like 20m (default: the median of the newest completed ones)",
    )
    _add_json(plan)
    history = _command(
        commands, "history", "history.history", "show what happened to one record, archived or not"
    )
    history.add_argument("pipeline", metavar="PIPELINE")
    history.add_argument(
        "window_start",
        metavar="WINDOW_START",
        help="ISO 8601; without an offset as tables show it",
    )
    _add_json(history)
    as_of = _command(
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


def _add_keeping(commands: Any) -> None:
    archive = _command(
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


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="print one JSON object (durations in seconds)"
    )


def _add_claim(command: argparse.ArgumentParser) -> None:
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


def _run_id(text: str) -> str:
    if not text.strip():  # by a variable that is not set, say; each retry would take a new window
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} names no run; without --run-id one is drawn"
        )
    return text


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


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no whole number from 0 on")
    return int(text)
