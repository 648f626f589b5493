"""Turns a team's `final_config` into the JSON that is sent: what the ledger reads, nothing else.

Only what JSON cannot carry is refused here. Durations, zones, limits: those rules are SQL's.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import InvalidArgument, InvalidConfig

# The keys that the ledger reads; the same list as SQL's record_ledger.config_keys().
KNOWN_KEYS = (
    "pipeline_id",
    "timezone",
    "x_time_back",
    "granularity",
    "default_record",
    "check_fields",
    "start_at",
    "max_active_records",
    "depends_on_past",
    "lease",
    "max_attempts",
    "retry_delay",
    "backfill_share",
    "required_counts",
    "source_retention",
    "at_risk_within",
    "pass_order",
    "recount_ages",
    "reopen_budget",
)

# Stands for the value of every other key: a team's config holds passwords and live objects. The
# name alone lets the server warn of misspelt keys; a newer server that reads the key refuses this.
NOT_SENT = "<not sent>"

_DEEPEST = 100
_MOST_BITS = 997  # of 300 digits
_LONGEST_SHOWN = 80


def config_to_send(final_config: object) -> dict[str, Any]:
    """Returns the JSON object that stands for a config; the config itself is left as it is.

    Dates and times are sent as ISO 8601 text.

    :raises InvalidConfig: naming every key that JSON cannot carry, its value and what would do.
    """
    if not isinstance(final_config, Mapping):
        raise invalid_config(
            [f"config: {shown(final_config)} is not valid; it must be a dict of config keys"]
        )
    problems: list[str] = []
    sent: dict[str, Any] = {}
    for key, value in final_config.items():
        if not _is_good_key(key, "config", problems):
            continue
        sent[key] = _sendable(value, key, problems, 0) if key in KNOWN_KEYS else NOT_SENT
    if problems:
        raise invalid_config(problems)
    return sent


def to_json(value: object) -> str:
    """Returns JSON text for what `config_to_send` and the templates produced."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def plain_json(value: object, name: str) -> Any:
    """Returns `value` as JSON can carry it, times as ISO 8601 text; `name` is its name in errors.

    :raises InvalidArgument: naming every part that JSON cannot carry.
    """
    problems: list[str] = []
    result = _sendable(value, name, problems, 0)
    if problems:
        raise InvalidArgument(_all_of(problems), sqlstate="RL005")
    return result


def invalid_config(problems: list[str]) -> InvalidConfig:
    """Returns the one error that carries all problems, in the form of the server's own."""
    return InvalidConfig(f"invalid config: {_all_of(problems)}", sqlstate="RL001")


def _all_of(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n  - ".join([f"{len(problems)} problems", *problems])


def text_problem(text: str) -> str | None:
    """Returns what keeps PostgreSQL from storing a text as JSON, or None when nothing does."""
    if text.isprintable() and text.isascii():  # as nearly all are
        return None
    if "\x00" in text:
        return "holds a NUL character, which PostgreSQL cannot store"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return None


def pipeline_id_of(config: Mapping[str, Any]) -> Any:
    """Returns the pipeline's name in a config, wherever it stands; None when it has none."""
    default_record = config.get("default_record")
    if isinstance(default_record, Mapping) and "pipeline_id" in default_record:
        return default_record["pipeline_id"]
    return config.get("pipeline_id")


def has_templates(default_record: Mapping[str, Any]) -> bool:
    """Tells whether any field of a default_record has to be rendered."""
    return any(
        True
        for field, value in default_record.items()
        if field != "pipeline_id"
        for _ in templates_in(value)
    )


def is_template(text: str) -> bool:
    """Tells whether a string is rendered: it holds `{{`, `{%` or `{#`."""
    return "{{" in text or "{%" in text or "{#" in text


def templates_in(value: Any) -> Iterator[str]:
    """Yields every string that is a template, at any depth of a field's value."""
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from templates_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from templates_in(item)


def _sendable(value: object, path: str, problems: list[str], depth: int) -> Any:
    """Returns the JSON value for `value`, or None after adding what is wrong to `problems`."""
    if type(value) is str and text_problem(value) is None:
        return value
    if not isinstance(value, str) and isinstance(value, (dict, list, tuple, Mapping)):
        if depth < _DEEPEST:
            return _sendable_parts(value, path, problems, depth + 1)
        problem: str | None = f"nested more than {_DEEPEST} levels deep, or holds itself"
        problems.append(f"{path}: {problem}")
        return None
    sent, problem = _sendable_scalar(value)
    if problem is not None:
        problems.append(f"{path}: {shown(value)} {problem}")
    return sent


def _sendable_parts(
    value: Mapping[Any, Any] | list[Any] | tuple[Any, ...],
    path: str,
    problems: list[str],
    depth: int,
) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _sendable(item, f"{path}.{key}", problems, depth)
            for key, item in value.items()
            if _is_good_key(key, path, problems)
        }
    return [
        _sendable(item, f"{path}[{index}]", problems, depth) for index, item in enumerate(value)
    ]


def _sendable_scalar(value: object) -> tuple[Any, str | None]:
    """Returns the JSON value for `value`, and what is wrong with it."""
    if value is None or isinstance(value, bool):
        return value, None
    if isinstance(value, str):
        # An enum of texts is sent as its text, not as its name.
        return str.__str__(value), text_problem(value)
    if isinstance(value, int):
        # Python refuses to write more than 4,300 digits.
        is_long = value.bit_length() > _MOST_BITS
        return int(value), "is not valid; a number has at most 300 digits" if is_long else None
    if isinstance(value, float):
        finite = math.isfinite(value)
        return float(value), None if finite else "is not valid; JSON numbers are finite"
    if isinstance(value, dt.date):  # a datetime is one, too
        return value.isoformat(), None
    return None, f"is not valid; {_what_would_do(value)}"


def _is_good_key(key: object, path: str, problems: list[str]) -> bool:
    if not isinstance(key, str):
        problems.append(f"{path}: the key {shown(key)} is not valid; keys must be strings")
        return False
    problem = text_problem(key)
    if problem is not None:
        problems.append(f"{path}: the key {shown(key)} {problem}")
    return problem is None


def _what_would_do(value: object) -> str:
    if isinstance(value, dt.timedelta):
        return "write a duration as text with units, like '1d' or '2h30m'"
    if isinstance(value, dt.tzinfo):
        return "write a time zone as its name, like 'Europe/Berlin'"
    if isinstance(value, (set, frozenset)):
        return "a list would do"
    return (
        "it must be text, a number, true, false, null, a date, a time, or a list or dict of these"
    )


def text_of(value: object) -> str:
    """Returns `str(value)`, or what it is where an exception's own text raises another."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - see shown
        return f"<{type(value).__name__}>"


def shown(value: object) -> str:
    """Returns `repr(value)` short enough for an error, whatever `value` is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - any object's repr may fail; the error must be given
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
