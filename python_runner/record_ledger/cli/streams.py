"""The standard streams of the command line, whatever it was started with."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

# The names of those that were closed when we began.
_closed: set[str] = set()


def prepare_streams() -> None:
    """Makes all three streams usable, in any locale.

    One that was closed (`>&-`) becomes the null device: its number would go to what is opened next,
    such as the connection to the database. What is read is UTF-8, as JSON and TOML are. A character
    that standard output cannot encode is escaped, as it is on standard error.
    """
    # In the order of their numbers: the lowest free one is given.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - it stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            _closed.add(name)
    if isinstance(sys.stdin, io.TextIOWrapper):
        with suppress(io.UnsupportedOperation):  # somebody has begun to read it
            sys.stdin.reconfigure(encoding="utf-8-sig")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def stdout_is_utf_8() -> bool:
    """Tells whether standard output has every character."""
    return codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"


def stdout_was_closed() -> bool:
    """Tells whether we were started without standard output: what is printed reaches no reader."""
    return "stdout" in _closed


def leave_stdout() -> None:
    """Drops what cannot be written: at its end Python would try, and complain, again."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_stdout()


def drop_stdout() -> None:
    """Drops what was not written yet, and all that follows."""
    _to_nowhere(sys.stdout)


def leave_stderr() -> None:
    """Drops messages that cannot be written: Python would make an exit code of its own of that."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _to_nowhere(sys.stderr)


def _to_nowhere(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # something in memory
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        stream.flush()
