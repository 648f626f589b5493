"""Two sessions and one claim: a token that ends it, a pass that collects it; the first one wins."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial

import pytest

from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    events,
    extend,
    fail,
    pass_valid,
    record_of,
    register,
    release,
    rows,
    store,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
PASS = (
    "select exit_dag, verdict, record ->> 'window_start_time', record ->> 'claim_token' "
    "from record_ledger.pass_valid_record('orders', %s)"
)


def hour(n):
    return (START + timedelta(hours=n)).isoformat()


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), lease="30m",
        retry_delay="10m",
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    clock.set("2026-11-22T06:00:00Z")
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


@pytest.mark.parametrize("call", [complete, fail, release])
def test_a_token_that_ends_its_claim_first_wins_over_the_pass_that_would_collect_it(
    ledger, clock, connect, first, in_background, orders, call
):
    held = pass_valid(ledger, orders, "a")
    clock.advance("45m")
    call(first, held.token)
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    first.commit()
    ((exit_dag, verdict, _, _),) = second.rows()
    assert "lease_expired" not in events(ledger, held.start)
    if call is release:
        # Released and pending again: not what the pass had seen, but what there is.
        assert record_of(ledger, held.start)["status"] in ("PENDING", "IN_PROGRESS")
    assert not exit_dag and verdict == "READY"
    audit(ledger)


@pytest.mark.parametrize(
    ("call", "verdict", "story"),
    [
        (complete, "ALREADY_DONE", ["completed"]),
        (partial(fail, retry=False), "FAILED", ["failed"]),
        (fail, "READY", ["failed", "passed"]),
        (release, "READY", ["released", "passed"]),
        (extend, "READY", ["passed_again"]),
    ],
)
def test_a_run_that_asks_again_while_it_ends_its_claim_is_answered_by_what_that_left(
    ledger, connect, first, in_background, orders, call, verdict, story
):
    held = pass_valid(ledger, orders, "a")
    call(first, held.token)
    second = in_background(connect(), PASS, ["a"])
    second.wait_until_blocked()
    first.commit()
    assert second.rows()[0][1] == verdict
    assert events(ledger, held.start) == ["passed", *story]
    audit(ledger)


def test_a_heartbeat_that_comes_first_keeps_the_claim(
    ledger, clock, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "a")
    clock.advance("45m")
    extend(first, held.token)
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    first.commit()
    assert second.rows()[0][2] == hour(1)
    complete(ledger, held.token)
    assert events(ledger, held.start) == ["passed", "completed"]


@pytest.mark.parametrize("call", [complete, fail, release, extend])
def test_a_pass_that_collects_first_wins_over_the_token(
    ledger, clock, connect, first, in_background, orders, call
):
    held = pass_valid(ledger, orders, "a")
    clock.advance("45m")
    assert pass_valid(first, orders, "b").start == held.start
    other = connect()
    late = in_background(other, lambda: call(other, held.token))
    late.wait_until_blocked()
    first.commit()
    assert late.error().sqlstate == "RL004"
    assert events(ledger, held.start) == ["passed", "lease_expired", "passed"]
    audit(ledger)


@pytest.mark.parametrize(
    ("winner", "loser"), [(complete, fail), (fail, complete), (release, complete)]
)
def test_of_two_endings_of_one_claim_the_first_wins(
    ledger, connect, first, in_background, orders, winner, loser
):
    held = pass_valid(ledger, orders, "a")
    winner(first, held.token)
    other = connect()
    late = in_background(other, lambda: loser(other, held.token))
    late.wait_until_blocked()
    first.commit()
    assert late.error().sqlstate == "RL004"
    audit(ledger)


def test_the_same_ending_in_two_sessions_succeeds_twice_and_counts_once(
    ledger, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "a")
    complete(first, held.token)
    other = connect()
    late = in_background(other, lambda: complete(other, held.token))
    late.wait_until_blocked()
    first.commit()
    late.result()
    assert events(ledger, held.start) == ["passed", "completed"]


def test_no_event_is_dated_before_the_one_that_it_follows(
    ledger, clock, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "a")
    clock.advance("45m")
    first.execute(
        "select from record_ledger.record where window_start_time = %s for no key update",
        [held.start],
    )
    # It takes the time, finds an expired lease, and has to wait for the record ...
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    clock.advance("1m")
    # ... which is released meanwhile, at a later time.
    release(first, held.token)
    first.commit()
    assert second.rows()[0][2] == hour(0)
    times = [
        time
        for (time,) in rows(
            ledger,
            "select event_time from record_ledger.record_events where window_start_time = %s order by event_no",
            [held.start],
        )
    ]
    assert times == sorted(times)
