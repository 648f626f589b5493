"""The ledger agrees with a naive model of its rules after every step of any history."""

from __future__ import annotations

import pytest

from tests.reliability.state_machine import check_histories
from tests.support.parts import in_parts


@in_parts(2)
def test_the_ledger_agrees_with_a_naive_model_after_every_step(ledger, clock, part):
    check_histories(ledger, clock, number=10)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_the_ledger_agrees_with_the_model_in_many_more_lives(ledger, clock, part):
    check_histories(ledger, clock, number=150)
