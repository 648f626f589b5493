"""The usual call answers as the long way does, and leaves the same behind.

Two pipelines live alike. One is asked with its config as it is in force, the other with the same
config in other words, which no usual call has: it goes the long way each time.
"""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.statuses import START, hour
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    cycle,
    fail,
    one,
    operate,
    refused,
    register,
    rows,
)

NAMES = ("usual", "long")
STEPS = 60
MARKS = """
    select bound_run_id, window_start_time, waiting_mark, active_mark, historical_credit
    from record_ledger.claim where pipeline_id = %s order by claim_token
"""
RECORDS = """
    select window_start_time, window_end_time, previous_window_start_time, target_day, status,
        generation, attempt, run_id, lease_expires_at, retry_at, fields, config_version, lane,
        event_count, last_event, needs_counts, created_at, updated_at
    from record_ledger.record where pipeline_id = %s order by 1
"""
# What has failed for good is for people.
LEFT = """
    select pipeline_id, window_start_time, lane from record_ledger.record
    where open_pipeline_id is not null and lane not in ('failed', 'waiting')
        and window_end_time < %s
"""
EVENTS = """
    select window_start_time, event_no, event, from_status, to_status, attempt, run_id, event_time
    from record_ledger.record_event where pipeline_id = %s order by 1, 2
"""


class Twins:
    """Two pipelines that the same is done to."""

    def __init__(self, ledger, clock, config, chance, **changes):
        self.ledger, self.clock, self.chance = ledger, clock, chance
        self.now = hour(3)
        self.runs = 0
        self.held = []
        self.configs = []
        for name in NAMES:
            given = config(
                name, timezone="UTC", x_time_back="0s", granularity="1h",
                start_at=START.isoformat(), lease="2h", retry_delay="30m", **changes,
            )  # fmt: skip
            given["default_record"] = {"pipeline_id": name, "key": "x"}
            self.configs.append(given)
        # Once as it is: that registers both in the same words.
        self.ask()
        self.configs[1] = {**self.configs[1], "granularity": "60m"}

    def each(self, query, *values):
        """The answers of a statement about each of the two, without what differs by their names."""
        return [one(self.ledger, query, [name, *values]) for name in NAMES]

    def ask(self):
        self.clock.set(self.now)
        self.runs += 1
        answers = [cycle(self.ledger, given, f"run {self.runs}") for given in self.configs]
        usual, long = (
            (
                answer.exit_dag,
                answer.verdict,
                answer.reason,
                answer.record
                and {
                    key: value
                    for key, value in answer.record.items()
                    if key not in ("pipeline_id", "claim_token")
                },
            )
            for answer in answers
        )
        assert usual == long
        if not answers[0].exit_dag:
            self.held.append((answers[0].start, [answer.token for answer in answers]))

    def end(self, ways=("complete", "complete", "complete", "fail", "release")):
        """Ends a claim that the run may have lost meanwhile; in both or in neither."""
        if not self.held:
            return
        start, tokens = self.held.pop(self.chance.randrange(len(self.held)))
        routine = {
            "complete": "complete_record(%s, %s, window_start_time => %s)",
            "fail": "fail_record(%s, %s, 'boom', window_start_time => %s)",
            "release": "release_record(%s, %s, window_start_time => %s)",
        }[self.chance.choice(ways)]
        states = [
            one(self.ledger, "select state from record_ledger.claim_state(%s, %s)", [name, token])
            for name, token in zip(NAMES, tokens, strict=True)
        ]
        assert states[0] == states[1]
        if states[0] != "lost":
            for name, token in zip(NAMES, tokens, strict=True):
                self.ledger.execute(f"select record_ledger.{routine}", [name, token, start])

    def operate(self):
        first = START + timedelta(hours=self.chance.randrange(-3, 12))
        operation = self.chance.choice(["waive", "reopen", "reopen", "expire"])
        routine = "expire_leases" if operation == "expire" else f"{operation}_records"
        changed = self.each(
            f"select record_ledger.{routine}(%s, %s, %s, 'a test')",
            first,
            first + timedelta(hours=self.chance.randrange(1, 4)),
        )
        assert changed[0] == changed[1]

    def move(self):
        self.now += self.chance.choice(
            [timedelta(minutes=5), timedelta(minutes=40), timedelta(hours=1), timedelta(hours=3)]
        )

    def compare(self):
        for query in (RECORDS, EVENTS, MARKS):
            usual, long = (rows(self.ledger, query, [name]) for name in NAMES)
            assert usual == long
        # The marks of the lanes may differ: one way reads more of them. Neither may hide a record.
        audit(self.ledger)


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_answer_alike(ledger, clock, config, seed):
    chance = random.Random(seed)
    twins = Twins(ledger, clock, config, chance)
    for _ in range(STEPS):
        chance.choice(
            [twins.ask, twins.ask, twins.ask, twins.end, twins.end, twins.move, twins.operate]
        )()
    twins.compare()
    # Each record that can be passed is passed in the end: no mark hides it.
    for _ in range(100):
        twins.now += timedelta(hours=3)
        twins.ask()
        while twins.held:
            twins.end(["complete"])
    assert rows(ledger, LEFT, [twins.now - timedelta(hours=12)]) == []


def test_a_config_that_a_usual_call_has_not_is_distinguished_by_its_words(ledger, clock, config):
    clock.set(hour(3))
    given = config(
        "a", timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat()
    )
    cycle(ledger, given, "1")
    is_same = "select record_ledger.is_same_config(p, %s) from record_ledger.pipeline as p"
    assert one(ledger, is_same, [Jsonb({**given, "granularity": "60m"})])


@pytest.fixture
def alone(ledger, clock, config):
    """Three stable windows; the first has failed for good, and the second stood alone and is completed."""
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), max_attempts=1
    )  # fmt: skip
    clock.set(hour(3))
    fail(ledger, cycle(ledger, given, "first").token)
    complete(ledger, cycle(ledger, given, "second").token)
    stood_alone = "select is_alone from record_ledger.record where window_start_time = %s"
    assert one(ledger, stood_alone, [hour(1)])
    return given


def test_what_stood_alone_passes_no_record_that_an_earlier_one_blocks(ledger, alone):
    register(ledger, {**alone, "depends_on_past": True})
    assert cycle(ledger, {**alone, "depends_on_past": True}, "third").exit_dag


def test_what_follows_a_record_that_was_archived_is_passed(ledger, alone):
    operate(ledger, "waive", hour(0), hour(1))
    assert archive(ledger, hour(2)) == 2
    assert cycle(ledger, alone, "third").start == hour(2)
    audit(ledger)


def test_nobody_says_by_hand_that_a_record_stood_alone(ledger, alone):
    for column in ("is_first", "is_alone"):
        for change in ("", ", last_event = 'reopened', generation = 2, attempt = 0"):
            with refused("RL003"):
                ledger.execute(
                    f"update record_ledger.record set {column} = not {column}{change} "
                    "where window_start_time = %s",
                    [hour(1)],
                )
