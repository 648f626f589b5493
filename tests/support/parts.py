"""Properties that the default run tests with few examples, and the slow tests with more."""

from __future__ import annotations

import pytest


def in_parts(more: int) -> pytest.MarkDecorator:
    """Runs a test once by default, and `more` times as slow tests; gives it the number `part`."""
    slow = [pytest.param(number, marks=pytest.mark.slow) for number in range(1, more + 1)]
    return pytest.mark.parametrize("part", [0, *slow])
