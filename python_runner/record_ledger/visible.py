"""Text of others as it may be shown: nothing in it moves a cursor, colours or reverses a line.

Names, reasons, errors and fields come from anyone who may call the ledger. Control characters (C0,
C1), line and paragraph separators and the marks that change the direction of writing are all
characters that Python calls not printable.
"""

from __future__ import annotations

import json
from typing import Any


def visible(text: str) -> str:
    """Returns a text for one line: what cannot be seen is replaced by U+FFFD, line breaks too."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def visible_lines(text: str) -> str:
    """Returns a text of several lines: line breaks are kept, and a tab, as libpq's, is blanks."""
    return "\n".join(map(visible, text.replace("\t", "    ").split("\n")))


def visible_json(value: Any, *, is_ascii: bool = False) -> str:
    """Returns JSON on one line, the same value to its readers: what is not seen is escaped."""
    text = json.dumps(value, ensure_ascii=is_ascii)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
