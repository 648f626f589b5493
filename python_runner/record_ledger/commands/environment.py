"""What a command finds of its record in its environment."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from record_ledger import logs
from record_ledger.records import fields_of, json_from_record

if TYPE_CHECKING:
    from record_ledger.records import Record

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


def child_environment(record: Record) -> dict[str, str]:
    """Returns our environment and the record: RECORD_LEDGER_RECORD holds it whole, as JSON.

    RECORD_LEDGER_WINDOW_START_TIME and so on hold its columns, times in ISO 8601 with an offset.
    RECORD_LEDGER_FIELD_<NAME> holds a field that is text, a number, true or false; other characters
    than letters and digits in its name become _, and of fields whose names become the same none is
    given. What an exec around this one left there is taken out. No connection string is added.
    """
    values = json_from_record(record)
    ours = {_PREFIX + name.upper(): str(values[name]) for name in _COLUMNS}
    ours[_PREFIX + "RECORD"] = json.dumps(values)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FIELD)}
    return {**inherited, **ours, **_fields(record)}


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
            logs.logger.warning(
                logs.line(event="variable_left_out", name=name, fields=", ".join(fields))
            )
    return found
