"""The one place where commands print: what they show of others' text is made visible here.

Only this module writes to standard output and standard error as text; the linter sees to that.
What `exec` passes on of its commands is theirs, byte for byte.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from record_ledger.redaction import redact
from record_ledger.visible import visible, visible_json, visible_lines

from .streams import stdout_is_utf_8

if TYPE_CHECKING:
    from collections.abc import Mapping

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"
STYLES = {
    "READY": GREEN,
    "COMPLETED": GREEN,
    "ok": GREEN,
    "FAILED": RED,
    "LOST": RED,
    "LEASE_EXPIRED": RED,
    "error": RED,
    "INCOMPLETE": YELLOW,
    "BLOCKED": YELLOW,
    "PAUSED": YELLOW,
    "BACKOFF": YELLOW,
    "warning": YELLOW,
}


def has_colours() -> bool:
    """Tells whether colours are wanted: on a terminal, unless NO_COLOR says otherwise."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def put(*parts: str | tuple[str, str | None], flush: bool = False) -> None:
    """Prints one line; a part with a style is a pair of both. A line break in it is not kept."""
    styled = has_colours()
    line = ""
    for part in parts:
        text, style = (part, None) if isinstance(part, str) else part
        text = visible(text)
        line += f"\x1b[{style}m{text}\x1b[0m" if style and styled else text
    print(line.rstrip(" "), flush=flush)


def print_json(value: Mapping[str, Any]) -> None:
    """Prints one JSON object on one line of standard output; it can be read in any encoding."""
    # It brings in pendulum, which --help and errors need not wait for.
    from record_ledger.values import json_value  # noqa: PLC0415

    print(visible_json(json_value(value), is_ascii=not stdout_is_utf_8()), flush=True)


def put_script(text: str) -> None:
    """Prints a text of our own as it is."""
    print(text, end="")


def told(text: str) -> str:
    """Returns a message of ours for standard error, without passwords and what cannot be seen."""
    return f"record-ledger: {visible_lines(redact(text))}"


def tell(text: str) -> None:
    """Tells a person something on standard error.

    :raises OSError: when it cannot be written.
    """
    print(told(text), file=sys.stderr)


def width(text: str) -> int:
    """Returns how many columns of a terminal a text takes: East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in visible(text)
    )
