"""Compares the output that a document shows with the real one.

`...` stands for anything: within a line, or alone on a line for any number of lines. A run of
blanks or of dashes counts as one. Blanks at the ends of lines, and blank lines at the ends of the
output, do not count. Values that differ at every run equal any other value of their kind: dates and
times (unless `exact_times`), UUIDs, measured durations, numbers of seven or more digits such as
claim tokens, temporary paths. Everything else must be equal.
"""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OFFSET = r"(?:\s?(?:Z\b|UTC\b|[+-]\d\d(?::?\d\d){0,2}\b))?"
_VOLATILE = [
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"(?<![\w.])/(?:tmp|dev/shm|var/folders)/[\w./+-]+"), "<path>"),
    (re.compile(r"(?m)^\d\d:\d\d:\d\d(?=  |\s\[|\s*$)"), "<log time>"),
    (re.compile(r"(?<![\w.])\d+\.\d+\s?(?:s|ms|us|seconds)\b|\b\d+\s?(?:ms|us)\b"), "<duration>"),
]
_TIMES = [
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?" + _OFFSET), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),
    (re.compile(r"\b\d\d:\d\d(?::\d\d(?:\.\d+)?)?" + _OFFSET), "<clock>"),
]
_LONG_NUMBER = (re.compile(r"(?<![\w.])\d{7,}(?![\w.]*\d)"), "<number>")


def matches(expected: str, printed: str, *, exact_times: bool = False) -> bool:
    """Returns whether the output is what the document shows."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?"
        if line == "..."
        else r"[^\n]*?".join(re.escape(part) for part in line.split("...")) + r"\n"
        for line in _normalised(expected, exact_times).split("\n")
    )
    return re.fullmatch(pattern, _normalised(printed, exact_times) + "\n") is not None


def _normalised(text: str, exact_times: bool) -> str:
    text = _COLOUR.sub("", text.replace("\r\n", "\n"))
    volatile = [*_VOLATILE, *([] if exact_times else _TIMES), _LONG_NUMBER]
    for pattern, token in volatile:
        text = pattern.sub(token, text)
    lines = [re.sub(r"-{2,}", "-", re.sub(r"\s+", " ", line)).strip() for line in text.split("\n")]
    # The widest cell of a column sets its padding, and may be a value that differs at every run.
    lines = [re.sub(r" ?([|+]) ?", r"\1", line) for line in lines]
    return "\n".join(lines).strip("\n")
