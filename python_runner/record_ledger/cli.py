"""The command `record-ledger`: parses arguments, sets up logging, turns outcomes to exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .commands.exits import FAILED, CommandError
from .commands.options import parser
from .errors import LedgerError
from .redaction import redact

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from types import FrameType

_INTERRUPTED = 130
_TERMINATED = 143


class _Terminated(KeyboardInterrupt):
    """SIGTERM: to the driver the same as Ctrl-C, so it cancels the statement under way."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; never shows a traceback for a foreseen failure.

    0: proceed, 99: nothing to do, 1: an error, told on standard error in one message, 2: wrong
    usage. 130 and 143 after Ctrl-C and SIGTERM, as shells expect.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        args = parser().parse_args(argv)
        with _logging_to_stderr(args):
            return _run(args)
    except SystemExit as ended:  # argparse's own
        return ended.code if isinstance(ended.code, int) else FAILED
    except _Terminated:
        return _TERMINATED
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(args: argparse.Namespace) -> int:
    # Imported when chosen: --help and wrong usage need no driver.
    module = import_module(f".commands.{args.module}", __package__)
    try:
        code: int = getattr(module, args.function)(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output (`| head`) has enough; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (LedgerError, CommandError) as error:
        _say(str(error))
        return FAILED
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # An exception, so that connections close and an embedded server of ours stops.
    raise _Terminated


def _say(text: str) -> None:
    sys.stderr.write(f"record-ledger: {redact(text)}\n")


class _Formatter(logging.Formatter):
    """Writes `time=... level=...` before the key=value pairs of a message, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"time={stamp}.{int(record.msecs):03d}Z level={record.levelname.lower()} "
        return redact(text + record.getMessage())


@contextmanager
def _logging_to_stderr(args: argparse.Namespace) -> Iterator[None]:
    """Sends the package's log to standard error for the length of a command."""
    handler = logging.StreamHandler(sys.stderr)
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
