"""What a command finds of its record: variables, and a file that holds all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import logs
from record_ledger.connection import DSN_VARIABLE, SECRET_OPTIONS
from record_ledger.errors import InvalidArgument, LedgerError
from record_ledger.redaction import unreadable_conninfo
from record_ledger.server.embedded import HOME_VARIABLE
from record_ledger.values import fields_of, json_from_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from record_ledger.values import Record

_COLUMNS = (
    "pipeline_id",
    "target_day",
    "window_start_time",
    "window_end_time",
    "time_interval",
    "generation",
    "attempt",
    "claim_token",
    "run_id",
    "lease_expires_at",
)
_PREFIX = "RECORD_LEDGER_"
_FIELD = _PREFIX + "FIELD_"
RECORD_VARIABLE = _PREFIX + "RECORD"
RECORD_FILE_VARIABLE = _PREFIX + "RECORD_FILE"
_OURS = {*(_PREFIX + name.upper() for name in _COLUMNS), RECORD_VARIABLE, RECORD_FILE_VARIABLE}

# What leads to a ledger, besides the variables of libpq.
_ADDRESSES = (DSN_VARIABLE, HOME_VARIABLE)

# Linux gives arguments and environment together a quarter of the stack, and never more than this.
_MOST_TOGETHER = 6 * 1024 * 1024
# For the name of the program, and what the C library adds.
_MARGIN = 8192
# Of variables that are left out for want of room, those that a warning names.
_MOST_NAMED = 3
# Each text is pointed to as well.
_POINTER = 8


class RecordFiles:
    """A private folder with a file for each record that a command works on: its JSON.

    Only we may read it. A file goes when its command has ended, the folder with its `with` block
    (or with the guard, when this process is gone).

    :raises OSError: when the folder cannot be made.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="record-ledger-"))

    def __enter__(self) -> RecordFiles:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def holding(self, record: Record) -> Iterator[Path]:
        """Keeps the file of a record for the length of a block.

        :raises OSError: when it cannot be written.
        """
        path = self.folder / f"record-{record['claim_token']}.json"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(_record_json(record) + "\n")
            yield path
        finally:
            with suppress(OSError):
                path.unlink()


def dsn_for_commands(conninfo: str | None) -> str | None:
    """Returns the connection string by which commands reach the ledger of the exec around them.

    None leaves it to the environment that they have from us. Without this they would look for a
    ledger of their own, and could find another one. A password that was given by --dsn is left
    out: only what our own environment holds is in theirs.

    :raises LedgerError: when it cannot be read.
    """
    if conninfo is None:
        return None
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise LedgerError(unreadable_conninfo(str(error))) from None
    parts: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if name not in SECRET_OPTIONS and value is not None
    }
    # An empty one is as good as none: --dsn '' means libpq's defaults, and so does a blank.
    return make_conninfo(**parts) or " "


def child_environment(
    record: Record,
    *,
    file: Path,
    dsn: str | None,
    arguments: Sequence[str],
    hides_ledger: bool = False,
) -> dict[str, str]:
    """Returns our environment and the record: the file RECORD_LEDGER_RECORD_FILE holds it whole.

    RECORD_LEDGER_RECORD is the same JSON, RECORD_LEDGER_WINDOW_START_TIME and so on hold its
    columns, times in ISO 8601 with an offset. RECORD_LEDGER_FIELD_<NAME> holds a field that is
    text, a number, true or false; other characters than letters and digits in its name become _,
    and of fields whose names become the same none is given. What an exec around this one left there
    is taken out, and RECORD_LEDGER_DSN is set to `dsn` where there is one. With `hides_ledger`
    nothing that could name the ledger is there: no RECORD_LEDGER_DSN, and no variable of libpq.

    A variable that the system would not take (one is too long, all of them are) is left out: the
    log says which.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FIELD)
        and name not in _OURS
        and not (hides_ledger and (name.startswith("PG") or name in _ADDRESSES))
    }
    if dsn is not None:
        inherited[DSN_VARIABLE] = dsn
    values = json_from_record(record)
    ours = {_PREFIX + name.upper(): str(values[name]) for name in _COLUMNS}
    ours[RECORD_FILE_VARIABLE] = str(file)
    ours[RECORD_VARIABLE] = _record_json(record)
    room = _room() - _size(inherited) - sum(_length(text) for text in arguments)
    return {**inherited, **_those_that_fit({**ours, **_fields(record)}, room)}


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises InvalidArgument for an argument that can be no part of a command, saying which.

    The system's own error would be laid on the program.
    """
    for number, text in enumerate(arguments):
        name = f"argument {number} of the command" if number else "the command"
        if "\x00" in text:
            raise InvalidArgument(f"{name} holds a NUL character", sqlstate="RL005")
        try:
            length = len(os.fsencode(text))
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"{name} holds {text[error.start]!r}, which the encoding of this locale "
                f"({error.encoding}) lacks; set LC_ALL=C.UTF-8",
                sqlstate="RL005",
            ) from error
        if length >= _longest():
            raise InvalidArgument(
                f"{name} is {length:,} bytes long, and the system takes less than {_longest():,}; "
                f"let the command read the file that {RECORD_FILE_VARIABLE} names",
                sqlstate="RL005",
            )
    together = sum(map(_length, arguments)) + _size(os.environ)
    if together > _room():
        raise InvalidArgument(
            f"the arguments of the command and the environment are {together:,} bytes long, and "
            f"the system takes {_room():,}; let the command read the file that "
            f"{RECORD_FILE_VARIABLE} names",
            sqlstate="RL005",
        )


def _record_json(record: Record) -> str:
    return json.dumps(json_from_record(record))


def _fields(record: Record) -> dict[str, str]:
    found: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for field, value in fields_of(record).items():
        if isinstance(value, (str, bool, int, float)):
            name = _FIELD + re.sub(r"[^A-Z0-9]", "_", field.upper())
            names.setdefault(name, []).append(field)
            found[name] = value if isinstance(value, str) else json.dumps(value)
    for name, fields in names.items():
        if len(fields) > 1:
            del found[name]
            _left_out(name, fields=", ".join(fields))
    return found


def _those_that_fit(variables: dict[str, str], room: int) -> dict[str, str]:
    """Returns the variables that the system takes; the longest ones go first."""
    fit: dict[str, str] = {}
    for name, value in variables.items():
        try:
            length = len(os.fsencode(value))
        except UnicodeEncodeError as error:
            _left_out(name, reason=f"the encoding of this locale ({error.encoding}) lacks some")
            continue
        if len(name) + 1 + length >= _longest():
            _left_out(name, bytes=length, reason="the system takes none as long")
        else:
            fit[name] = value
    dropped: dict[str, str] = {}
    for name in sorted(fit, key=lambda name: -len(fit[name])):
        if _size(fit) <= room:
            break
        dropped[name] = fit.pop(name)
    if dropped:  # one line, however many: a drain says it for every record
        named = ", ".join(list(dropped)[:_MOST_NAMED])
        more = len(dropped) - _MOST_NAMED
        names = named + (f" and {more} more" if more > 0 else "")
        size = sum(map(_length, dropped.values()))
        _left_out(names, bytes=size, reason="the system takes no more in all")
    return fit


def _left_out(name: str, **why: object) -> None:
    logs.logger.warning(
        logs.line(event="variable_left_out", name=name, **why, instead=RECORD_FILE_VARIABLE)
    )


def _longest() -> int:
    """Returns what one argument or variable must be shorter than, its end included."""
    if sys.platform == "win32":
        return 32_767
    return 32 * os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else _MOST_TOGETHER


def _room() -> int:
    """Returns how long arguments and environment may be together."""
    if sys.platform == "win32":
        return _MOST_TOGETHER
    most = os.sysconf("SC_ARG_MAX")
    return (min(most, _MOST_TOGETHER) if most > 0 else 128 * 1024) - _MARGIN


def _size(variables: Mapping[str, str]) -> int:
    return sum(_length(name) + _length(value) for name, value in variables.items())


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape")) + 1 + _POINTER
