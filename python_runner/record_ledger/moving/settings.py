"""Reads the tables of a pipeline definition: every problem of a table in one error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from record_ledger.config import invalid_config
from record_ledger.errors import InvalidConfig
from record_ledger.redaction import hide

Made = TypeVar("Made")

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_MISSING: Any = object()


class WrongSettings(InvalidConfig):
    """A table of a pipeline definition is wrong; `problems` are its parts."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(invalid_config(problems).message, sqlstate="RL001")
        self.problems = problems

    def __reduce__(self) -> tuple[object, ...]:
        return WrongSettings, (self.problems,)


class Settings:
    """One table of a pipeline definition, such as [source]; `name` is what errors call it.

    `${NAME}` in a text stands for the environment variable NAME: the place for passwords. Errors
    quote the text as it was written. The variable's value is hidden in every text of this process,
    also in messages of libraries. Reading a key that is missing or wrong adds a problem and goes
    on; `check` raises all of them, together with the keys that the factory did not read.
    """

    def __init__(self, table: object, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self._read: set[str] = set()
        self._table: dict[str, Any] = {}
        self._written: Mapping[Any, Any] = table if isinstance(table, Mapping) else {}
        if isinstance(table, Mapping):
            self._table = {str(key): self._expanded(key, value) for key, value in table.items()}
        else:
            self.problems.append(f"{name}: {table!r} is not valid; it must be a table")

    def text(self, key: str, default: Any = _MISSING) -> Any:
        """Returns a text; without a default the key is required, and must not be empty."""
        found = self._value(key, default, str, "a text")
        if default is _MISSING and self._table.get(key) == "":
            self.problem(key, "'' is not valid; it must be a text that is not empty")
        return found

    def number(self, key: str, default: Any, minimum: int = 1, maximum: int | None = None) -> Any:
        """Returns a whole number within bounds, or the default."""
        found = self._value(key, default, int, "a whole number")
        if found is not None and (found < minimum or (maximum is not None and found > maximum)):
            bounds = f"{minimum} or greater" if maximum is None else f"from {minimum} to {maximum}"
            self.problem(key, f"{found} is not valid; it must be a whole number, {bounds}")
        return found

    def table(self, key: str, default: Any = _MISSING) -> Any:
        """Returns a table as a dict."""
        return self._value(key, default, dict, "a table")

    def problem(self, key: str, text: str) -> None:
        """Keeps a problem of a key for `check`, such as `'x' is not valid; it must be ...`."""
        self.problems.append(f"{self.name}.{key}: {text}")

    def check(self) -> None:
        """Refuses a table with problems; for factories, once they have read all of their keys.

        :raises WrongSettings: naming every problem, and the keys that the factory did not read.
        """
        unread = [
            f"{self.name}.{key}: the key is not known; known are {', '.join(sorted(self._read))}"
            for key in self._table
            if key not in self._read
        ]
        if self.problems or unread:
            raise WrongSettings(self.problems + unread)

    def made(self, key: str, make: Callable[[], Made]) -> Made:
        """Returns what `make` returns; its error is reported as a problem of the key.

        :raises WrongSettings: when it raised TypeError or ValueError.
        """
        try:
            return make()
        except (TypeError, ValueError) as error:
            raise WrongSettings([f"{self.name}.{key}: {error}"]) from error

    def _value(self, key: str, default: Any, kind: type[Any], what: str) -> Any:
        self._read.add(key)
        value = self._table.get(key, _MISSING)
        if value is _MISSING:
            if default is not _MISSING:
                return default
            self.problem(key, f"is missing; it must be {what}")
            return kind()
        # To Python, true is a number as well.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.problem(key, f"{self._written.get(key)!r} is not valid; it must be {what}")
            return kind()
        return value

    def _expanded(self, key: object, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._expanded(f"{key}.{name}", one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._expanded(key, one) for one in value]
        if not isinstance(value, str):
            return value

        def from_environment(found: re.Match[str]) -> str:
            if found[1] not in os.environ:
                self.problems.append(
                    f"{self.name}.{key}: the environment variable {found[1]} is not set"
                )
            expanded = os.environ.get(found[1], "")
            hide(expanded)
            return expanded

        return _VARIABLE.sub(from_environment, value)
