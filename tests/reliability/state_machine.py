"""Random histories of ledgers: any routine at any time, compared after every step with a naive model.

The steps are those of tests/sql/model_steps.py and history.py, the model is tests/sql/model.py.
"""

from __future__ import annotations

from datetime import timedelta

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.reliability.history import ENDS_AS, LEVELS, ROUTINES, History
from tests.sql.invariants import audit
from tests.sql.model_steps import FIELDS, START, ZONES

STEPS = 50


def in_order_or_shared(config):
    return config | {"backfill_share": 0} if config["depends_on_past"] else config


# The windows of a history begin 4 h before it: some are lost at once, others later.
retention = st.sampled_from(
    [
        {}, {}, {"source_retention": "4h", "at_risk_within": "0s"},
        {"source_retention": "7h", "at_risk_within": "3h"},
        {"source_retention": "13h30m1us", "at_risk_within": "13h"},
    ]
)  # fmt: skip
configs = st.fixed_dictionaries(
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
        "backfill_share": st.sampled_from([0, 0, 0.25, 0.7, 1]),
    }
).map(in_order_or_shared)
configs = st.builds(dict.__or__, configs, retention)
which = st.integers(0, 1)
nth = st.integers(0, 5)
# A run that had its record is passed no other one: mostly new ones.
runs = st.sampled_from(["a", "b", "c", "d", None, None, None, None])
# Bounds on, just before and just after those of windows; or everything.
bound = st.builds(
    lambda hours, microseconds: START + timedelta(hours=hours, microseconds=microseconds),
    st.integers(-4, 12) | st.integers(-30, 40),
    st.sampled_from([0, 0, 0, -1, 1]),
)
bounds = st.just((START - timedelta(days=99), START + timedelta(days=99))) | st.tuples(bound, bound)


class LedgerMachine(RuleBasedStateMachine):
    """Two pipelines of a ledger whose database and clock are the machine's own."""

    def __init__(self, ledger, clock) -> None:
        super().__init__()
        self.ledger, self.clock = ledger, clock
        self.history: History | None = None

    @initialize(choices=st.tuples(configs, configs))
    def begin(self, choices):
        self.history = History(self.ledger, self.clock, choices)

    # ------------------------------------------------------------ runs
    @rule(n=which, run=runs)
    def cycle(self, n, run):
        self.history.cycle(n, run)

    @rule(n=which, run=runs, choice=configs)
    def cycle_with_another_config(self, n, run, choice):
        self.history.cycle(n, run, choice)

    @rule(n=which, run=runs)
    def pass_one(self, n, run):
        self.history.pass_(n, run)

    @rule(n=which, run=runs, limit=st.integers(1, 4))
    def pass_several(self, n, run, limit):
        self.history.pass_several(n, run, limit)

    @rule(n=which, run=runs)
    def finish(self, n, run):
        self.history.finish(n, run)

    @rule(n=which, run=runs, nth=nth)
    def complete_and_pass(self, n, run, nth):
        self.history.complete_and_pass(n, run, nth)

    @rule(n=which, nth=nth)
    def complete_several(self, n, nth):
        self.history.complete_several(n, nth)

    @rule(n=which)
    def store(self, n):
        self.history.store(n)

    @rule(n=which, how=st.sampled_from(list(ENDS_AS)), nth=nth)
    def end(self, n, how, nth):
        self.history.end(n, how, nth)

    @rule(n=which, nth=nth, minutes=st.sampled_from([-5, 0, 7, 90, 700]))
    def give_back_until(self, n, nth, minutes):
        self.history.end(n, "release", nth, minutes)

    @rule(n=which, how=st.sampled_from(["complete", "fail", "release", "extend"]), nth=nth)
    def end_again(self, n, how, nth):
        self.history.end_again(n, how, nth)

    @rule(n=which, nth=nth)
    def extend(self, n, nth):
        self.history.extend(n, nth)

    @rule(n=which, nth=nth, under_claim=st.booleans())
    def observe(self, n, nth, under_claim):
        self.history.observe(n, nth, under_claim)

    # ------------------------------------------------------------ operators
    @rule(n=which, choice=configs)
    def register(self, n, choice):
        self.history.register(n, choice)

    @rule(
        n=which, operation=st.sampled_from(["waive", "reopen", "expire", "cancel"]), bounds=bounds
    )
    def over_range(self, n, operation, bounds):
        self.history.over_range(n, operation, bounds)

    @rule(n=which, hours=st.integers(0, 60), microseconds=st.sampled_from([0, 0, 1, 900 * 10**6]))
    def backfill(self, n, hours, microseconds):
        self.history.backfill(n, hours, microseconds)

    @rule(n=which, hours=st.sampled_from([0, 1, 2, 5]), at_most=st.sampled_from([1, 2, 100]))
    def archive(self, n, hours, at_most):
        self.history.archive(n, hours, at_most)

    @rule(n=which, verb=st.sampled_from(["pause", *["resume"] * 6, "retire"]))
    def on_pipeline(self, n, verb):
        self.history.on_pipeline(n, verb)

    # ------------------------------------------------------------ time, and what is refused
    @rule(duration=st.sampled_from(["1us", "10m", "20m", "1h", "3h", "13h", "-1us", "-25m"]))
    def clock_jumps(self, duration):
        self.history.advance(duration)

    @rule(n=which, level=st.sampled_from(LEVELS), routine=st.sampled_from(list(ROUTINES)))
    def at_a_stricter_level(self, n, level, routine):
        self.history.at_a_stricter_level(n, level, routine)

    # ------------------------------------------------------------ after each step, and in the end
    @invariant()
    def the_ledger_agrees_with_the_model(self):
        if self.history is not None:
            self.history.compare()

    def teardown(self):
        audit(self.ledger)


def check_histories(ledger, clock, number, seed=None, phases=tuple(hypothesis.Phase)):
    """Runs that many histories; a seed makes them the same ones again."""

    def machine():
        return LedgerMachine(ledger, clock)

    if seed is not None:
        machine = hypothesis.seed(seed)(machine)
    settings = hypothesis.settings(
        max_examples=number, stateful_step_count=STEPS, phases=phases, database=None
    )
    run_state_machine_as_test(machine, settings=settings)
