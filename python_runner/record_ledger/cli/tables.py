"""Tables for people: aligned columns, durations in words, colours only where they can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from record_ledger.values import names_one_instant
from record_ledger.visible import visible

from .terminal import BOLD, DIM, STYLES, put, width

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence


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
        max([width(title), *(width(row[column]) for row in cells)])
        for column, title in enumerate(header)
    ]
    to_right = [title in right for title in header]
    put(("".join(text for text, _ in _line(header, widths, to_right)).rstrip(), BOLD))
    for number, row in enumerate(cells):
        if headings is not None and number in headings:
            put((headings[number], DIM))
        put(*_line(row, widths, to_right))


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


def one_line(value: object) -> str:
    """Returns a value as it is shown in a line: without line breaks and terminal codes."""
    return "-" if value is None else visible(str(value))


def _line(
    cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]
) -> list[tuple[str, str | None]]:
    """Returns the parts of a line; a verdict or a status has its colour, padding has none."""
    parts: list[tuple[str, str | None]] = []
    for cell, wide, right in zip(cells, widths, to_right, strict=True):
        padding = (" " * (wide - width(cell)), None)
        shown = (cell, STYLES.get(cell))
        gap = [("  ", None)] if parts else []
        parts += [*gap, padding, shown] if right else [*gap, shown, padding]
    return parts
