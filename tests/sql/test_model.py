"""Random lives of ledgers, compared after every step with a naive model of the rules (model.py)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.support import audit
from tests.sql.walk import FIELDS, START, ZONES, Walk

RUNS = ("a", "b", "c", "d", None)
# The windows of a walk begin 4 h before it: some are lost at once, others later.
retention = st.sampled_from(
    [(None, None), (None, None), ("4h", "0s"), ("7h", "3h"), ("13h30m1us", "13h")]
)
configs = st.builds(
    lambda given, kept: (
        given | ({"source_retention": kept[0], "at_risk_within": kept[1]} if kept[0] else {})
    ),
    st.fixed_dictionaries(
        {
            "fields": st.sampled_from(list(FIELDS)),
            "zone": st.sampled_from(list(ZONES)),
            "granularity": st.sampled_from(["1h", "5h", "1d", "2h"]),
            "x_time_back": st.sampled_from(["0s", "3h"]),
            "check_fields": st.sampled_from([[], ["key_x"]]),
            "max_active_records": st.sampled_from([None, None, 1, 2]),
            "depends_on_past": st.sampled_from([False, False, True]),
            "lease": st.sampled_from(["1h", "20m"]),
            "max_attempts": st.sampled_from([1, 3, 5]),
            "retry_delay": st.sampled_from(["0s", "15m", "2h"]),
        }
    ),
    retention,
)
which = st.integers(0, 1)
run = st.sampled_from(RUNS)
# Bounds on, just before and just after those of windows; or everything.
bound = st.builds(
    lambda hours, microseconds: START + timedelta(hours=hours, microseconds=microseconds),
    st.integers(-4, 12) | st.integers(-30, 40),
    st.sampled_from([0, 0, 0, -1, 1]),
)
bounds = st.just((START - timedelta(days=99), START + timedelta(days=99))) | st.tuples(bound, bound)
operation = st.sampled_from(["waive", "reopen", "reopen", "expire"])
steps = st.one_of(
    st.tuples(st.just("cycle"), which, run),
    st.tuples(st.just("cycle"), which, run),
    st.tuples(st.just("pass"), which, run),
    st.tuples(st.just("pass"), which, run),
    st.tuples(st.just("store"), which),
    st.tuples(st.just("end"), which, st.sampled_from(["complete", "complete", "fail", "give up", "release"]), st.integers(0, 5)),
    st.tuples(st.just("end"), which, st.sampled_from(["complete", "complete", "fail", "give up", "release"]), st.integers(0, 5)),
    st.tuples(st.just("extend"), which, st.integers(0, 5)),
    st.tuples(st.just("advance"), st.sampled_from(["1us", "10m", "20m", "1h", "1h", "3h", "13h"])),
    st.tuples(st.just("register"), which, configs),
    st.tuples(st.just("cycle"), which, run, configs),
    st.tuples(st.just("over_range"), which, operation, bounds),
    st.tuples(st.just("over_range"), which, operation, bounds),
    st.tuples(st.just("backfill"), which, st.integers(0, 60), st.sampled_from([0, 0, 1, 900 * 10**6])),
    st.tuples(st.just("on_pipeline"), which, st.sampled_from(["pause", "resume", "resume", "retire"])),
)  # fmt: skip


def take(walk, step):
    name, *arguments = step
    getattr(walk, {"pass": "pass_"}.get(name, name))(*arguments)


def live(ledger, clock, choices, life):
    walk = Walk(ledger, clock, choices)
    for step in life:
        take(walk, step)
        walk.compare()
    audit(ledger)


lives = {"choices": st.tuples(configs, configs), "life": st.lists(steps, min_size=30, max_size=60)}


@pytest.mark.parametrize("part", range(2))
@settings(max_examples=10)
@given(**lives)
def test_the_ledger_agrees_with_a_naive_model_after_every_step(ledger, clock, part, choices, life):
    live(ledger, clock, choices, life)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@settings(max_examples=150)
@given(**lives)
def test_the_ledger_agrees_with_the_model_in_many_more_lives(ledger, clock, part, choices, life):
    live(ledger, clock, choices, life)
