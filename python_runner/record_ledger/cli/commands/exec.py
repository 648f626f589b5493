"""exec: passes records, runs a command on each, and ends each claim by how the command ended."""

from __future__ import annotations

import os
import re
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from record_ledger import logs
from record_ledger.cli.common import database
from record_ledger.cli.config_file import read_config
from record_ledger.cli.exits import FAILED, NOTHING_TO_DO, PROCEED, SIGNAL_CODE, CommandError
from record_ledger.cli.streams import drop_stdout
from record_ledger.cli.terminal import print_json, put, told
from record_ledger.client import RecordLedger
from record_ledger.config import is_template, pipeline_id_of
from record_ledger.exec.environment import RecordFiles, dsn_for_commands
from record_ledger.exec.output import Output
from record_ledger.exec.pool import Jobs, Turns
from record_ledger.exec.reaper import Guard
from record_ledger.exec.signals import Stop
from record_ledger.exec.turn import CANCELLED, COMPLETED, LOST, NOTHING, RELEASED, Outcome, Work
from record_ledger.exec.turn import FAILED as COMMAND_FAILED

from .work import airflow_run_id

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from record_ledger.values import Record


# sh -c, bash -lc, python -c, perl -e, node --eval: the next argument is a program.
_RUNS_TEXT = re.compile(r"-[a-zA-Z]*[ce]|--(?:command|eval|execute)")


def execute(args: Namespace) -> int:
    """Runs a command on the oldest valid record, or on each; 0 as the command, 1 when it failed.

    99 when nothing was passed. 130, 143 and 129 when it was stopped by Ctrl-C, SIGTERM and SIGHUP,
    which the command gets too. Whatever happens, no record is completed unless the command ended
    with 0 while the claim was held and its standard output was written; and none that was not
    started costs an attempt.
    """
    config = read_config(args.config)
    arguments = _arguments(args.arguments)
    run_id = args.run_id or airflow_run_id()
    several = args.drain or args.jobs > 1
    stdout = Output(sys.stdout)
    # A terminal is the command's own; of what others read, the last line must be ours.
    leaves_stdout = sys.stdout.isatty() and args.jobs == 1
    with database(args) as conninfo, Guard() as guard, _record_files() as files:
        guard.remove(files.folder)
        known = _known_runs(conninfo, config, run_id) if args.drain else 0
        work = Work(
            config=config,
            arguments=arguments,
            stdout=None if leaves_stdout else stdout,
            stderr=Output(sys.stderr),
            whole_lines=args.jobs > 1,
            reads_stdin=not several,
            grace=args.grace,
            guard=guard,
            stop=Stop(),
            files=files,
            dsn=None if args.no_dsn else dsn_for_commands(conninfo),
            hides_ledger=args.no_dsn,
        )
        turns = Turns(run_id, jobs=args.jobs, drain=args.drain, known=known)
        jobs = Jobs(work, turns, conninfo, told)
        all_ended = jobs.run(args.jobs)
    code = SIGNAL_CODE + (work.stop.signal or 0)
    if not all_ended:
        # Threads that hang in the database, or in writing, would keep Python from ending.
        os._exit(code)
    unwritten: OSError | None = None
    if jobs.error is None or jobs.outcome is not None:
        unwritten = _print(stdout, _summary(config, jobs) if several else _single(config, jobs))
    if work.stop.signal is not None:
        return code
    error = jobs.error or unwritten
    if error is not None:
        raise error
    return _exit_code(jobs)


def _print(stdout: Output, answer: dict[str, Any]) -> OSError | None:
    """Prints our JSON on a line of its own; returns what kept it from being written."""
    try:
        if stdout.is_in_line:
            put()
        print_json(answer)
    except OSError as error:
        drop_stdout()
        return error
    return None


def _record_files() -> RecordFiles:
    try:
        return RecordFiles()
    except OSError as error:
        raise CommandError(
            f"the files of records cannot be made ({error.strerror}); set TMPDIR to a folder with "
            "room"
        ) from error


def _arguments(texts: list[str]) -> Callable[[Record], list[str]]:
    """Returns what renders the command; refuses what is no template before anything is passed."""
    if not any(map(is_template, texts)):
        return lambda _record: texts
    # jinja2 is slow to import and seldom needed.
    from record_ledger.templates import ArgumentTemplates  # noqa: PLC0415

    templates = ArgumentTemplates(texts)
    _warn_of_code(texts)

    def render(record: Record) -> list[str]:
        rendered = templates.render(record)
        _warn_of_options(texts, rendered)
        return rendered

    return render


def _warn_of_code(texts: list[str]) -> None:
    """Warns of a template that a shell or another interpreter reads as a part of its program."""
    for option, text in pairwise(texts):
        if _RUNS_TEXT.fullmatch(option) and is_template(text):
            logs.logger.warning(
                logs.line(
                    event="template_in_a_program",
                    program=texts[0],
                    text=text,
                    hint="a field's text becomes code there; let the program read the variables "
                    "RECORD_LEDGER_FIELD_..., in quotes",
                )
            )


def _warn_of_options(texts: list[str], rendered: list[str]) -> None:
    """Warns of a field that the command may take for an option, because it begins with a dash."""
    for number, (text, shown) in enumerate(zip(texts, rendered, strict=True)):
        begins = text.startswith("{{") and shown.startswith("-")
        # Behind --, and behind the text of a program, arguments are no options.
        safe = any(one == "--" or _RUNS_TEXT.fullmatch(one) for one in texts[1:number])
        if begins and not safe:
            logs.logger.warning(
                logs.line(
                    event="field_looks_like_an_option",
                    argument=number,
                    text=shown,
                    hint="put -- before it, where the command knows that",
                )
            )


def _known_runs(conninfo: str | None, config: Any, run_id: str | None) -> int:
    """Returns up to which k the runs `run_id/k` had a record when this command was run before."""
    pipeline_id = pipeline_id_of(config) if isinstance(config, dict) else None
    if run_id is None or not isinstance(pipeline_id, str):
        return 0
    with RecordLedger(conninfo) as ledger:
        return ledger._last_run_number(pipeline_id, run_id)


def _exit_code(jobs: Jobs) -> int:
    if not jobs.counts:
        return NOTHING_TO_DO
    return PROCEED if set(jobs.counts) == {COMPLETED} else FAILED


def _single(config: Any, jobs: Jobs) -> dict[str, Any]:
    outcome = jobs.outcome
    if outcome is None or outcome.record is None:
        return {"outcome": NOTHING, "pipeline_id": pipeline_id_of(config), **_why(jobs.nothing)}
    record = outcome.record
    shown = {
        "outcome": outcome.outcome,
        "pipeline_id": record["pipeline_id"],
        "window_start_time": record["window_start_time"],
        "window_end_time": record["window_end_time"],
        "claim_token": record["claim_token"],
        "attempt": record["attempt"],
        "exit_code": outcome.exit_code,
    }
    return shown if outcome.reason is None else {**shown, "reason": outcome.reason}


def _summary(config: Any, jobs: Jobs) -> dict[str, Any]:
    counts = jobs.counts
    failed = set(counts) - {COMPLETED}
    return {
        "outcome": COMMAND_FAILED if failed else COMPLETED if counts else NOTHING,
        "pipeline_id": pipeline_id_of(config),
        **{name: counts[name] for name in (COMPLETED, COMMAND_FAILED, CANCELLED, LOST, RELEASED)},
        **_why(jobs.nothing),
    }


def _why(nothing: Outcome | None) -> dict[str, Any]:
    verdict, reason = (None, None) if nothing is None else (nothing.verdict, nothing.reason)
    return {"verdict": verdict, "reason": reason}
