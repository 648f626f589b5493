"""Random histories of windows that are loaded, counted again and reopened, against naive rules about every count."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.counts.counting import observe
from tests.sql.support import audit, complete, fail, one, operate, pass_valid, register, rows, store

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
AGES = [HOUR, 5 * HOUR]
BUDGET = 2
_names = count()


@dataclass
class Count:
    at: datetime
    row_count: int
    generation: int
    # Of the claim that it was made under; a claim is named by its attempt in the history.
    claim: int | None
    is_recount: bool


@dataclass
class Window:
    start: datetime
    status: str = "PENDING"
    generation: int = 1
    counts: list[Count] = field(default_factory=list)
    completed_at: datetime | None = None
    claim: int | None = None

    @property
    def end(self) -> datetime:
        return self.start + HOUR

    def loaded(self) -> Count | None:
        """What the completed generation stands on."""
        mine = [c for c in self.counts if c.generation == self.generation and not c.is_recount]
        under = [c for c in mine if c.claim == self.claim]
        before = [c for c in mine if c.claim is None and c.at <= self.completed_at]
        return (under or before or [None])[-1]

    def recounts(self) -> list[Count]:
        return [c for c in self.counts if c.generation == self.generation and c.is_recount]


class History:
    """One pipeline in the database and its windows beside it, as the rules would have them."""

    def __init__(self, ledger, clock, config, *, tolerance, retention) -> None:
        self.ledger, self.clock, self.name = ledger, clock, f"p{next(_names)}"
        self.tolerance, self.retention = tolerance, retention
        self.now = clock.set(START + 3 * HOUR)
        changes = {
            "required_counts": {"stages": ["source", "other"], "tolerance": f"{tolerance} rows"}
        }
        register(
            ledger,
            config(
                self.name, timezone="Etc/GMT+5", x_time_back="0s", granularity="1h", start_at=START.isoformat(),
                recount_ages=["5h", "1h"], reopen_budget=BUDGET, **(changes if tolerance else {}),
                **({"source_retention": f"{retention}h"} if retention else {}),
            ),
        )  # fmt: skip
        self.windows = []
        self.claims = 0
        self.spent = {}
        self.store()

    def store(self) -> None:
        store(self.ledger, self.name)
        self.windows = self.windows + [
            Window(start)
            for (start,) in rows(
                self.ledger,
                "select window_start_time from record_ledger.pipeline_records where pipeline_id = %s order by 1",
                [self.name],
            )[len(self.windows) :]
        ]

    def is_lost(self, window) -> bool:
        return bool(self.retention) and window.end + self.retention * HOUR <= self.now

    # ------------------------------------------------------------ steps
    def advance(self, duration) -> None:
        self.now = self.clock.advance(duration).astimezone(timezone.utc)

    def load(self, row_count, how) -> None:
        for window in self.windows:
            if window.status in ("PENDING", "FAILED") and self.is_lost(window):
                window.status = "WAIVED"
        answer = pass_valid(self.ledger, self.name)
        if answer.record is None:
            return
        (window,) = [w for w in self.windows if w.start == answer.start]
        assert window.status == "PENDING"
        self.claims += 1
        claim = self.claims
        counts = {"under": [claim], "by others": [None], "both": [claim, None], "not": []}[
            how.split(",")[0]
        ]
        for by in counts:
            observe(
                self.ledger, window.start, "source", row_count + (by is None), answer.token if by else None,
                pipeline_id=self.name,
            )  # fmt: skip
            window.counts.append(
                Count(self.now, row_count + (by is None), window.generation, by, False)
            )
        if how.endswith("fails"):
            fail(self.ledger, answer.token, retry=False, pipeline_id=self.name)
            window.status = "FAILED"
            return
        if self.tolerance:
            one(
                self.ledger,
                "select record_ledger.waive_counts(%s, %s, 'a test')",
                [self.name, window.start],
            )
        complete(self.ledger, answer.token, self.name)
        window.status, window.completed_at, window.claim = "COMPLETED", self.now, claim

    def count(self, nth, row_count) -> None:
        window = self.windows[nth % len(self.windows)]
        observe(self.ledger, window.start, "source", row_count, pipeline_id=self.name)
        is_recount = window.status == "COMPLETED" and window.loaded() is not None
        window.counts.append(Count(self.now, row_count, window.generation, None, is_recount))

    def reopen(self, nth) -> None:
        window = self.windows[nth % len(self.windows)]
        operate(self.ledger, "reopen", window.start, window.end, pipeline_id=self.name)
        if window.status in ("COMPLETED", "FAILED", "WAIVED") and not self.is_lost(window):
            self.opened(window)

    def opened(self, window) -> None:
        window.status, window.generation = "PENDING", window.generation + 1

    def reopen_changed(self) -> None:
        day = (self.now - 5 * HOUR).date()
        left = BUDGET - self.spent.get(day, 0)
        wanted = [
            w
            for w in self.windows
            if self.change(w) is not None and abs(self.change(w)) > self.tolerance
        ]
        chosen = [w for w in wanted if not self.is_lost(w)][:left]
        found = one(self.ledger, "select record_ledger.reopen_changed_records(%s)", [self.name])
        assert found == len(chosen)
        self.spent[day] = self.spent.get(day, 0) + found
        for window in chosen:
            self.opened(window)

    # ------------------------------------------------------------ what the rules say
    def change(self, window) -> int | None:
        if window.status != "COMPLETED" or not window.recounts():
            return None
        return (window.recounts()[-1].row_count - window.loaded().row_count) or None

    def due(self):
        found = []
        for window in self.windows:
            loaded = window.loaded() if window.status == "COMPLETED" else None
            if loaded is None or self.is_lost(window) or self.now >= loaded.at + 2 * AGES[-1]:
                continue
            age = max((a for a in AGES if loaded.at + a <= self.now), default=None)
            if age and not any(c.at >= loaded.at + age for c in window.recounts()):
                found.append((loaded.at + age, window.start, loaded.row_count))
        return sorted(found)

    def compare(self) -> None:
        assert (
            rows(
                self.ledger,
                "select due_at, window_start_time, loaded_count from record_ledger.recount_due(%s)",
                [self.name],
            )
            == self.due()
        )
        assert rows(
            self.ledger,
            "select window_start_time, changed_by, is_beyond_tolerance from record_ledger.changed_records "
            "where pipeline_id = %s order by 1",
            [self.name],
        ) == [
            (w.start, self.change(w), abs(self.change(w)) > self.tolerance)
            for w in self.windows
            if self.change(w)
        ]
        assert rows(
            self.ledger,
            "select window_start_time, status, generation from record_ledger.pipeline_records "
            "where pipeline_id = %s order by 1",
            [self.name],
        ) == [(w.start, w.status, w.generation) for w in self.windows]


nth = st.integers(0, 5)
row_count = st.integers(0, 3)
how = st.sampled_from(["under", "under", "under", "both", "by others", "not", "under,fails"])
steps = st.one_of(
    st.tuples(st.just("load"), row_count, how),
    st.tuples(st.just("load"), row_count, how),
    st.tuples(st.just("count"), nth, row_count),
    st.tuples(st.just("count"), nth, row_count),
    st.tuples(st.just("advance"), st.sampled_from(["1us", "30m", "1h", "1h", "4h", "13h"])),
    st.tuples(st.just("reopen"), nth),
    st.tuples(st.just("reopen_changed")),
    st.tuples(st.just("store")),
)
histories = {
    "taken": st.lists(steps, min_size=20, max_size=50),
    "tolerance": st.sampled_from([0, 0, 1]),
    "retention": st.sampled_from([None, None, 9]),
}


def take(ledger, clock, config, taken, **kind):
    history = History(ledger, clock, config, **kind)
    for name, *arguments in taken:
        getattr(history, name)(*arguments)
        # No two counts at one instant: their order around a completion would be unknown.
        history.advance("1us")
        history.compare()
    audit(ledger)


@pytest.mark.slow
@settings(max_examples=15)
@given(**histories)
def test_what_is_due_changed_and_reopened_is_what_every_count_says(
    ledger, clock, config, taken, tolerance, retention
):
    take(ledger, clock, config, taken, tolerance=tolerance, retention=retention)


@pytest.mark.slow
@settings(max_examples=250)
@given(**histories)
def test_it_is_so_in_many_more_lives(ledger, clock, config, taken, tolerance, retention):
    take(ledger, clock, config, taken, tolerance=tolerance, retention=retention)
