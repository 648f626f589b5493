"""release_record with not_before: given back, not counted, and passed to no run before that instant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.counts.counting import waive_counts
from tests.sql.statuses import hour
from tests.sql.support import (
    MICROSECOND,
    PIPELINE,
    audit,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    release,
    rows,
    snapshot,
    store,
    verdict_of,
)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(), lease="30m",
        retry_delay="10m", max_attempts=3,
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    clock.set(hour(6))
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


def who(ledger):
    return one(ledger, "select session_user::text")


def test_it_is_passed_to_no_run_before_then_its_own_not_either(ledger, clock, orders):
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(7))
    found = record_of(ledger, held.start)
    assert (found["status"], found["attempt"], found["claim_token"]) == ("PENDING", 0, None)
    assert found["last_detail"] == {"not_before": "2026-11-22T07:00:00+00:00"}
    verdict, reason, ready_at = verdict_of(ledger, held.start)
    assert (verdict, ready_at) == ("BACKOFF", hour(7))
    assert reason == (
        f"window 2026-11-22T00:00:00+00:00 was given back by run a ({who(ledger)}), to be passed to no run "
        "before 2026-11-22T07:00:00+00:00"
    )
    clock.set(hour(7) - MICROSECOND)
    own = pass_valid(ledger, orders, "a")
    assert (own.exit_dag, own.verdict, own.reason) == (True, "BACKOFF", reason)
    assert pass_valid(ledger, orders, "b").start == hour(1)
    clock.set(hour(7))
    again = pass_valid(ledger, orders, "a")
    assert (again.start, again.record["attempt"]) == (held.start, 1)
    assert record_of(ledger, held.start)["retry_at"] is None
    # Its next failure is a failure like any other: its own run may try again immediately.
    fail(ledger, again.token)
    assert pass_valid(ledger, orders, "a").start == held.start
    audit(ledger)


def test_another_run_is_passed_it_then_too(ledger, clock, orders):
    release(ledger, pass_valid(ledger, orders).token, not_before=hour(7))
    assert "given back by a run without an id" in verdict_of(ledger, hour(0))[1]
    clock.set(hour(7))
    assert pass_valid(ledger, orders, "b").start == hour(0)


@pytest.mark.parametrize("past", [None, hour(6), hour(5), hour(6) - MICROSECOND, "-infinity"])
def test_a_past_instant_is_none(ledger, orders, past):
    release(ledger, pass_valid(ledger, orders, "a").token, not_before=past)
    found = record_of(ledger, hour(0))
    assert (found["retry_at"], found["last_detail"]) == (None, {})
    assert verdict_of(ledger, hour(0))[0] == "READY"
    assert pass_valid(ledger, orders, "a").start == hour(0)
    audit(ledger)


def test_infinity_is_refused_and_changes_nothing(ledger, orders):
    held = pass_valid(ledger, orders, "a")
    before = snapshot(ledger)
    with refused("RL005", "not_before: infinity"):
        release(ledger, held.token, not_before="infinity")
    assert snapshot(ledger) == before
    release(ledger, held.token, not_before="9000-12-31T00:00Z")
    assert verdict_of(ledger, hour(0))[2].year == 9000


def test_repeating_it_changes_nothing_with_any_time(ledger, clock, orders):
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(7))
    before = snapshot(ledger)
    for named in (hour(7), hour(9), None):
        release(ledger, held.token, not_before=named)
    assert snapshot(ledger) == before
    stale = pass_valid(ledger, orders, "b")
    fail(ledger, stale.token)
    with refused("RL004"):
        release(ledger, stale.token, not_before=hour(7))
    with refused("RL004"):
        release(ledger, 17, not_before=hour(7))


def test_more_than_half_of_the_time_that_is_left_is_brought_forward(ledger, clock, given, orders):
    # The source data of the first window is kept until 11:00, so until 08:30 at most.
    register(ledger, {**given, "source_retention": "10h"})
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(9))
    verdict, reason, ready_at = verdict_of(ledger, held.start)
    assert (verdict, ready_at) == ("BACKOFF", hour(8.5))
    assert reason.endswith(
        "before 2026-11-22T08:30:00+00:00; the run asked for 2026-11-22T09:00:00+00:00, after half of the time "
        "that its source data has left"
    )
    assert record_of(ledger, held.start)["last_detail"] == {
        "not_before": "2026-11-22T08:30:00+00:00",
        "asked_not_before": "2026-11-22T09:00:00+00:00",
    }
    second = pass_valid(ledger, orders, "b")
    release(ledger, second.token, not_before=hour(8.5))
    assert verdict_of(ledger, second.start)[2] == hour(8.5)
    assert "asked" not in verdict_of(ledger, second.start)[1]
    audit(ledger)


def test_where_no_time_is_left_it_does_not_wait(ledger, clock, given, orders):
    held = pass_valid(ledger, orders, "a")
    register(ledger, {**given, "source_retention": "5h1s"})
    release(ledger, held.token, not_before=hour(9))
    assert record_of(ledger, held.start)["retry_at"] is None
    assert pass_valid(ledger, orders, "a").start == held.start
    audit(ledger)


def test_its_time_stays_when_its_counts_are_waived_meanwhile(ledger, clock, given, orders):
    register(ledger, {**given, "required_counts": ["source", "target"]})
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(7))
    reason = verdict_of(ledger, held.start)[1]
    waive_counts(ledger, held.start)
    assert verdict_of(ledger, held.start)[:2] == ("BACKOFF", reason)
    own = pass_valid(ledger, orders, "a")
    assert (own.verdict, own.reason) == ("BACKOFF", reason)
    audit(ledger)


def test_operators_decide_about_it_as_about_any_pending_record(ledger, clock, orders):
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(7))
    assert operate(ledger, "waive", hour(0), hour(1)) == 1
    assert record_of(ledger, held.start)["retry_at"] is None
    assert operate(ledger, "reopen", hour(0), hour(1)) == 1
    assert verdict_of(ledger, held.start)[0] == "READY"
    audit(ledger)


def test_it_holds_up_later_ones_where_order_matters_and_plans_know_it(ledger, clock, given, orders):
    register(ledger, {**given, "depends_on_past": True})
    held = pass_valid(ledger, orders, "a")
    release(ledger, held.token, not_before=hour(7))
    answer = pass_valid(ledger, orders, "b")
    assert (answer.verdict, "given back by run a" in answer.reason) == ("BACKOFF", True)
    ((start, starts_at, reason),) = rows(
        ledger,
        "select window_start_time, starts_at, reason from record_ledger.plan_runs(%s, 1)",
        [orders],
    )
    assert (start, starts_at) == (held.start, hour(7))
    assert "starts when its backoff is over" in reason
    clock.set(hour(7) - timedelta(microseconds=1))
    assert pass_valid(ledger, orders, "b").record is None
    clock.set(hour(7))
    assert pass_valid(ledger, orders, "b").start == held.start
