"""Renders the Jinja templates of default_record and of commands; imported only where needed.

jinja2 is slow to import, and most configs and commands have no template.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Template, TemplateSyntaxError, UndefinedError, meta

from .config import invalid_config, is_template, shown, templates_in, text_problem
from .errors import InvalidArgument
from .sandbox import Sandbox, TooMuch
from .values import record_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WINDOW_NAMES = (
    "pipeline_id",
    "target_day",
    "window_start_time",
    "window_end_time",
    "time_interval",
)


class RecordTemplates:
    """The templates of one default_record, checked and in the order in which they build on others.

    `{{ window_start_time | utc }}` is a time in UTC without an offset, as in a command's arguments.

    Made only from templates that compile, name nothing unknown and do not go round in circles.

    :raises InvalidConfig: naming every field that is wrong, the variable, and what is available.
    """

    def __init__(self, default_record: Mapping[str, Any]) -> None:
        self._fields = {k: v for k, v in default_record.items() if k != "pipeline_id"}
        self._available = sorted({*WINDOW_NAMES, *self._fields})
        self._compiled: dict[str, Template] = {}
        self._environment = Sandbox(self._available)
        problems: list[str] = []
        self._uses = {
            field: self._names_used(field, value, problems) for field, value in self._fields.items()
        }
        self._order = _in_order(self._uses, problems)
        if problems:
            raise invalid_config(problems)

    @property
    def rendered_fields(self) -> list[str]:
        """The fields that have a template in them."""
        return [field for field, value in self._fields.items() if any(templates_in(value))]

    def render(self, window: Mapping[str, Any], timezone: str | None) -> dict[str, Any]:
        """Returns the fields of one window's record, every template in them rendered to text.

        `window` is an element of `to_build`; the templates see it as `record_from_json` gives it.

        :raises InvalidConfig: naming every field that failed to render, why, and the window.
        """
        names = record_from_json({name: window[name] for name in WINDOW_NAMES}, timezone)
        problems: list[str] = []
        failed: set[str] = set()
        for field in self._order:
            if self._uses[field] & failed:
                failed.add(field)  # it would fail for want of the other, which tells nobody more
                continue
            try:
                names[field] = self._rendered(self._fields[field], names)
            except UndefinedError as error:
                failed.add(field)
                problems.append(
                    f"default_record.{field}: {error.message}; "
                    f"available are {', '.join(self._available)}"
                )
            except Exception as error:  # noqa: BLE001 - a template may fail in any way
                failed.add(field)
                problems.append(f"default_record.{field}: {_why_it_failed(error)}")
        if problems:
            at = f" (window {window['window_start_time']})"
            raise invalid_config([problem + at for problem in problems])
        return {field: names[field] for field in self._fields}

    def _rendered(self, value: Any, names: Mapping[str, Any]) -> Any:
        if isinstance(value, str):
            if not is_template(value):
                return value
            text = self._compiled[value].render(names)
            problem = text_problem(text)
            if problem is not None:
                raise ValueError(f"the text {problem}")
            return text
        if isinstance(value, list):
            return [self._rendered(item, names) for item in value]
        if isinstance(value, dict):
            return {key: self._rendered(item, names) for key, item in value.items()}
        return value

    def _names_used(self, field: str, value: Any, problems: list[str]) -> set[str]:
        """Compiles the templates of a field; returns the other fields that they name."""
        used: set[str] = set()
        for text in templates_in(value):
            try:
                used |= meta.find_undeclared_variables(self._environment.parse(text))
                self._compiled[text] = self._environment.from_string(text)
            except Exception as error:  # noqa: BLE001, PERF203 - every problem is wanted
                what = _why_no_template(error)
                problems.append(f"default_record.{field}: {shown(text)} is no template: {what}")
        available = ", ".join(name for name in self._available if name != field)
        problems.extend(
            f"default_record.{field}: the variable {name!r} is not known; available are {available}"
            for name in sorted(used.difference(self._available))
        )
        return used.intersection(self._fields)


class ArgumentTemplates:
    """The arguments of a command, rendered over the record that was passed; checked before.

    An argument without a template stays as it is, byte for byte. `{{ window_start_time | utc }}` is
    a time in UTC without an offset, as dbt's --event-time-start wants it.

    :raises InvalidArgument: naming every argument that is no template.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        environment = Sandbox(keep_trailing_newline=True)
        problems: list[str] = []
        self._arguments: list[str | Template] = []
        for number, text in enumerate(arguments):
            try:
                compiled = environment.from_string(text) if is_template(text) else text
                self._arguments.append(compiled)
            except Exception as error:  # noqa: BLE001, PERF203 - every problem is wanted
                problems.append(
                    f"{_called(number)}, {shown(text)}, is no template: {_why_no_template(error)}; "
                    "put braces that are meant as they are between {% raw %} and {% endraw %}"
                )
        self._texts = list(arguments)
        _refuse_arguments(problems)

    def render(self, record: Mapping[str, Any]) -> list[str]:
        """Returns the arguments; a template sees every field and ledger column of the record.

        :raises InvalidArgument: naming every argument that failed to render, and why.
        """
        rendered: list[str] = []
        problems: list[str] = []
        for number, argument in enumerate(self._arguments):
            try:
                text = argument if isinstance(argument, str) else argument.render(record)
                rendered.append(text)
            except UndefinedError as error:  # noqa: PERF203 - every problem is wanted
                problems.append(
                    f"{_called(number)}, {shown(self._texts[number])}: {error.message}; "
                    f"available are {', '.join(sorted(record))}"
                )
            except Exception as error:  # noqa: BLE001 - a template may fail in any way
                problems.append(
                    f"{_called(number)}, {shown(self._texts[number])}: {_why_it_failed(error)}"
                )
        _refuse_arguments(problems)
        return rendered


def _why_no_template(error: Exception) -> str:
    """Returns why a template cannot be compiled: it is wrong, or too deep, or too large."""
    if isinstance(error, TemplateSyntaxError):
        return error.message or "it is wrong"
    return f"{type(error).__name__}: {error}"


def _why_it_failed(error: Exception) -> str:
    """Returns why a template gives no text; of a bound, only which one: its class is our own."""
    if isinstance(error, TooMuch):
        return str(error)
    return f"the template failed with {type(error).__name__}: {error}"


def _called(number: int) -> str:
    return f"argument {number} of the command" if number else "the command"


def _refuse_arguments(problems: list[str]) -> None:
    if problems:
        raise InvalidArgument("\n".join(problems), sqlstate="RL005")


def _in_order(uses: Mapping[str, set[str]], problems: list[str]) -> list[str]:
    """Returns the fields so that each comes after those that it uses; notes circles as problems."""
    ordered: list[str] = []
    left = dict(uses)
    while left:
        ready = [field for field, used in left.items() if not used.intersection(left)]
        if not ready:
            circle = _circle(left)
            problems.append(
                f"default_record.{circle[0]}: templates refer to each other in a circle: "
                f"{' -> '.join([*circle, circle[0]])}; let one of them use the window's values only"
            )
            return ordered
        ordered += ready
        for field in ready:
            del left[field]
    return ordered


def _circle(left: Mapping[str, set[str]]) -> list[str]:
    """Returns fields that refer to one another in a circle, when every field uses another."""
    path = [next(iter(left))]
    while True:
        following = min(left[path[-1]].intersection(left))
        if following in path:
            return path[path.index(following) :]
        path.append(following)


@lru_cache(maxsize=64)
def _cached(default_record_json: str) -> RecordTemplates:
    return RecordTemplates(json.loads(default_record_json))


def compiled(default_record: Mapping[str, Any]) -> RecordTemplates:
    """Returns the templates of a default_record; compiled once per process for equal records."""
    return _cached(json.dumps(default_record))
