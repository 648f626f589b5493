"""Where templates run: they reach nothing but their names, and their cost has bounds.

A template comes with a config, and is rendered in the process that passes the record. The bounds:

* the length of every text: MOST_TEXT characters
* the digits of every whole number: MOST_BITS bits
* the items of a range: 100,000, Jinja's own bound
* the steps of one rendering: MOST_STEPS items of loops and calls
* the depth of recursion: Python's

A bound that is exceeded is one error of the template.
"""

from __future__ import annotations

import datetime as dt
import re
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Template, nodes
from jinja2.compiler import CodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from jinja2.compiler import Frame
    from jinja2.runtime import Context

MOST_TEXT = 1 << 20
MOST_BITS = 10_000  # Python writes no number of more than 4,300 digits
MOST_STEPS = 100_000
# Of fields that are padded, of lines that are indented, of items in a batch.
_MOST_WIDTH = 10_000

_USEFUL_GLOBALS = ("dict", "namespace", "range")
# Filters whose numbers say how much is made of little.
_GROWING_FILTERS = ("batch", "center", "indent", "round", "slice", "tojson", "truncate", "wordwrap")
_GROWING_METHODS = ("center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill")
_WIDTH_IN_PERCENT = re.compile(r"%[^%a-zA-Z]*(?:\d{5,}|\*)")
_WIDTH_IN_BRACES = re.compile(r"\{[^{}]*:[^{}]*(?:\d{5,}|\{)")


class TooMuch(OverflowError):
    """A template would make more than it may."""


class _Template(Template):
    """Counts the steps of each rendering anew."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """Returns the text.

        :raises Exception: of any kind: a template may fail in any way.
        """
        environment = self.environment
        assert isinstance(environment, Sandbox)  # noqa: S101 - nothing else makes one
        environment.begin()
        return super().render(*args, **kwargs)


class _Generator(CodeGenerator):
    """Has `~` join as everything else is joined."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounds; an undefined name is an error, and `names` are the caller's."""

    template_class = _Template
    code_generator_class = _Generator
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, names: Collection[str] = (), **options: Any) -> None:
        # What is constant would be made as the template is compiled, past all bounds.
        super().__init__(undefined=StrictUndefined, optimized=False, **options)
        self._rendering = threading.local()
        self.globals = {name: self.globals[name] for name in _USEFUL_GLOBALS if name not in names}
        self.filters = {name: _bounded(name, made) for name, made in self.filters.items()}
        self.filters.update({"utc": _utc, _EACH: self._each})

    def begin(self) -> None:
        """Begins a rendering of this thread."""
        self._rendering.steps = 0

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Returns the parts of a text, of an output or of a block, as one."""
        return _joined(parts)

    def joined(self, parts: Iterable[object]) -> str:
        """Returns what stands between `~`, as one text."""
        return _joined(map(str, parts))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Returns what an operator makes of two values, unless it were too much."""
        if operator == "%" and isinstance(left, (str, bytes)):
            text = left if isinstance(left, str) else left.decode("latin-1")
            _refuse(_WIDTH_IN_PERCENT.search(text), "a width of five digits, or of *")
        elif operator in ("*", "**", "+"):
            _check_growth(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Returns what a function gives, unless it were too much."""
        self._step()
        receiver, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(receiver, (str, bytes, int)):
            if name in _GROWING_METHODS:
                _check_width((*args, *kwargs.values()))
            elif name == "replace":
                _check_replacing(receiver, *args[:2])
            elif name == "join" and args:
                args = (_bounded_parts(args[0], receiver), *args[1:])
            elif name == "translate" and args:
                longest = max((_length(made) for made in dict(args[0]).values()), default=0)
                _check_text(_length(receiver) * max(longest, 1))
        return _checked(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Returns `str.format` in its safe form, with fields that are not too wide."""
        made = super().wrap_str_format(value)
        if made is None:
            return None
        _refuse(_WIDTH_IN_BRACES.search(value.__self__), "a width of five digits, or of {}")

        def formatted(*args: Any, **kwargs: Any) -> str:
            text: str = _checked(made(*args, **kwargs))
            return text

        return formatted

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        for loop in source.find_all(nodes.For):
            loop.iter = nodes.Filter(
                loop.iter, _EACH, [], [], None, None, lineno=loop.lineno, environment=self
            )
        text: str = super()._generate(source, *args, **kwargs)
        return text

    def _each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item

    def _step(self) -> None:
        steps = getattr(self._rendering, "steps", 0) + 1
        self._rendering.steps = steps
        _refuse(steps > MOST_STEPS, f"more than {MOST_STEPS:,} items of loops and calls")


# No template can name it.
_EACH = "-each-"


def _utc(time: object) -> str:
    if not isinstance(time, dt.datetime):
        raise TypeError(f"{time!r} is not a datetime; only a datetime can be rendered in UTC")
    return time.astimezone(dt.timezone.utc).replace(tzinfo=None).isoformat()


def _bounded(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a filter of Jinja's that makes no more than it may."""
    # Of some the first argument is the environment, or what stands for it.
    first = 1 if hasattr(made, "jinja_pass_arg") else 0

    @wraps(made)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value, *options = args[first:]
        if name in _GROWING_FILTERS:
            _check_width((*options, *kwargs.values()))
        elif name == "replace":
            _check_replacing(value, *options[:2])
        elif name == "format":
            _refuse(_WIDTH_IN_PERCENT.search(str(value)), "a width of five digits, or of *")
        elif name == "join":
            parts = _bounded_parts(value, kwargs.get("d", options[0] if options else ""))
            args = (*args[:first], parts, *options)
        return _checked(made(*args, **kwargs))

    return bounded


def _joined(parts: Iterable[str]) -> str:
    kept: list[str] = []
    length = 0
    for part in parts:
        length += len(part)
        _check_text(length)
        kept.append(part)
    return "".join(kept)


def _bounded_parts(parts: Iterable[Any], separator: Any) -> list[Any]:
    """Returns the parts that are to be joined, unless that were too long."""
    kept: list[Any] = []
    length = 0
    for part in parts:
        length += (_length(part) if isinstance(part, (str, bytes)) else 1) + _length(separator)
        _check_text(length)
        kept.append(part)
    return kept


def _check_growth(operator: str, left: Any, right: Any) -> None:
    if _is_whole(left) and _is_whole(right):
        bits = left.bit_length()
        made = bits * right if operator == "**" else bits + right.bit_length()
        _refuse(made > MOST_BITS, "a number of more than 3,000 digits")
    elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        _check_text(_length(left) + _length(right))
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if hasattr(value, "__len__") and _is_whole(times):
                _check_text(_length(value) * times)


def _check_replacing(text: Any, old: Any = "", new: Any = "") -> None:
    places = _length(text) // max(_length(old), 1) + 1
    _check_text(_length(text) + places * _length(new))


def _check_width(values: Iterable[Any]) -> None:
    for value in values:
        _refuse(_is_whole(value) and value > _MOST_WIDTH, f"more than {_MOST_WIDTH:,}")


def _check_text(length: int) -> None:
    _refuse(length > MOST_TEXT, f"more than {MOST_TEXT:,} characters or items")


def _checked(value: Any) -> Any:
    if isinstance(value, (str, bytes, list, tuple)):
        _check_text(len(value))
    return value


def _refuse(is_too_much: object, what: str) -> None:
    if is_too_much:
        raise TooMuch(f"a template may not make {what}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int)


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0
