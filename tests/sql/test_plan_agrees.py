"""Plans come true: what plan_runs foresees for a ledger in any state is what real runs are passed, and when."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.plan_replay import Replay
from tests.sql.support import audit, complete, cycle, fail, register, release, rows, store

# Where each life starts: a day or so before the zone's clocks change, at midnight in some.
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

policies = st.sampled_from(
    [
        *[{"backfill_share": share} for share in (0.25, 0.5, 1)],
        {"depends_on_past": True},
        {},
        {},
    ]
)
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
        "policy": policies,
    }
)
nth = st.integers(0, 5)
steps = st.one_of(
    st.just(("ask",)),
    st.just(("ask",)),
    st.just(("ask",)),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "give up", "release"]), nth),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "give up", "release"]), nth),
    st.tuples(st.just("reopen"), nth),
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
REOPEN = """
    update record_ledger.record
    set status = 'PENDING', generation = generation + 1, attempt = 0, claim_token = null, run_id = null,
        last_event = 'reopened', last_detail = '{}', updated_at = record_ledger.clock()
    where pipeline_id = %s and window_start_time = %s
"""


class Life:
    """One pipeline: what its workers do, and what happens to its claims."""

    def __init__(self, ledger, clock, zone, choice) -> None:
        self.ledger, self.clock, self.zone = ledger, clock, zone
        self.name = f"p{next(_numbers)}"
        clock.set(f"{ZONES[zone]}T18:00:00Z")
        self.register(choice)

    # ------------------------------------------------------------ what has happened before
    def register(self, choice: dict[str, Any]) -> None:
        self.config = {
            **{key: value for key, value in choice.items() if key not in ("fields", "policy")},
            **choice["policy"],
            "timezone": self.zone,
            "start_at": ZONES[self.zone],
            "default_record": {"pipeline_id": self.name, **FIELDS[choice["fields"]]},
        }
        register(self.ledger, self.config)

    def ask(self):
        """The whole cycle of a run, as the runner makes it."""
        answer = cycle(self.ledger, self.config)
        if answer.to_build:
            built = [
                {"window_start_time": w["window_start_time"], "fields": {"key_x": "built"}}
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

    def reopen(self, nth: int) -> None:
        done = rows(
            self.ledger,
            "select window_start_time from record_ledger.pipeline_records "
            "where pipeline_id = %s and status in ('COMPLETED', 'FAILED') order by 1",
            [self.name],
        )
        if done:
            self.ledger.execute(REOPEN, [self.name, *done[nth % len(done)]])

    # ------------------------------------------------------------ what comes of it
    def replay(self) -> Replay:
        config = self.config
        return Replay(
            self.ledger, self.clock, self.name, self.ask,
            can_build=config["default_record"]["key_x"] != "" or not config["check_fields"],
        )  # fmt: skip


def live(ledger, clock, zone, choice, past, plan):
    life = Life(ledger, clock, zone, choice)
    for name, *arguments in past:
        getattr(life, name)(*arguments)
    life.replay().comes_true(**plan)
    audit(ledger)


lives = {
    "zone": st.sampled_from(list(ZONES)),
    "choice": configs,
    "past": st.lists(steps, max_size=25),
    "plan": plans,
}


@settings(max_examples=20)
@given(**lives)
def test_what_is_planned_comes_true(ledger, clock, zone, choice, past, plan):
    live(ledger, clock, zone, choice, past, plan)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@settings(max_examples=200)
@given(**lives)
def test_many_more_plans_come_true(ledger, clock, part, zone, choice, past, plan):
    live(ledger, clock, zone, choice, past, plan)
