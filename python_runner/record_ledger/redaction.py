"""Keeps passwords out of every text that leaves this package.

Two ways find them. The forms in which passwords are written are known by their keys. Values that
came from the environment for a setting, or in a connection string, are known by themselves, in any
text.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

HIDDEN = "***"

# A shorter value would stand in half of all words; a secret as short as that hides nothing.
_SHORTEST_SECRET = 4

# Greedy on purpose: a password may hold @, & or quotes, and hiding too much does no harm.
# Bounded, so that a long text without any @ is not read through again from each address in it.
_IN_URI = re.compile(r"(\b[a-z][a-z0-9+]{0,30}://[^\s:/@'\"]{0,255}):\S{0,1024}@", re.IGNORECASE)

# `password=...` of libpq, `"password": "..."` of JSON (also within a JSON text, where quotes are
# escaped), 'password': '...' of Python, `PGPASSWORD=...` of a shell.
_KEY = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret(?:_?access)?_?key|client_?secret|api_?key"
    r"|(?:access|auth|session|security|bearer|refresh)_?token|private_?key|signing_?key)"
)
_VALUE = r"""(?:[bru]?(\\*)(["'])(?:(?!\4\5)(?:\\.|.))*(?:\4\5)?|\S+)"""
_AFTER_KEY = re.compile(rf"({_KEY}(\\*[\"'])?\s*(=>|[:=])\s*){_VALUE}", re.IGNORECASE | re.DOTALL)
_IN_SQL = re.compile(r"(\bpassword\s+)'(?:[^']|'')*'?", re.IGNORECASE)
_PAIRS = re.compile(r"((?:basic|http)_auth[\"']?\s*[:=]\s*)[\[(][^\])]*[\])]?", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization\\*[\"']?\s*[:=]\s*\\*[\"']?\s*\w+)\s+[^\s\"'\\]+", re.IGNORECASE
)

_secrets: set[str] = set()
_known: re.Pattern[str] | None = None


def hide(secret: str) -> None:
    """Has `redact` replace this text wherever it stands from now on, in this process.

    Also as it stands in JSON, in Python's notation and in an address. A text of fewer than four
    characters is not hidden: it would be found in words that have nothing to do with it.
    """
    global _known  # noqa: PLW0603 - what is secret is known to the whole process
    if len(secret) < _SHORTEST_SECRET or secret in _secrets:
        return
    _secrets.add(secret)
    forms = {
        form
        for one in tuple(_secrets)  # another thread may add one
        for form in (one, json.dumps(one)[1:-1], repr(one)[1:-1], quote(one, safe=""))
    }
    # The longest first: one secret may be the beginning of another one.
    _known = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


def redact(text: str) -> str:
    """Returns `text` with every password in it replaced by ***.

    Knows connection strings (`postgresql://user:password@host`, `password=...`), the forms of JSON,
    Python and shells for keys that name a secret, headers of authorization, and what was hidden.
    """
    if _known is not None:
        text = _known.sub(HIDDEN, text)
    text = _IN_URI.sub(rf"\1:{HIDDEN}@", text)
    for pattern in (_AFTER_KEY, _IN_SQL, _PAIRS):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return _HEADER.sub(rf"\1 {HIDDEN}", text)


def unreadable_conninfo(reason: str) -> str:
    """Returns what libpq says of a connection string that it cannot read, without its pieces.

    libpq quotes the part that it stumbled over, and that may be half of a password.
    """
    text = reason.strip()
    if not text.startswith("invalid connection option"):
        text = re.sub(r'"[^"]*"', '"..."', text)
    return f"the connection string cannot be read: {redact(text)}"
