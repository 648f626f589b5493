"""Keeps passwords out of every text that leaves this package."""

from __future__ import annotations

import re

# Greedy on purpose: a password may hold @, & or quotes, and hiding too much harms nobody.
_IN_URI = re.compile(r"(\b[a-z][a-z0-9+]*://[^\s:/@'\"]*):\S*@", re.IGNORECASE)
_IN_KEYS = re.compile(r"(pass(?:word|wd)\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|\S+)", re.IGNORECASE)


def redact(text: str) -> str:
    """Returns `text` with every password of a connection string in it replaced by ***.

    Knows both of libpq's forms, `postgresql://user:password@host` and `password=...`.
    """
    return _IN_KEYS.sub(r"\1***", _IN_URI.sub(r"\1:***@", text))


def unreadable_conninfo(reason: str) -> str:
    """Returns what libpq says of a connection string that it cannot read, without its pieces.

    libpq quotes the part that it stumbled over, and that may be half of a password.
    """
    text = reason.strip()
    if not text.startswith("invalid connection option"):
        text = re.sub(r'"[^"]*"', '"..."', text)
    return f"the connection string cannot be read: {redact(text)}"
