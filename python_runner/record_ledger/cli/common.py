"""What several commands share: which database, how JSON is printed, which claim is meant."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record_ledger.client import RecordLedger
from record_ledger.connection import DSN_VARIABLE, has_password
from record_ledger.errors import LedgerError, UnknownPipeline
from record_ledger.server.deploy import deploy_if_missing
from record_ledger.server.embedded import HOME_VARIABLE, default_folder, embedded_server
from record_ledger.values import claim_token_of, parsed_time

from .exits import CommandError
from .terminal import tell

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping

# Any of these says that the user has a server in mind, which libpq will find.
_LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGUSER")
_HOW_TO_NAME_ONE = (
    f"no database is named: give --dsn or set {DSN_VARIABLE} (or libpq's PGHOST, PGDATABASE ...); "
    "--dsn '' takes libpq's defaults, --embedded [DIR] a server of your own"
)


@contextmanager
def database(args: Namespace, *, deploys: bool = True) -> Iterator[str | None]:
    """Yields the connection string that the command uses; None leaves it to libpq.

    --dsn, else --embedded, else RECORD_LEDGER_DSN, else libpq's PG* variables, else the embedded
    server in RECORD_LEDGER_HOME. An embedded server is stopped at the end; one without a ledger
    gets one, unless `deploys` is false: no one else deploys to it.

    :raises CommandError: when none of these names a database: one that is guessed may be another.
    """
    dsn = getattr(args, "dsn", None)
    folder: str | None = getattr(args, "embedded", None)
    if dsn is not None and folder is not None:
        raise CommandError("--dsn and --embedded name two databases; give one of them")
    names_a_server = os.environ.get(DSN_VARIABLE) or any(map(os.environ.get, _LIBPQ_VARIABLES))
    if dsn is not None and has_password(dsn):
        note(
            args,
            "every user of this machine can see a password in --dsn (ps shows it); use "
            f"{DSN_VARIABLE}, PGPASSWORD or a file that PGPASSFILE names",
        )
    if dsn is not None or (folder is None and names_a_server):
        yield dsn
        return
    if folder is None:
        if not os.environ.get(HOME_VARIABLE):
            raise CommandError(_how_to_name_one())
        note(args, f"using the embedded server of {HOME_VARIABLE}, in {default_folder()}")
    with embedded_server(Path(folder) if folder else None) as uri:
        if deploys:
            deploy_if_missing(uri)
        yield uri


def _how_to_name_one() -> str:
    home = default_folder()
    if not (home / "PG_VERSION").is_file():
        return _HOW_TO_NAME_ONE
    # Up to 0.4.0 such a command used it without a word.
    return f"{_HOW_TO_NAME_ONE}. The ledger in {home} is reached by --embedded without a DIR"


@contextmanager
def opened(args: Namespace) -> Iterator[RecordLedger]:
    """Yields the ledger that the command uses."""
    with database(args) as conninfo, RecordLedger(conninfo) as ledger:
        if getattr(args, "passed", None) is not None:
            ledger.hold(args.passed)  # what ends its claim is tried until its lease is over
        yield ledger


def note(args: Namespace, text: str) -> None:
    """Tells a person something on standard error, unless -q was given; stops no work."""
    if not getattr(args, "quiet", False):
        with suppress(OSError):  # the disk is full, or the reader has gone
            tell(text)


def unknown_pipeline(pipeline_id: str) -> UnknownPipeline:
    """Returns the error for a pipeline that the views do not have."""
    return UnknownPipeline(
        f"pipeline {pipeline_id} is not registered",
        sqlstate="RL002",
        hint="`record-ledger status` lists those that are.",
    )


def time_of(text: str) -> dt.datetime | dt.date:
    """Returns the time that an argument states, with its offset if it has one; or a bare date."""
    with suppress(ValueError):
        return dt.date.fromisoformat(text)
    try:
        return parsed_time(text)
    except ValueError as error:
        raise CommandError(
            f"{text!r:.80} is no time; give ISO 8601, like 2026-11-22T06:00 (the pipeline's local "
            "time) or 2026-11-22T06:00-08:00"
        ) from error


def claim_of(args: Namespace) -> tuple[str, int, str | None]:
    """Returns the pipeline, the claim token and the window's start that the options name.

    --record takes what `run` printed, or the record in it alone. Without a start, the token alone
    decides.
    """
    if args.record is None:
        if args.pipeline is None or args.claim_token is None:
            raise CommandError("give --pipeline and --claim-token, or --record FILE")
        return args.pipeline, claim_token_of(args.claim_token), args.window
    if (args.pipeline, args.claim_token, args.window) != (None, None, None):
        raise CommandError("give --record, or --pipeline and --claim-token, not both")
    args.passed = passed_record(args.record)
    return claim_in(args.passed)


def claim_in(record: Mapping[str, Any]) -> tuple[str, int, str | None]:
    """Returns what names the claim of a record that `passed_record` has read."""
    start = record.get("window_start_time")
    return record["pipeline_id"], record["claim_token"], None if start is None else str(start)


def passed_record(name: str | None, otherwise: str | None = None) -> dict[str, Any]:
    """Returns the passed record in a file, or in the text that is used without one."""
    text = read_text(name) if name is not None else otherwise or ""
    try:
        record: dict[str, Any] = _last_object(text)
        record = record.get("record", record)
        record = {**record, "claim_token": claim_token_of(record["claim_token"])}
        record["pipeline_id"] = str(record["pipeline_id"])
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, LedgerError) as error:
        raise CommandError(
            f"{shown_name(name or 'RECORD_LEDGER_RECORD')} holds no passed record: it needs "
            "pipeline_id and claim_token, as `record-ledger run` prints them"
        ) from error
    return record


def _last_object(text: str) -> Any:
    """Returns the JSON in a text, or in its last line: `run` may have been run with 2>&1."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads((text.strip().splitlines() or [""])[-1])


def read_text(name: str) -> str:
    """Returns the text of a file, or of standard input when the name is -."""
    try:
        if name == "-":
            return sys.stdin.read()
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise CommandError(f"{shown_name(name)} cannot be read: {reason}") from error


def shown_name(name: str) -> str:
    """Returns how errors call an input."""
    return "standard input" if name == "-" else name
