"""Plans come true: what plan_runs foresees for a ledger in any state is what real runs are passed, and when."""

from __future__ import annotations

from datetime import timedelta
from functools import partialmethod
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.planning.plan_replay import Replay
from tests.sql.support import (
    Answer,
    archive,
    audit,
    backfill,
    complete,
    cycle,
    entry,
    fail,
    operate,
    register,
    release,
    rows,
    store,
    windows,
)

# Where each history starts: a day or so before the zone's clocks change, at midnight in some.
ZONES = {
    "UTC": "2026-11-22",
    "America/Los_Angeles": "2026-10-31",
    "Europe/Berlin": "2026-03-28",
    "America/Santiago": "2026-09-05",
    "Africa/Cairo": "2026-10-29",
    "Atlantic/Azores": "2026-10-24",
}
FIELDS = {
    "plain": {"key_x": "x"},
    "empty": {"key_x": ""},
    "templates": {"key_x": "{{ window_start_time }}"},
}
_numbers = count()

configs = st.fixed_dictionaries(
    {
        "fields": st.sampled_from(["plain", "plain", "templates", "empty"]),
        "check_fields": st.sampled_from([[], ["key_x"]]),
        "granularity": st.sampled_from(["1h", "5h", "1d", "20m"]),
        "x_time_back": st.sampled_from(["0s", "3h"]),
        "max_active_records": st.sampled_from([None, None, 1, 2]),
        "lease": st.sampled_from(["20m", "2h"]),
        "max_attempts": st.sampled_from([1, 2, 4]),
        "retry_delay": st.sampled_from(["0s", "15m", "3h"]),
        "order": st.sampled_from(["any", 0.25, 0.5, 1, "past", "past"]),
        # Windows are some hours old when a history begins: with the first of these some are lost before it goes on.
        "source_retention": st.sampled_from([None, None, None, "9h", "16h", "25h"]),
        "at_risk_within": st.sampled_from(["0s", "3h", "8h"]),
        "pass_order": st.sampled_from(["oldest", "deadline"]),
    }
)
nth = st.integers(0, 5)
steps = st.one_of(
    st.just(("ask",)),
    st.just(("ask",)),
    st.just(("ask",)),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "give up", "release"]), nth),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "give up", "release"]), nth),
    st.tuples(st.sampled_from(["reopen", "reopen", "waive", "expire"]), nth, nth),
    st.just(("backfill",)),
    st.tuples(st.just("archive"), st.integers(1, 5)),
    st.tuples(st.just("advance"), st.sampled_from(["1us", "10m", "20m", "1h", "1h", "3h", "13h"])),
    st.tuples(st.just("register"), configs),
    st.just(("store",)),
)  # fmt: skip
plans = st.fixed_dictionaries(
    {
        "runs": st.integers(1, 12),
        "workers": st.sampled_from([1, 1, 1, 2, 3]),
        "run_duration": st.sampled_from([None, "0s", "7m", "1h", "5h", "30h"]),
    }
)


class History:
    """One pipeline: what its workers do, and what happens to its claims."""

    def __init__(self, ledger, clock, zone, choice) -> None:
        self.ledger, self.clock, self.zone = ledger, clock, zone
        self.name = f"p{next(_numbers)}"
        # Hours, by their last digit, whose windows the templates give nothing for.
        self.empty = "147"
        # Nothing can be added before an archive.
        self.is_archived = False
        clock.set(f"{ZONES[zone]}T18:00:00Z")
        self.register(choice)

    # ------------------------------------------------------------ what has happened before
    def register(self, choice: dict[str, Any]) -> None:
        given = {key: value for key, value in choice.items() if key not in ("fields", "order")}
        order = choice["order"]
        if not given.get("source_retention"):
            for key in ("source_retention", "at_risk_within", "pass_order"):
                given.pop(key, None)
        elif order == "past":
            given["pass_order"] = "oldest"
        self.config = {
            **given,
            "timezone": self.zone,
            "start_at": ZONES[self.zone],
            "depends_on_past": order == "past",
            "backfill_share": 0 if isinstance(order, str) else order,
            "default_record": {"pipeline_id": self.name, **FIELDS[choice["fields"]]},
        }
        register(self.ledger, self.config)

    def ask(self) -> Answer:
        """The whole cycle of a run, as the runner makes it; some templates used to give nothing."""
        answer = cycle(self.ledger, self.config)
        while answer.to_build:
            built = [
                entry(
                    w,
                    {"key_x": "" if (start := w["window_start_time"])[12] in self.empty else start},
                )
                for w in answer.to_build
            ]
            answer = cycle(self.ledger, self.config, None, built)
        return answer

    def store(self) -> None:
        store(self.ledger, self.name)

    def advance(self, duration: str) -> None:
        self.clock.advance(duration)

    def claims(self) -> list[tuple[Any, ...]]:
        return rows(
            self.ledger,
            "select claim_token, window_start_time, lease_expires_at, updated_at from record_ledger.pipeline_records "
            "where pipeline_id = %s and status = 'IN_PROGRESS' order by window_start_time",
            [self.name],
        )

    def end(self, how: str, nth: int) -> None:
        if found := self.claims():
            token = found[nth % len(found)][0]
            if how in ("fail", "give up"):
                fail(self.ledger, token, retry=how == "fail", pipeline_id=self.name)
            else:
                {"complete": complete, "release": release}[how](
                    self.ledger, token, pipeline_id=self.name
                )

    def operate(self, operation: str, nth: int, length: int) -> None:
        found = windows(self.ledger, self.name)[nth : nth + length + 1]
        if found:
            operate(self.ledger, operation, found[0][0], found[-1][1], pipeline_id=self.name)

    reopen = partialmethod(operate, "reopen")
    waive = partialmethod(operate, "waive")
    expire = partialmethod(operate, "expire")

    def archive(self, at_most: int) -> None:
        moved = archive(self.ledger, self.clock.now(), at_most, self.name)
        self.is_archived = self.is_archived or moved > 0

    def backfill(self) -> None:
        if (found := windows(self.ledger, self.name)) and not self.is_archived:
            backfill(self.ledger, found[0][0] - timedelta(days=1), pipeline_id=self.name)

    # ------------------------------------------------------------ what comes of it
    def replay(self) -> Replay:
        self.empty = ""
        key_x, checked = self.config["default_record"]["key_x"], self.config["check_fields"]
        return Replay(
            self.ledger,
            self.clock,
            self.name,
            self.ask,
            can_build=bool(key_x) or not checked,
            may_lose="source_retention" in self.config,
        )


def live(ledger, clock, zone, choice, past, plan):
    history = History(ledger, clock, zone, choice)
    for name, *arguments in past:
        getattr(history, name)(*arguments)
    history.replay().comes_true(**plan)
    audit(ledger)


def scene(*past, runs=6, workers=1, run_duration="7m", **choice):
    """One history, described by what is special in it."""
    usual = {
        "fields": "plain", "check_fields": [], "granularity": "1h", "x_time_back": "0s", "max_active_records": None,
        "lease": "2h", "max_attempts": 4, "retry_delay": "15m", "order": "any",
    }  # fmt: skip
    steps = [step if isinstance(step, tuple) else (step,) for step in past]
    for number, step in enumerate(steps):
        if step[0] == "register":
            steps[number] = ("register", {**usual, **choice, **step[1]})
    plan = {"runs": runs, "workers": workers, "run_duration": run_duration}
    return {"zone": "UTC", "choice": {**usual, **choice}, "past": steps, "plan": plan}


FAIL, GIVE_UP = ("end", "fail", 0), ("end", "give up", 0)
SCENES = {
    "the past is in backoff": scene("ask", FAIL, order="past"),
    "the past has failed": scene("ask", GIVE_UP, order="past"),
    "the past is in progress": scene("ask", run_duration="1h", order="past"),
    "the past is incomplete": scene(
        "ask", *[("end", "complete", 0)], order="past", fields="templates", check_fields=["key_x"]
    ),
    "the past is overdue": scene("ask", ("advance", "10m"), order="past", lease="20m"),
    "the past was never measured": scene("ask", run_duration=None, order="past"),
    "the past is lost": scene("ask", ("advance", "20m"), order="past", lease="20m"),
    "the past is lost for good": scene("ask", ("advance", "3h"), order="past", max_attempts=1),
    "a historical record is in backoff": scene(
        "ask", ("end", "complete", 0), ("reopen", 0, 0), *["ask"] * 4, ("end", "fail", 0), order=0.25, runs=12
    ),
    "what was backfilled has its share": scene("ask", "backfill", order=0.5, runs=12, granularity="5h"),
    "what was backfilled is built": scene(
        "ask", "backfill", order=0.5, runs=12, granularity="5h", fields="templates", check_fields=["key_x"]
    ),
    "a claim is lost that cannot be built": scene(
        "ask", ("register", {"check_fields": ["key_x"]}), ("advance", "3h"), fields="empty"
    ),
    "a lost claim is built": scene(
        ("advance", "13h"), "ask", ("register", {"fields": "empty", "check_fields": ["key_x"]}),
        ("register", {"fields": "plain", "check_fields": ["key_x"]}), ("advance", "3h"), fields="empty",
        granularity="1d", runs=2,
    ),
    "most of what must be built is lost": scene(
        ("advance", "26h"), ("advance", "13h"), "store",
        ("register", {"fields": "plain", "source_retention": "9h"}), fields="empty", check_fields=["key_x"],
        granularity="20m", runs=1,
    ),
    "nothing can be passed": scene(fields="empty", check_fields=["key_x"]),
    "another holds the only place": scene("ask", run_duration="1h", max_active_records=1),
    "a lease has run out": scene("ask", ("advance", "30m"), run_duration="5h", lease="20m", max_active_records=1),
    "two workers go in order": scene("ask", workers=2, order="past"),
    "two workers share two places with another": scene("ask", workers=2, run_duration="5h", max_active_records=2),
    "one is nearly stable": scene(("advance", "1us"), granularity="1d", x_time_back="3h"),
}  # fmt: skip


def test_a_plan_comes_true_in_every_scene(ledger, clock):
    for name, arguments in SCENES.items():
        try:
            live(ledger, clock, **arguments)
        except AssertionError as error:
            raise AssertionError(f"not where {name}") from error


histories = {
    "zone": st.sampled_from(list(ZONES)),
    "choice": configs,
    "past": st.lists(steps, min_size=5, max_size=25),
    "plan": plans,
}


@settings(max_examples=15)
@given(**histories)
def test_what_is_planned_comes_true(ledger, clock, zone, choice, past, plan):
    live(ledger, clock, zone, choice, past, plan)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
@settings(max_examples=40)
@given(**histories)
def test_many_more_plans_come_true(ledger, clock, part, zone, choice, past, plan):
    live(ledger, clock, zone, choice, past, plan)
