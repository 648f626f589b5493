"""Tells a person how far long work has come: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .common import note

if TYPE_CHECKING:
    from argparse import Namespace
    from types import TracebackType

    from typing_extensions import Self

SECONDS_BETWEEN_LINES = 10.0
_WIDTH = 30


class Progress:
    """Counts up to `total` on standard error for the length of a `with` block; silent with -q."""

    def __init__(self, args: Namespace, total: int) -> None:
        self._args = args
        self._total = total
        self._done = 0
        self._is_quiet = getattr(args, "quiet", False)
        self._has_bar = sys.stderr.isatty() and not self._is_quiet
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._has_bar:
            self._draw()
        else:
            note(self._args, f"works on {self._total:,} records in steps")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._has_bar:
            with suppress(OSError):
                sys.stderr.write("\n")

    def advance(self, records: int) -> None:
        """Counts what a step has done."""
        self._done = min(self._done + records, self._total)
        if self._has_bar:
            self._draw()
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            note(self._args, f"{self._done:,} of {self._total:,} records done")

    def _draw(self) -> None:
        filled = _WIDTH * self._done // self._total
        bar = "#" * filled + "-" * (_WIDTH - filled)
        with suppress(OSError):  # a terminal that was closed stops no work
            sys.stderr.write(f"\r[{bar}] {self._done:,} of {self._total:,} records")
            sys.stderr.flush()
