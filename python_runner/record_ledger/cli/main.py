"""The command `record-ledger`: parses arguments, sets up logging, turns outcomes to exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from record_ledger.errors import LedgerError
from record_ledger.redaction import redact
from record_ledger.visible import visible_lines

from .exits import FAILED, SIGNAL_CODE, CommandError
from .grammar import parser
from .streams import leave_stderr, leave_stdout, prepare_streams
from .terminal import tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from types import FrameType


# As `connection` has it, which is not imported for --help.
_RETRY_VARIABLE = "RECORD_LEDGER_RETRY_WITHIN"


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: to the driver as Ctrl-C, so it cancels the statement under way."""

    def __init__(self, number: int) -> None:
        self.code = SIGNAL_CODE + number


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; never shows a traceback for a foreseen failure.

    0: proceed, 99: nothing to do, 1: an error, told on standard error in one message, 2: wrong
    usage. 130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP, as shells expect.
    """
    prepare_streams()
    try:
        code = _ended(argv)
        # Of --help as well: argparse ignores that it could not be written.
        sys.stdout.flush()
    except OSError as error:
        leave_stdout()
        # A reader (`| head`) that has enough is no news; else the disk is full, or a file is gone.
        if not isinstance(error, BrokenPipeError):
            where = "" if error.filename is None else f"{error.filename}: "
            _say(where + (error.strerror or str(error)))
        code = FAILED
    leave_stderr()
    return code


def _ended(argv: Sequence[str] | None) -> int:
    """Runs one command and returns its exit code, also when it was interrupted."""
    try:
        with _ended_by_signals():
            args = parser().parse_args(argv)
            with _logging_to_stderr(args), _retrying_as_asked(args):
                code = _run(args)
                sys.stdout.flush()
                return code
    except SystemExit as ended:  # argparse's own
        return ended.code if isinstance(ended.code, int) else FAILED
    except _Terminated as ended:
        return ended.code
    except KeyboardInterrupt:
        _say("interrupted")
        return SIGNAL_CODE + signal.SIGINT


def _run(args: argparse.Namespace) -> int:
    # Imported when chosen: --help and wrong usage need no driver.
    module = import_module(f".commands.{args.module}", __package__)
    try:
        code: int = getattr(module, args.function)(args)
    except (LedgerError, CommandError) as error:
        _say(str(error))
        return FAILED
    return code


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turns signals to exceptions, so that connections close and an embedded server of ours stops.

    One that whoever started us wants ignored (as nohup does) stays ignored.
    """
    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows knows no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise _Terminated(number)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it; the exit code says it too
        tell(text)


@contextmanager
def _retrying_as_asked(args: argparse.Namespace) -> Iterator[None]:
    """Puts --retry-within where every connection finds it, a command's that exec runs as well."""
    asked = getattr(args, "retry_within", None)
    before = os.environ.get(_RETRY_VARIABLE)
    if asked is not None:
        os.environ[_RETRY_VARIABLE] = asked
    try:
        yield
    finally:
        if asked is not None:
            os.environ.pop(_RETRY_VARIABLE)
            if before is not None:
                os.environ[_RETRY_VARIABLE] = before


# Before Python 3.11 only a type checker can subscript it.
if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler


class _Handler(_StreamHandler):
    """Writes to standard error; what cannot be written there stops no work, and is not shown."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Complains of anything but the stream: its complaint could not be written either."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Formatter(logging.Formatter):
    """Writes `time=... level=...` before the key=value pairs of a message, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"time={stamp}.{int(record.msecs):03d}Z level={record.levelname.lower()} "
        return visible_lines(redact(text + record.getMessage()))


@contextmanager
def _logging_to_stderr(args: argparse.Namespace) -> Iterator[None]:
    """Sends the package's log to standard error for the length of a command."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("record_ledger")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(_level(args))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _level(args: argparse.Namespace) -> Any:
    if getattr(args, "log_level", None) is not None:
        return args.log_level.upper()
    if getattr(args, "quiet", False):
        return logging.ERROR
    verbose = getattr(args, "verbose", 0)
    return (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
