"""Turns the ledger's JSON into Python values and back, and arguments into what is sent.

Owns no rule, and computes no window.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import pendulum
from pendulum.tz.timezone import FixedTimezone, Timezone

from .config import shown
from .errors import InvalidArgument

Record = dict[str, Any]
# A time without an offset is the pipeline's local time, a date its first instant; text is ISO 8601.
Time = dt.datetime | dt.date | str

# What the server writes as ISO 8601 text. A team's own fields are never taken for times, whatever
# they hold: only these names are the ledger's.
TIME_COLUMNS = (
    "window_start_time",
    "window_end_time",
    "lease_expires_at",
    "retry_at",
    "created_at",
    "updated_at",
)

# Every name in a record that is the ledger's own; all others are the team's fields. The same list
# as SQL's record_ledger.ledger_columns().
LEDGER_COLUMNS = frozenset(
    {
        *TIME_COLUMNS,
        "pipeline_id",
        "target_day",
        "time_interval",
        "status",
        "generation",
        "attempt",
        "claim_token",
        "run_id",
        "fields",
        "missing_fields",
        "config_version",
        "last_event",
        "last_detail",
        "published_generation",
        "counts_waived",
        "window_timezone",
        "is_outdated",
    }
)

_FRACTION = re.compile(r"\.(\d{1,6})")
_TOKEN = re.compile(r"[0-9]{1,19}")
# What a bigint holds.
_MOST_ROWS = 2**63 - 1


def record_from_json(data: Mapping[str, Any], timezone: str | None) -> Record:
    """Returns the record as Python values; its instants and offsets are the server's.

    Times are pendulum DateTimes in the zone `timezone` (see `local_time`), target_day is a
    dt.date, everything else is what JSON holds. Can be pickled and carried by XCom.
    """
    record = dict(data)
    for column in TIME_COLUMNS:
        text = record.get(column)
        if isinstance(text, str):
            record[column] = local_time(text, timezone)
    day = record.get("target_day")
    if isinstance(day, str):
        record["target_day"] = dt.date.fromisoformat(day)
    return record


# A record has the same times again and again, and so has the next one: a window's end is a start.
@lru_cache(maxsize=1024)
def local_time(text: str, timezone: str | None) -> pendulum.DateTime:
    """Returns the instant that `text` names, at the wall clock and offset that `text` states.

    It is in the zone `timezone` when Python's time zone data give that offset, and at the fixed
    offset of the text where they do not: the server's data decide, and the two may be of different
    years. The second pass of a repeated hour has a fixed offset too: pickling a DateTime forgets
    which of the two passes it is, and would move the record by an hour.

    :raises ValueError: when the text is not ISO 8601 with an offset.
    """
    stated = parsed_time(text)
    if stated.utcoffset() is None:
        raise ValueError(f"a time without an offset names no instant: {text!r:.80}")
    return _in_zone(stated, timezone)


def row_from_view(row: Mapping[str, Any]) -> Record:
    """Returns a view's row with its times at the wall clock that the server reckons for its zone.

    Expects what `queries` adds to each row: `timezone`, and `wall_times`, the local times by
    column. A column `timezone` that is the view's own stays.
    """
    values = dict(row)
    timezone = values["timezone"] if "view_timezone" not in values else values.pop("view_timezone")
    for column, wall_text in (values.pop("wall_times") or {}).items():
        instant = values[column].astimezone(dt.timezone.utc)
        wall = parsed_time(wall_text)
        offset = dt.timezone(wall - instant.replace(tzinfo=None))
        values[column] = _in_zone(instant.astimezone(offset), timezone)
    return values


def zone_offset(timezone: str, instant: dt.datetime) -> int | None:
    """Returns the seconds that Python adds to UTC in a zone at an instant; None: zone unknown."""
    zone = _zone(timezone)
    offset = None if zone is None else instant.astimezone(zone).utcoffset()
    return None if offset is None else int(offset.total_seconds())


def names_one_instant(time: dt.datetime) -> bool:
    """Tells whether a time of a row needs no offset: its zone's clocks name that instant alone.

    False in an hour that comes twice, and at a fixed offset: a time has one where the zone of its
    pipeline would say something else, because its window was cut with another zone, for instance.
    """
    if not isinstance(time.tzinfo, Timezone):
        return False
    first, second = (time.replace(fold=fold).utcoffset() for fold in (0, 1))
    return first == second


def other_pass(time: dt.datetime, timezone: str) -> pendulum.DateTime | None:
    """Returns the other instant at which a zone's clocks show a time that comes twice.

    By Python's time zone data; None when they show it once.
    """
    zone = _zone(timezone)
    if zone is None:
        return None
    wall = dt.datetime.fromisoformat(time.isoformat()).replace(tzinfo=None)
    for fold in (0, 1):
        other = zoned(wall.replace(tzinfo=zone, fold=fold), timezone)
        if other is not None and other != time and other.naive() == wall:
            return other
    return None


def zoned(instant: dt.datetime, timezone: str) -> pendulum.DateTime | None:
    """Returns an instant in a zone by Python's time zone data; None where they know no such zone.

    The second pass of a repeated hour is at a fixed offset, as in `local_time`.
    """
    zone = _zone(timezone)
    if zone is None:
        return None
    utc = instant.astimezone(dt.timezone.utc)
    return local_time(utc.astimezone(zone).isoformat(), timezone)


def fields_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the team's own fields of a flat record."""
    return {key: value for key, value in record.items() if key not in LEDGER_COLUMNS}


def claim_of(record: Mapping[str, Any]) -> tuple[str, int]:
    """Returns what names the claim of a passed record: its pipeline and its token."""
    return record["pipeline_id"], record["claim_token"]


def start_of(record: Mapping[str, Any]) -> dt.datetime | str | None:
    """Returns the start of a passed record's window, which is sent with its claim.

    None where the record does not tell it, as one that somebody has put together.
    """
    return record.get("window_start_time")


def _in_zone(stated: dt.datetime, timezone: str | None) -> pendulum.DateTime:
    zone = _zone(timezone) if timezone is not None else None
    offset = stated.utcoffset() or dt.timedelta()
    if zone is not None:
        # At that instant, not at that wall clock: a wall clock that Python's data skip or repeat
        # has an offset there too, and it would be another instant's.
        local = stated.astimezone(zone)
        if local.utcoffset() == offset and not local.fold:
            return _pendulum(local, zone)
    return _pendulum(stated, _fixed(int(offset.total_seconds())))


def parsed_time(text: str) -> dt.datetime:
    """Returns the time that ISO 8601 text states, with its offset if it has one.

    :raises ValueError: when the text is not ISO 8601.
    """
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        # Python 3.10 reads neither Z nor fractions of other than three or six digits.
        padded = _FRACTION.sub(lambda match: "." + match[1].ljust(6, "0"), text)
        return dt.datetime.fromisoformat(padded.replace("Z", "+00:00"))


def _pendulum(time: dt.datetime, zone: Timezone | FixedTimezone) -> pendulum.DateTime:
    return pendulum.DateTime(
        time.year,
        time.month,
        time.day,
        time.hour,
        time.minute,
        time.second,
        time.microsecond,
        tzinfo=zone,
    )


def json_from_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record with its times and dates as the ISO 8601 text that they came from."""
    return {key: json_value(value) for key, value in record.items()}


def json_value(value: Any) -> Any:
    """Returns what JSON holds for a value of a record or a view: ISO text for times and dates.

    Intervals become seconds. Values of unknown types become their text, so that printing a row
    never fails.
    """
    if value is None or isinstance(value, (str, bool, int, float)):
        is_json = not isinstance(value, float) or math.isfinite(value)
        return value if is_json else str(value)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return str(value)


@lru_cache(maxsize=1024)
def _zone(name: str) -> Timezone | None:
    """Returns Python's zone of that name, or None where only the server knows it."""
    try:
        return pendulum.timezone(name)
    except (ValueError, OSError):  # pendulum's own "unknown zone" is a ValueError
        return None


@lru_cache(maxsize=256)
def _fixed(offset: int) -> FixedTimezone:
    sign = "-" if offset < 0 else "+"
    hours, rest = divmod(abs(offset), 3600)
    minutes, seconds = divmod(rest, 60)
    name = f"{sign}{hours:02d}:{minutes:02d}" + (f":{seconds:02d}" if seconds else "")
    return FixedTimezone(offset, name)


# ---------------------------------------------------------------- arguments
def claim_token_of(value: object) -> int:
    """Returns the claim token that a value is, as a number or as text.

    :raises InvalidArgument: when it is none: another number would name another claim.
    """
    # Compared first: Python refuses to write a number of thousands of digits.
    is_number = isinstance(value, str) or (isinstance(value, int) and 0 <= value < 2**63)
    if is_number and _TOKEN.fullmatch(str(value)) and int(str(value)) < 2**63:
        return int(str(value))
    raise InvalidArgument(
        f"claim_token: {shown(value)} is not a valid claim token; give the number that the record "
        "was passed with",
        sqlstate="RL005",
    )


def instant_of(record: Mapping[str, Any], name: str) -> dt.datetime:
    """Returns the instant that a time of a record names.

    :raises InvalidArgument: when it is no time, or has no offset.
    """
    value = record[name]
    try:
        time = parsed_time(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if isinstance(time, dt.datetime) and time.tzinfo is not None:
        return time
    raise InvalidArgument(
        f"record: {name} {shown(value)} names no instant",
        sqlstate="RL005",
        hint="Give a DateTime with a time zone, or ISO 8601 text with an offset.",
    )


def stated_instant(time: Time) -> dt.datetime | None:
    """Returns the instant that a time states by its offset; None when it has none."""
    if isinstance(time, str):
        try:
            time = parsed_time(time)
        except ValueError:
            return None  # the server says what is wrong with it
    return time if isinstance(time, dt.datetime) and time.tzinfo is not None else None


def time_text(time: Time | None) -> str | None:
    """Returns a time as the ISO 8601 text that is sent; the server computes what instant it is."""
    return time.isoformat() if isinstance(time, dt.date) else time


def day_text(value: object, name: str) -> str:
    """Returns a date as it is sent. The server would read 'tomorrow' and 01/02/2026 in its own way.

    A datetime is none: which day it belongs to depends on the zone.
    """
    text = str(value)
    try:
        is_day = not isinstance(value, dt.datetime) and str(dt.date.fromisoformat(text)) == text
    except ValueError:
        is_day = False
    if not is_day:
        raise InvalidArgument(
            f"{name}: {value!r:.80} is no day; give a date, or text such as '2026-11-22'",
            sqlstate="RL005",
        )
    return text


def row_count_of(row_count: Any) -> int:
    """Returns a count as it is noted for good: the server would round what is not whole."""
    try:
        number = int(row_count)
        is_whole = number == row_count and not isinstance(row_count, bool)
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole or not 0 <= number <= _MOST_ROWS:
        raise InvalidArgument(
            f"row_count: {shown(row_count)} is no count of rows; give a whole number from 0 on, "
            f"at most {_MOST_ROWS}",
            sqlstate="RL005",
        )
    return number


def listed(values: object, name: str) -> list[Any]:
    """Returns what an argument lists.

    :raises InvalidArgument: when it is not a list: a text or mapping would be read piece by piece.
    """
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        return list(values)
    raise InvalidArgument(
        f"{name}: {shown(values)} is not a list",
        sqlstate="RL005",
        hint="Give a list with an entry for each record.",
    )
