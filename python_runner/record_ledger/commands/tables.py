"""Tables for people: aligned columns, durations in words, colours only where they can be seen."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING

from record_ledger.records import names_one_instant

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

_RED, _GREEN, _YELLOW, _BOLD, _DIM = "31", "32", "33", "1", "2"
_STYLES = {
    "READY": _GREEN,
    "COMPLETED": _GREEN,
    "ok": _GREEN,
    "FAILED": _RED,
    "LOST": _RED,
    "LEASE_EXPIRED": _RED,
    "error": _RED,
    "INCOMPLETE": _YELLOW,
    "BLOCKED": _YELLOW,
    "PAUSED": _YELLOW,
    "BACKOFF": _YELLOW,
    "warning": _YELLOW,
}


def has_colours() -> bool:
    """Tells whether colours are wanted: on a terminal, unless NO_COLOR says otherwise."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    right: Sequence[str] = (),
    headings: Mapping[int, str] | None = None,
) -> None:
    """Prints rows under a header, columns as wide as needed; those named in `right` to the right.

    A cell that is a verdict or a status has its colour. `headings` stand on lines of their own,
    before the row of that number.
    """
    cells = [[one_line(value) for value in row] for row in rows]
    widths = [
        max([_width(title), *(_width(row[column]) for row in cells)])
        for column, title in enumerate(header)
    ]
    to_right = [title in right for title in header]
    print(_styled(_line(header, widths, to_right, style=False), _BOLD))
    for number, row in enumerate(cells):
        if headings is not None and number in headings:
            print(dim(headings[number]))
        print(_line(row, widths, to_right, style=True))


def duration(value: dt.timedelta | None) -> str:
    """Returns a duration in its two largest units, like '3h 20m'; '-' for none."""
    seconds = 0 if value is None else int(value.total_seconds())
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, seconds = divmod(seconds, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
    shown = [part for part in parts[:2] if not part.startswith("0")]
    return " ".join(shown) or "-"


def share(value: float | None) -> str:
    """Returns a share of 1 in percent, like '0.25 %'; '-' for none."""
    return "-" if value is None else f"{round(100 * value, 4):g} %"


def local(value: dt.datetime | None) -> str:
    """Returns a time as its pipeline's people write it, to the minute where seconds are 0.

    With its offset where the clocks of the pipeline's zone would not name that instant alone: they
    show it twice, or it is of a window that was cut with another zone.
    """
    if value is None:
        return "-"
    text = f"{value:%Y-%m-%d %H:%M:%S}" if value.second else f"{value:%Y-%m-%d %H:%M}"
    offset = "" if names_one_instant(value) else value.isoformat(timespec="seconds")[19:]
    return text + offset


def styled(text: str) -> str:
    """Returns a verdict or a status in its colour."""
    return _styled(text, _STYLES.get(text))


def dim(text: str) -> str:
    """Returns text that steps back."""
    return _styled(text, _DIM)


def _styled(text: str, style: str | None) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if style and has_colours() else text


def one_line(value: object) -> str:
    """Returns a text as it can be shown in a line: without line breaks and terminal codes."""
    text = "-" if value is None else str(value)
    # A pipeline's name or an error's text may hold anything.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _line(
    cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool], *, style: bool
) -> str:
    parts = []
    for cell, width, right in zip(cells, widths, to_right, strict=True):
        padding = " " * (width - _width(cell))
        shown = styled(cell) if style else cell
        parts.append(padding + shown if right else shown + padding)
    return "  ".join(parts).rstrip()


def _width(text: str) -> int:
    """Returns how many columns of a terminal a text takes: East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
