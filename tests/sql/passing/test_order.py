"""The laws of order, over random histories of one pipeline: the past first, the capacity, the share.

Each law is stated about what the views show right before and right after a pass, never by how the
ledger chooses.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql import support
from tests.sql.support import audit, one, pass_valid, refused, register, rows, store
from tests.support.parts import in_parts

START = "2026-11-22T00:00:00Z"
steps = st.one_of(
    st.tuples(st.just("pass")),
    st.tuples(st.just("pass")),
    st.tuples(st.just("pass")),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "release"]), st.integers(0, 5)),
    st.tuples(st.just("end"), st.sampled_from(["complete", "complete", "fail", "release"]), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.sampled_from(["1us", "10m", "1h", "3h"])),
    st.tuples(st.just("store")),
    st.tuples(st.just("reopen"), st.integers(0, 20), st.integers(1, 4)),
    st.tuples(st.just("waive"), st.integers(0, 20), st.integers(1, 3)),
    st.tuples(st.just("backfill")),
)  # fmt: skip
histories = st.lists(steps, min_size=20, max_size=50)
SHARES = [0, 0.1, 0.25, 0.5, 2 / 3, 0.9, 1]

# A record that a pass could hand out at this instant, in any order among them.
CANDIDATES = """
    select v.window_start_time, r.is_historical
    from record_ledger.record_verdicts as v
    join record_ledger.record as r using (pipeline_id, window_start_time)
    where v.pipeline_id = %s
        and (
            v.verdict = 'READY'
            or v.verdict = 'LEASE_EXPIRED' and v.ready_at <= record_ledger.clock()
            and v.missing_fields is null
        )
    order by 1
"""
IN_PROGRESS = """
    select count(*) from record_ledger.pipeline_records
    where pipeline_id = %s and status = 'IN_PROGRESS' and lease_expires_at > record_ledger.clock()
"""
OPEN_BEFORE = """
    select count(*) from record_ledger.pipeline_records
    where pipeline_id = %s and window_start_time < %s and status in ('PENDING', 'IN_PROGRESS', 'FAILED')
"""


class History:
    """One pipeline that operators and runs work on; every pass is looked at before and after."""

    number = 0

    def __init__(self, ledger, clock, config, **changes):
        History.number += 1
        self.ledger, self.clock, self.name = ledger, clock, f"history{History.number}"
        clock.set("2026-11-22T06:00:00Z")
        register(
            ledger,
            config(
                self.name, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START,
                lease="2h", retry_delay="30m", **changes,
            ),
        )  # fmt: skip
        self.backfilled = 0
        self.passes = []
        store(ledger, self.name)

    def take(self, taken):
        for name, *arguments in taken:
            getattr(self, name + "_")(*arguments)

    def pass_(self):
        candidates = rows(self.ledger, CANDIDATES, [self.name])
        shown = one(
            self.ledger,
            "select window_start_time from record_ledger.oldest_valid_record where pipeline_id = %s",
            [self.name],
        )
        answer = pass_valid(self.ledger, self.name)
        assert (answer.start if answer.record else None) == shown
        self.passes.append((candidates, answer))

    def end_(self, how, nth):
        claims = rows(
            self.ledger,
            "select claim_token from record_ledger.pipeline_records "
            "where pipeline_id = %s and status = 'IN_PROGRESS' order by window_start_time",
            [self.name],
        )
        if claims:
            support.end(self.ledger, how, claims[nth % len(claims)][0], self.name)

    def advance_(self, duration):
        self.clock.advance(duration)

    def store_(self):
        store(self.ledger, self.name)

    def change(self, operation, first, count):
        self.ledger.execute(
            f"select record_ledger.{operation}(%s, %s::timestamptz + %s * interval '1 hour', "
            "%s::timestamptz + %s * interval '1 hour', 'a test')",
            [self.name, START, first - 10, START, first - 10 + count],
        )

    def reopen_(self, first, count):
        self.change("reopen_records", first, count)

    def waive_(self, first, count):
        self.change("waive_records", first, count)

    def backfill_(self):
        if self.backfilled < 2:
            self.backfilled += 1
            self.ledger.execute(
                "select record_ledger.backfill_records(%s, %s::timestamptz - %s * interval '1 day', 'a test')",
                [self.name, START, self.backfilled],
            )


@in_parts(2)
@settings(max_examples=12)
@given(taken=histories)
def test_with_depends_on_past_nothing_is_passed_before_all_earlier_ones_are_done(
    ledger, clock, config, part, taken
):
    history = History(ledger, clock, config, depends_on_past=True)
    for step in taken:
        history.take([step])
        if step[0] == "pass" and history.passes[-1][1].record:
            start = history.passes[-1][1].start
            assert one(ledger, OPEN_BEFORE, [history.name, start]) == 0
        elif step[0] == "pass":
            assert history.passes[-1][0] == []
    audit(ledger)


@in_parts(2)
@settings(max_examples=12)
@given(taken=histories, capacity=st.integers(1, 3))
def test_never_more_are_in_progress_than_the_capacity_and_it_is_used(
    ledger, clock, config, part, taken, capacity
):
    history = History(ledger, clock, config, max_active_records=capacity)
    for step in taken:
        before = one(ledger, IN_PROGRESS, [history.name])
        history.take([step])
        if step[0] == "pass":
            candidates, answer = history.passes[-1]
            assert bool(answer.record) == bool(candidates and before < capacity)
            assert one(ledger, IN_PROGRESS, [history.name]) <= capacity
    audit(ledger)


@in_parts(2)
@settings(max_examples=15)
@given(taken=histories, share=st.sampled_from(SHARES))
def test_live_and_historical_records_each_get_their_share_and_each_kind_in_order(
    ledger, clock, config, part, taken, share
):
    history = History(ledger, clock, config, backfill_share=share)
    history.take(taken)
    turns = []
    for candidates, answer in history.passes:
        if not candidates:
            assert answer.record is None
            continue
        kind = dict(candidates)[answer.start]
        # The oldest of its kind; without a share, the oldest of all.
        assert answer.start == next(
            start for start, historical in candidates if share == 0 or historical == kind
        )
        if len({historical for _, historical in candidates}) == 2:
            turns.append(kind)
    check_turns(turns, share)
    audit(ledger)


def check_turns(turns, share):
    """Of any passes in a row at which both kinds waited, each had its share; a turn says whether it was historical."""
    if not share:
        return
    exact = Fraction(str(share))
    for first in range(len(turns)):
        for last in range(first + 1, len(turns) + 1):
            count, historical = last - first, sum(turns[first:last])
            assert historical >= floor(count * exact), turns
            assert count - historical >= floor(count * (1 - exact)), turns


def test_a_share_passes_both_kinds_in_turns(ledger, clock, config):
    history = History(ledger, clock, config, backfill_share=0.25)
    history.backfill_()
    for _ in range(6):
        history.pass_()
    starts = [answer.start.strftime("%d %H") for _, answer in history.passes]
    # Three live windows for each backfilled one, and each kind by itself once the other has none.
    assert starts == ["22 00", "22 01", "22 02", "21 00", "22 03", "22 04"]
    history.take([("pass",)] * 3)
    starts = [answer.start.strftime("%d %H") for _, answer in history.passes[6:]]
    assert starts == ["22 05", "21 01", "21 02"]


def test_without_a_share_the_oldest_comes_first_of_either_kind(ledger, clock, config):
    history = History(ledger, clock, config)
    history.take([("pass",), ("backfill",), ("pass",), ("pass",)])
    starts = [answer.start.strftime("%d %H") for _, answer in history.passes]
    assert starts == ["22 00", "21 00", "21 01"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backfill_share": 1.01}, "backfill_share: 1.01 is out of range; give a number from 0 to 1"),
        ({"backfill_share": -0.5}, "backfill_share: -0.5 is out of range"),
        ({"backfill_share": "half"}, 'backfill_share: "half" is not a number'),
        ({"backfill_share": True}, "backfill_share: true is not a number"),
        ({"backfill_share": 0.5, "depends_on_past": True}, "backfill_share: 0.5 cannot be combined with depends_on_past"),
    ],
)  # fmt: skip
def test_a_share_that_makes_no_sense_is_a_config_error(ledger, config, changes, message):
    with refused("RL001", message):
        register(ledger, config("orders", **changes))
    register(ledger, config("orders", backfill_share=0, depends_on_past=True))
