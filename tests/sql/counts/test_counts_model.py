"""Which counts are evidence, against a model of a few lines: random claims, counts, adoptions and configs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.counts.counting import adopt, observe, waive_counts
from tests.sql.support import (
    audit,
    complete,
    fail,
    one,
    operate,
    pass_valid,
    register,
    rows,
    store,
)
from tests.support.parts import in_parts

_numbers = count()
STAGES = ["source", "target", "third"]
START = "2026-11-22T00:00:00Z"
TOLERANCES = {
    "0 rows": lambda reference: 0,
    "2 rows": lambda reference: 2,
    "50%": lambda reference: Fraction(reference, 2),
    "33.4%": lambda reference: Fraction(334, 1000) * reference,
}
configs = st.one_of(
    st.none(),
    st.tuples(
        st.lists(st.sampled_from(STAGES), min_size=2, max_size=3, unique=True),
        st.sampled_from(sorted(TOLERANCES)),
    ),
)
steps = st.one_of(
    st.tuples(st.just("observe"), st.sampled_from(STAGES), st.integers(0, 6), st.sampled_from(["held", "lost", None])),
    st.tuples(st.just("observe"), st.sampled_from(STAGES), st.integers(3, 4), st.just("held")),
    st.tuples(st.just("adopt"), st.sampled_from([*STAGES, None])),
    st.tuples(st.just("end"), st.sampled_from(["fail", "expire", "again", "complete", "complete"])),
    st.tuples(st.just("waive")),
    st.tuples(st.just("configure"), configs),
)  # fmt: skip


@dataclass
class Model:
    """One record: what each of its claims counted, in this generation."""

    required: tuple[list[str], str] | None
    waived: bool = False
    held: bool = False
    claims: list[dict[str, int]] = field(default_factory=list)

    def adoptable(self, stage):
        for earlier in reversed(self.claims[:-1]):
            if stage in earlier:
                return earlier[stage]
        return None

    @property
    def is_complete(self):
        if self.required is None or self.waived:
            return True
        stages, tolerance = self.required
        counts = self.claims[-1]
        if any(stage not in counts for stage in stages):
            return False
        first = counts[stages[0]]
        allowed = TOLERANCES[tolerance](first)
        return all(abs(counts[stage] - first) <= allowed for stage in stages)


class History:
    """The one record of a pipeline, in the ledger and in the model."""

    def __init__(self, ledger, config, required):
        self.ledger, self.name, self.config = ledger, f"counted {next(_numbers)}", config
        self.model = Model(required)
        self.tokens = [10**12]
        self.configure(required)
        assert store(ledger, self.name) == 1
        self.take()

    def take(self):
        self.tokens.append(pass_valid(self.ledger, self.name, "run").token)
        self.model.claims.append({})
        self.model.held = True

    def outcome(self, call, *arguments, **options):
        """What a call returned, or the code of its error."""
        try:
            return call(self.ledger, *arguments, pipeline_id=self.name, **options)
        except psycopg.Error as error:
            return error.sqlstate

    def observe(self, stage, row_count, whose):
        token = {"held": self.tokens[-1], "lost": self.tokens[-2], None: None}[whose]
        refused = whose == "lost" or (whose == "held" and not self.model.held)
        found = self.outcome(observe, START, stage, row_count, token)
        assert found == "RL004" if refused else isinstance(found, int)
        if whose == "held" and self.model.held:
            self.model.claims[-1][stage] = row_count

    def adopt(self, stage):
        found = self.outcome(adopt, self.tokens[-1], stage)
        if not self.model.held:
            assert found == "RL004"
            return
        own = self.model.claims[-1]
        adopted = {
            name: self.model.adoptable(name)
            for name in STAGES
            if name not in own and stage in (name, None) and self.model.adoptable(name) is not None
        }
        own.update(adopted)
        assert found == len(adopted)

    def waive(self):
        found = self.outcome(waive_counts, START)
        if self.model.required is None:
            assert found == "RL005"
        elif not self.model.held:
            assert found == "RL003"
        else:
            assert found is not self.model.waived
            self.model.waived = True

    def configure(self, required):
        self.model.required = required
        wanted = {} if required is None else {
            "required_counts": {"stages": required[0], "tolerance": required[1]}
        }  # fmt: skip
        register(self.ledger, {**self.config(self.name), **wanted})

    def end(self, how):
        if not self.model.held:
            operate(self.ledger, "reopen", "-infinity", "infinity", pipeline_id=self.name)
            self.model.claims, self.model.waived = [], False
            self.take()
        elif how == "complete":
            complete_now = self.outcome(complete, self.tokens[-1])
            assert complete_now == (None if self.model.is_complete else "RL007")
            self.model.held = complete_now is not None
        elif how == "again":
            self.take()
        else:
            if how == "fail":
                fail(self.ledger, self.tokens[-1], pipeline_id=self.name)
            else:
                assert (
                    operate(self.ledger, "expire", "-infinity", "infinity", pipeline_id=self.name)
                    == 1
                )
            self.take()  # fmt: skip

    def compare(self):
        evidence = dict(
            rows(
                self.ledger,
                "select stage, row_count from record_ledger.record_observations where pipeline_id = %s and is_evidence "
                "and generation = (select generation from record_ledger.pipeline_records where pipeline_id = %s)",
                [self.name, self.name],
            )
        )
        assert evidence == self.model.claims[-1]
        if self.model.held:
            problem = one(
                self.ledger,
                "select counts_problem from record_ledger.record_verdicts where pipeline_id = %s",
                [self.name],
            )
            assert (problem is None) == self.model.is_complete, problem


@in_parts(2)
@settings(max_examples=20)
@given(required=configs, taken=st.lists(steps, min_size=8, max_size=30))
def test_the_ledger_goes_by_the_same_counts_as_the_model(
    ledger, clock, config, part, required, taken
):
    clock.set("2026-11-22T01:00:00Z")

    def make(name):
        return config(
            name, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START, retry_delay="0s",
            max_attempts=1000,
        )  # fmt: skip

    history = History(ledger, make, required)
    for step, *arguments in taken:
        getattr(history, step)(*arguments)
        history.compare()
    audit(ledger)
