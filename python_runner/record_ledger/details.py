"""Turns the details that callers add to an event or a count into JSON; they decide nothing.

This module writes all details: of `processing`, of `complete_record` and `observe_record`, of
Airflow's tasks and of moving. It has their bounds as well.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import numbers
import os
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

from . import logs
from .redaction import redact

# The ledger's bounds: bytes of one detail, digits of a number, levels of nesting.
MOST_BYTES = 64 * 1024
MOST_DIGITS = 300
MOST_LEVELS = 50

# A detail that is too large has its long texts cut to the first of these lengths that makes it fit.
_CUT_TO = (16384, 4096, 1024, 128)
# More values than MOST_BYTES could hold are not looked at; objects that hold one another in many
# ways have no end.
_MOST_VALUES = MOST_BYTES
# Names of values that a warning lists.
_MOST_NAMED = 5
_NOT_THERE = ("NaTType", "NAType")
_CONTAINERS = (Mapping, Sequence, AbstractSet, ValuesView, deque)
_BYTES = (bytes, bytearray, memoryview)
# The text of an object that nothing is known of.
_LONGEST_UNKNOWN = 4096


def detail_json(detail: object, name: str = "detail") -> str:
    """Returns the JSON object that is kept for any `detail`; never fails.

    Numbers, texts, UUIDs, dates, times, enums, paths, dataclasses, sets and the scalars of numpy
    and pandas become exact JSON values; a timedelta becomes its seconds. Any other value is kept as
    its text, and a value that is too long is cut: a warning in the log names both. A value that is
    not a mapping is kept under the key `name`. None is an empty object.
    """
    if detail is None:
        return "{}"
    given = detail if isinstance(detail, Mapping) else {name: detail}
    for longest in (None, *_CUT_TO):
        writer = _Writer(longest)
        text = writer.text(given, name, ())
        if _size(text) <= MOST_BYTES:
            writer.warn(name)
            return text
    return _what_fits(given, name, _CUT_TO[-1])


def _what_fits(given: Mapping[Any, Any], name: str, longest: int) -> str:
    """Returns the entries that fit, in their order; of others their keys, while these fit."""
    writer = _Writer(longest)
    kept: list[str] = []
    marked: list[str] = []
    room = MOST_BYTES - 100  # for the brackets and the last entry
    for key, text in writer.entries(given, name, ()):
        quoted = json.dumps(key, ensure_ascii=False)
        mark = json.dumps(f"... ({_size(text):,} bytes)")
        for shown in (text, mark):
            entry = f"{quoted}: {shown}"
            size = _size(entry) + len(", ")
            if size <= room:
                kept.append(entry)
                room -= size
                if shown is mark:
                    marked.append(f"{name}.{_shortened(key, 40)} ({_size(text):,} bytes left out)")
                break
        writer.begin_anew()
    left_out = len(given) - len(kept)
    if left_out:
        kept.append(f'"entries_left_out": {left_out}')
        marked.append(f"{name} ({left_out} entries left out)")
    writer.altered[:0] = marked
    writer.warn(name)
    return "{" + ", ".join(kept) + "}"


class _Writer:
    """Writes one value as JSON text; `altered` names what is not as it was."""

    def __init__(self, longest: int | None) -> None:
        self.altered: list[str] = []
        self._longest = longest
        self._values = 0

    def warn(self, name: str) -> None:
        """Logs what was kept in another way than it was given."""
        if not self.altered:
            return
        named = ", ".join(self.altered[:_MOST_NAMED])
        more = len(self.altered) - _MOST_NAMED
        logs.logger.warning(
            logs.line(
                event="detail_altered",
                argument=name,
                values=named + (f" and {more} more" if more > 0 else ""),
            )
        )

    def begin_anew(self) -> None:
        """Counts no value that came before."""
        self._values = 0

    def text(self, value: object, path: str, above: tuple[int, ...]) -> str:
        """Returns the JSON text of a value; `above` are the containers that hold it."""
        self._values += 1
        if self._values > _MOST_VALUES:
            return self._as_text("...", path, "more values than the ledger keeps")
        try:
            return self._known(value, path, above)
        except Exception as error:  # noqa: BLE001 - objects of others may fail in any way
            return self._as_text(f"<{_kind(value)}>", path, f"{_kind(value)}: {_kind(error)}")

    def entries(
        self, value: Mapping[Any, Any], path: str, above: tuple[int, ...]
    ) -> Iterable[tuple[str, str]]:
        """Yields the keys, as texts that differ, and the JSON texts of a mapping's values."""
        seen: set[str] = set()
        for key, item in value.items():
            if self._values > _MOST_VALUES:
                return
            name = self._key(key, path)
            while name in seen:  # 1 and "1" are two keys, and JSON has one text for both
                name += "_"
            seen.add(name)
            yield name, self.text(item, f"{path}.{_shortened(name, 40)}", above)

    def _known(self, value: object, path: str, above: tuple[int, ...]) -> str:
        if isinstance(value, enum.Enum):
            return self.text(value.value, path, above)
        text = self._scalar(value, path, above)
        return self._structure(value, path, above) if text is None else text

    def _scalar(self, value: object, path: str, above: tuple[int, ...]) -> str | None:
        """Returns the JSON text of what is one text, number or time; None for anything else."""
        # pandas has objects of their own for a time and a value that are not there.
        if value is None or type(value).__name__ in _NOT_THERE:
            text = "null"
        elif isinstance(value, bool):
            text = json.dumps(value)
        elif isinstance(value, str):
            text = self._string(str.__str__(value), path)
        elif _is_scalar_of_an_array(value):
            text = self._array_scalar(value, path, above)
        elif isinstance(value, numbers.Number):
            text = self._number(value, path)
        elif isinstance(value, (dt.date, dt.time)):  # a datetime is a date, too
            text = self._string(value.isoformat(), path)
        elif isinstance(value, dt.timedelta):
            text = self._number(value.total_seconds(), path)
        elif isinstance(value, (uuid.UUID, os.PathLike, dt.tzinfo)):
            text = self._string(str(value), path)
        else:
            return None
        return text

    def _structure(self, value: object, path: str, above: tuple[int, ...]) -> str:
        """Returns the JSON text of what holds other values, and of what nothing is known of."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            value = {name: getattr(value, name, None) for name in names}
        if isinstance(value, _CONTAINERS) and not isinstance(value, _BYTES):
            return self._container(value, path, above)
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            return self.text(value.tolist(), path, above)
        return self._unknown(value, path)

    def _container(self, value: Iterable[Any], path: str, above: tuple[int, ...]) -> str:
        if id(value) in above:
            return self._as_text(f"<{_kind(value)}>", path, "holds itself")
        if len(above) >= MOST_LEVELS:
            return self._as_text(f"<{_kind(value)}>", path, f"more than {MOST_LEVELS} levels deep")
        inside = (*above, id(value))
        if isinstance(value, Mapping):
            entries = self.entries(value, path, inside)
            parts = [f"{json.dumps(key, ensure_ascii=False)}: {text}" for key, text in entries]
            return "{" + ", ".join(parts) + "}"
        items = []
        for number, item in enumerate(value):
            items.append(self.text(item, f"{path}[{number}]", inside))
            if self._values > _MOST_VALUES:
                break
        return "[" + ", ".join(sorted(items) if isinstance(value, AbstractSet) else items) + "]"

    def _key(self, key: object, path: str) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if isinstance(key, (dt.date, dt.time)):
            key = key.isoformat()
        elif isinstance(key, bool) or key is None:
            key = json.dumps(key)
        try:
            text = str.__str__(key) if isinstance(key, str) else str(key)
        except Exception:  # noqa: BLE001 - see text
            text = f"<{_kind(key)}>"
        return self._storable(text, f"{path}, a key", self._longest or _LONGEST_UNKNOWN)

    def _string(self, text: str, path: str) -> str:
        return json.dumps(self._storable(text, path, self._longest), ensure_ascii=False)

    def _storable(self, text: str, path: str, longest: int | None) -> str:
        """Returns a text as PostgreSQL can store it, and not longer than `longest`."""
        if longest is not None and len(text) > longest:
            self.altered.append(f"{path} (cut from {len(text):,} characters)")
            text = _shortened(text, longest)
        if text.isascii() and "\x00" not in text:
            return text
        stored = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        if stored != text:
            self.altered.append(f"{path} (characters that cannot be stored)")
        return stored

    def _number(self, value: Any, path: str) -> str:
        """Returns a number in digits, as the database writes it: no exponent, nothing rounded."""
        if isinstance(value, numbers.Integral):
            whole = int(value)
            if whole.bit_length() > MOST_DIGITS * 4 or len(str(abs(whole))) > MOST_DIGITS:
                return self._as_text("<int>", path, f"a number of more than {MOST_DIGITS} digits")
            return str(whole)
        if isinstance(value, Decimal):
            return self._decimal(value, path)
        if isinstance(value, numbers.Real):
            real = float(value)
            if not math.isfinite(real):
                return self._as_text(_float_text(real), path, "not a JSON number")
            text = float.__repr__(real)
            return self._decimal(Decimal(text), path) if "e" in text else text
        return self._unknown(value, path)

    def _decimal(self, value: Decimal, path: str) -> str:
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):  # NaN, sNaN, Infinity
            return self._as_text(str(value), path, "not a JSON number")
        # Looked at before it is written: 1E+999999 has few digits here and a million there.
        if max(len(digits), abs(exponent), abs(value.adjusted())) <= MOST_DIGITS:
            text = format(value, "f")
            if sum(map(str.isdigit, text)) <= MOST_DIGITS:
                return text
        shown = _shortened(str(value), MOST_DIGITS)
        return self._as_text(shown, path, f"a number of more than {MOST_DIGITS} digits")

    def _array_scalar(self, value: Any, path: str, above: tuple[int, ...]) -> str:
        """Returns a scalar of numpy or of a library like it, of any of its types."""
        kind = getattr(value.dtype, "kind", "")
        if kind == "M":  # its item is a datetime, a date or a number of nanoseconds
            text = str(value)
            return "null" if text == "NaT" else self._string(text, path)
        if kind == "m":
            length = value.astype("timedelta64[us]").item()
            return "null" if length is None else self._number(length.total_seconds(), path)
        item = value.item()
        # The item of a longdouble is a longdouble.
        is_plain = type(item) is not type(value)
        return self.text(item, path, above) if is_plain else self._number(float(item), path)

    def _unknown(self, value: object, path: str) -> str:
        if isinstance(value, _BYTES):
            data = bytes(value[: MOST_BYTES + 1])
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                text = data.hex()
        else:
            text = _shortened(redact(str(value)[:MOST_BYTES]), _LONGEST_UNKNOWN)
        return self._as_text(text, path, _kind(value))

    def _as_text(self, text: str, path: str, why: str) -> str:
        self.altered.append(f"{path} ({why})")
        return self._string(text, path)


def _is_scalar_of_an_array(value: object) -> bool:
    return (
        getattr(value, "shape", None) == () and hasattr(value, "dtype") and hasattr(value, "item")
    )


def _float_text(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _kind(value: object) -> str:
    return type(value).__name__


def _shortened(text: str, longest: int) -> str:
    mark = f"... ({len(text):,} characters)"
    return text if len(text) <= longest else text[: max(longest - len(mark), 0)] + mark


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
