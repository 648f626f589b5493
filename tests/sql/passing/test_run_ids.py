"""Run ids: a run has at most one record of a pipeline, for good; a retried task never takes a second."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    cycle,
    events,
    extend,
    fail,
    one,
    pass_valid,
    record_of,
    refused,
    register,
    release,
    rows,
    store,
    verdict_of,
    writes_nothing,
)

START = "2026-11-22T00:00:00Z"


@pytest.fixture
def given(config):
    return config(
        PIPELINE,
        timezone="UTC",
        x_time_back="0s",
        granularity="1h",
        start_at=START,
        lease="30m",
        retry_delay="10m",
    )


@pytest.fixture
def orders(ledger, clock, given):
    clock.set("2026-11-22T06:00:00Z")
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


def test_asked_again_a_run_gets_its_record_back_with_a_new_token_and_lease(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    pass_valid(ledger, orders, "b")
    clock.advance("7m")
    again = pass_valid(ledger, orders, "a")
    assert again.start == first.start
    assert again.token > first.token
    assert again.record["attempt"] == first.record["attempt"] == 1
    assert again.record["lease_expires_at"] == "2026-11-22T06:37:00+00:00"
    assert events(ledger, first.start) == ["passed", "passed_again"]
    for stale in (complete, fail, release, extend):
        with refused("RL004", "newer token"):
            stale(ledger, first.token)
    complete(ledger, again.token)
    audit(ledger)


def test_a_whole_cycle_binds_like_a_pass(ledger, given, orders):
    first = cycle(ledger, given, "a")
    assert pass_valid(ledger, orders, "a").start == first.start
    assert cycle(ledger, given, "a").start == first.start


def test_a_null_run_id_binds_nothing(ledger, orders):
    starts = [pass_valid(ledger, orders, None).start for _ in range(3)]
    assert len(set(starts)) == 3
    assert [run for (run,) in rows(ledger, "select run_id from record_ledger.record_events")] == [
        None
    ] * 3
    assert "run  " not in verdict_of(ledger, starts[0])[1]


@pytest.mark.parametrize("ending", ["completed", "failed"])
def test_a_run_whose_record_is_done_gets_no_other(ledger, orders, ending):
    first = pass_valid(ledger, orders, "a")
    if ending == "completed":
        complete(ledger, first.token)
    else:
        fail(ledger, first.token, retry=False)
    answer = pass_valid(ledger, orders, "a")
    assert (answer.exit_dag, answer.record) == (True, None)
    assert answer.verdict == {"completed": "ALREADY_DONE", "failed": "FAILED"}[ending]
    if ending == "failed":
        assert (answer.verdict, answer.reason) == verdict_of(ledger, first.start)[:2]
    else:
        assert "COMPLETED" in answer.reason
    writes_nothing(ledger, "select record_ledger.pass_valid_record(%s, 'a')", [orders])
    assert pass_valid(ledger, orders, "b").start == first.start + timedelta(hours=1)


def test_a_waived_record_is_already_done_for_its_run(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    release(ledger, first.token)
    ledger.execute(
        "update record_ledger.record set status = 'WAIVED', last_event = 'waived', last_detail = '{}' "
        "where window_start_time = %s",
        [first.start],
    )
    answer = pass_valid(ledger, orders, "a")
    assert (answer.exit_dag, answer.verdict) == (True, "ALREADY_DONE")
    assert "WAIVED" in answer.reason


def test_a_reopened_record_goes_back_to_its_run(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    complete(ledger, first.token)
    ledger.execute(
        "update record_ledger.record set status = 'PENDING', generation = 2, attempt = 0, claim_token = null, "
        "run_id = null, last_event = 'reopened', last_detail = '{}' where window_start_time = %s",
        [first.start],
    )
    # A lost answer is safe to ask for again, also after the reopening.
    complete(ledger, first.token)
    assert record_of(ledger, first.start)["status"] == "PENDING"
    with refused("RL004"):
        fail(ledger, first.token)
    answer = pass_valid(ledger, orders, "a")
    assert answer.start == first.start
    assert (answer.record["generation"], answer.record["attempt"]) == (2, 1)
    complete(ledger, first.token)
    assert record_of(ledger, first.start)["status"] == "IN_PROGRESS"


def test_release_does_not_unbind_the_run(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    release(ledger, first.token)
    again = pass_valid(ledger, orders, "a")
    assert again.start == first.start
    assert again.record["attempt"] == 1


def test_a_run_gets_its_own_record_back_even_when_an_older_one_is_pending(ledger, orders):
    older, own = pass_valid(ledger, orders, "older"), pass_valid(ledger, orders, "a")
    release(ledger, own.token)
    release(ledger, older.token)
    assert pass_valid(ledger, orders, "a").start == own.start


def test_a_run_whose_record_another_run_holds_exits_leased(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    release(ledger, first.token)
    other = pass_valid(ledger, orders, "b")
    assert other.start == first.start
    answer = pass_valid(ledger, orders, "a")
    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "LEASED", None)
    assert (answer.verdict, answer.reason) == verdict_of(ledger, first.start)[:2]
    assert "run b" in answer.reason
    complete(ledger, other.token)
    assert pass_valid(ledger, orders, "a").verdict == "ALREADY_DONE"
    # Both runs stay bound to it.
    assert pass_valid(ledger, orders, "b").verdict == "ALREADY_DONE"


def test_a_null_run_may_hold_the_record_of_another(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    release(ledger, first.token)
    assert pass_valid(ledger, orders, None).start == first.start
    assert pass_valid(ledger, orders, "a").verdict == "LEASED"


def test_its_own_backoff_does_not_keep_the_run_that_failed_from_trying_again(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    fail(ledger, first.token)
    assert verdict_of(ledger, first.start)[0] == "BACKOFF"
    assert pass_valid(ledger, orders, "b").start == first.start + timedelta(hours=1)
    again = pass_valid(ledger, orders, "a")
    assert (again.start, again.record["attempt"]) == (first.start, 2)


def test_in_backoff_but_not_valid_otherwise_the_run_exits(ledger, clock, given, orders):
    first = pass_valid(ledger, orders, "a")
    fail(ledger, first.token)
    register(ledger, given | {"max_active_records": 1})
    other = pass_valid(ledger, orders, "b")
    assert pass_valid(ledger, orders, "a").verdict == "AT_CAPACITY"
    complete(ledger, other.token)
    register(ledger, given | {"x_time_back": "12h"})
    assert pass_valid(ledger, orders, "a").verdict == "UNSTABLE"
    register(ledger, given)
    ledger.execute(
        "update record_ledger.pipeline set paused_at = now(), paused_by = 'me', pause_reason = 'why'"
    )
    assert pass_valid(ledger, orders, "a").verdict == "PAUSED"


def test_depends_on_past_also_holds_for_a_bound_run(ledger, given, orders):
    older, own = pass_valid(ledger, orders, "older"), pass_valid(ledger, orders, "a")
    release(ledger, own.token)
    register(ledger, given | {"depends_on_past": True})
    answer = pass_valid(ledger, orders, "a")
    assert (answer.verdict, answer.reason) == verdict_of(ledger, own.start)[:2]
    assert answer.verdict == "BLOCKED"
    complete(ledger, older.token)
    assert pass_valid(ledger, orders, "a").start == own.start


def test_an_expired_lease_gives_the_run_its_record_as_the_next_attempt(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    clock.advance("30m")
    again = pass_valid(ledger, orders, "a")
    # Backoff counts from the expiry, and its own backoff does not hold the run up.
    assert (again.start, again.record["attempt"]) == (first.start, 2)
    assert events(ledger, first.start) == ["passed", "lease_expired", "passed"]
    with refused("RL004", "expired"):
        complete(ledger, first.token)


def test_a_run_whose_last_attempt_expired_exits_failed(ledger, clock, given, orders):
    register(ledger, given | {"max_attempts": 1})
    first = pass_valid(ledger, orders, "a")
    clock.advance("30m")
    answer = pass_valid(ledger, orders, "a")
    assert (answer.exit_dag, answer.verdict) == (True, "FAILED")
    assert (answer.verdict, answer.reason) == verdict_of(ledger, first.start)[:2]
    assert record_of(ledger, first.start)["status"] == "FAILED"
    audit(ledger)


def test_run_ids_are_compared_letter_by_letter(ledger, orders):
    names = ["a", "A", "a ", " a", "á", "a\u0301", "a\n"]
    starts = {pass_valid(ledger, orders, name).start for name in names[:6]}
    assert len(starts) == 6
    assert one(ledger, "select count(distinct run_id) from record_ledger.record_events") == 6
