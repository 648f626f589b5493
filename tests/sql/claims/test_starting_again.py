"""What a record is after it was reopened, or taken back from a run that was taken for dead."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.sql.statuses import EVERYTHING, hour, one_of_each
from tests.sql.support import (
    ENDINGS,
    MICROSECOND,
    PIPELINE,
    audit,
    cycle,
    effects,
    events,
    extend,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    store,
    verdict_of,
)


@pytest.fixture
def given(ledger, clock, config):
    return one_of_each(ledger, clock, config)


@pytest.fixture
def orders(given):
    return PIPELINE


# ---------------------------------------------------------------- reopening
def test_a_reopened_record_starts_again_in_a_new_generation(ledger, clock, orders):
    before = record_of(ledger, hour(3))
    assert (before["generation"], before["attempt"]) == (1, 1)
    operate(ledger, "reopen", hour(3), hour(4))
    after = record_of(ledger, hour(3))
    assert {key: after[key] for key in after if after[key] != before[key]} == {
        "status": "PENDING", "generation": 2, "attempt": 0, "claim_token": None, "run_id": None,
        "last_event": "reopened", "last_detail": {"reason": "why"},
    }  # fmt: skip
    operate(ledger, "waive", hour(0), hour(1))
    # Both attempts of the new generation are there.
    for attempt in (1, 2):
        answer = pass_valid(ledger, orders)
        assert (answer.start, answer.record["attempt"]) == (hour(3), attempt)
        assert answer.record["generation"] == 2
        fail(ledger, answer.token)
        clock.advance("10m")
    assert record_of(ledger, hour(3))["status"] == "FAILED"
    generations = "select event, generation from record_ledger.record_events where window_start_time = %s order by event_no"
    assert rows(ledger, generations, [hour(3)]) == [
        ("passed", 1), ("failed", 1), ("reopened", 2), ("passed", 2), ("failed", 2), ("passed", 2), ("failed", 2),
    ]  # fmt: skip
    audit(ledger)


@pytest.mark.parametrize("how", ENDINGS)
def test_the_call_that_ended_a_claim_may_be_repeated_after_a_reopening(ledger, orders, how):
    operate(ledger, "waive", hour(0), hour(1))
    operate(ledger, "waive", hour(3), hour(4))
    operate(ledger, "reopen", hour(4), hour(5))
    token = pass_valid(ledger, orders, "x").token
    call = ENDINGS[how]
    call(ledger, token)
    if how != "complete":
        operate(ledger, "waive", hour(4), hour(5))
    operate(ledger, "reopen", hour(4), hour(5))
    before = snapshot(ledger)
    call(ledger, token)
    assert snapshot(ledger) == before
    for other in {*ENDINGS} - {how}:
        with refused("RL004", "claim lost"):
            ENDINGS[other](ledger, token)
    with refused("RL004"):
        extend(ledger, token)
    assert snapshot(ledger) == before


def test_a_run_keeps_its_record_through_a_reopening(ledger, orders):
    assert pass_valid(ledger, orders, "done").verdict == "ALREADY_DONE"
    operate(ledger, "reopen", *EVERYTHING)
    answer = pass_valid(ledger, orders, "done")
    assert (answer.start, answer.record["generation"]) == (hour(2), 2)
    assert pass_valid(ledger, orders, "another").start == hour(0)
    audit(ledger)


def test_a_waived_runs_record_is_done_for_it(ledger, orders):
    operate(ledger, "waive", hour(3), hour(4))
    answer = pass_valid(ledger, orders, "lost")
    assert answer.verdict == "ALREADY_DONE"
    assert "WAIVED" in answer.reason


def test_a_reopened_record_is_judged_by_the_config_in_force(ledger, orders, given):
    changed = given | {"check_fields": ["key_x"]}
    changed["default_record"] = {**given["default_record"], "key_x": ""}
    register(ledger, changed)
    operate(ledger, "reopen", hour(2), hour(3))
    verdict, reason, _ = verdict_of(ledger, hour(2))
    assert (verdict, "cannot fill it" in reason) == ("INCOMPLETE", True)
    # The config can fill it now: its next pass builds it, in the same generation.
    changed["default_record"]["key_x"] = "x"
    register(ledger, changed)
    assert verdict_of(ledger, hour(2))[0] == "READY"
    assert record_of(ledger, hour(2))["missing_fields"] is None
    answer = cycle(ledger, changed, "done")
    assert (answer.start, answer.record["key_x"]) == (hour(2), "x")
    assert events(ledger, hour(2))[-3:] == ["reopened", "rebuilt", "passed"]
    audit(ledger)


def test_a_reopened_record_that_the_config_cannot_fill_is_not_built_again(ledger, clock, config):
    given = config(PIPELINE, timezone="UTC", x_time_back="0s", fields={"key_x": ""}, check_fields=["key_x"])  # fmt: skip
    clock.set(hour(2))
    register(ledger, given)
    store(ledger, PIPELINE)
    operate(ledger, "waive", *EVERYTHING)
    operate(ledger, "reopen", *EVERYTHING)
    assert "cannot fill it" in verdict_of(ledger, hour(0))[1]
    cycle(ledger, given)
    assert events(ledger, hour(0)) == ["waived", "reopened"]


def test_a_record_that_was_waived_unbuilt_is_built_after_a_reopening(ledger, clock, config):
    given = config(PIPELINE, timezone="UTC", x_time_back="0s", fields={"path": "{{ window_start_time }}.csv"})  # fmt: skip
    clock.set(hour(2))
    register(ledger, given)
    store(ledger, PIPELINE)
    operate(ledger, "waive", *EVERYTHING)
    assert cycle(ledger, given).verdict == "NO_RECORDS"
    operate(ledger, "reopen", *EVERYTHING)
    assert len(cycle(ledger, given).to_build) == 1


# ---------------------------------------------------------------- expiring
def test_the_backoff_of_an_expired_claim_counts_from_now(ledger, clock, orders):
    now = clock.advance("7m")
    assert operate(ledger, "expire", *EVERYTHING) == 1
    found = record_of(ledger, hour(1))
    assert datetime.fromisoformat(found["retry_at"]) == now + timedelta(minutes=10)
    assert (found["attempt"], found["claim_token"], found["run_id"]) == (1, None, None)
    operate(ledger, "waive", hour(0), hour(1))
    clock.advance(timedelta(minutes=10) - MICROSECOND)
    assert pass_valid(ledger, orders).verdict == "BACKOFF"
    clock.advance("1us")
    assert pass_valid(ledger, orders).start == hour(1)


def test_without_attempts_left_an_expired_claim_is_failed(ledger, clock, orders):
    operate(ledger, "expire", *EVERYTHING)
    operate(ledger, "waive", hour(0), hour(1))
    clock.advance("10m")
    held = pass_valid(ledger, orders, "held")
    assert held.record["attempt"] == 2
    ((_, _, reason, *_),) = effects(ledger, "expire", hour(1), hour(2))
    assert reason == "its claim ends; becomes FAILED: no attempt is left"
    assert operate(ledger, "expire", *EVERYTHING) == 1
    found = record_of(ledger, hour(1))
    assert (found["status"], found["claim_token"], found["run_id"]) == (
        "FAILED",
        held.token,
        "held",
    )
    audit(ledger)


def test_a_run_that_was_taken_for_dead_hears_who_did_it_and_why(ledger, orders):
    token = one(ledger, "select claim_token from record_ledger.pipeline_records where status = 'IN_PROGRESS'")  # fmt: skip
    operate(ledger, "expire", *EVERYTHING, "its host is gone")
    for call in (*ENDINGS.values(), extend):
        with refused("RL004", "took it back: its host is gone"):
            call(ledger, token)


def test_a_lease_that_has_run_out_already_is_expired_from_now_on(ledger, clock, orders):
    now = clock.advance("45m")
    operate(ledger, "expire", *EVERYTHING)
    found = record_of(ledger, hour(1))
    assert datetime.fromisoformat(found["retry_at"]) == now + timedelta(minutes=10)
    assert found["last_detail"]["lease_expires_at"] == "2026-11-22T05:30:00+00:00"
