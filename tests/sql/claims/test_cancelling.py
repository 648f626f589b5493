"""Cancelling: runs are asked to stop, keep their claims until they have, and are passed the record no more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.counts.counting import observe, waive_counts
from tests.sql.statuses import EVERYTHING, STATUSES, hour, one_of_each, statuses
from tests.sql.support import (
    MICROSECOND,
    PIPELINE,
    audit,
    claim_state,
    complete,
    events,
    extend,
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
    writes_nothing,
)

START = hour(0)
WHY = "wrong input"


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), lease="30m",
        retry_delay="10m", max_attempts=3,
    )  # fmt: skip


@pytest.fixture
def held(ledger, clock, given):
    """A record that run a holds and an operator has cancelled."""
    clock.set(hour(6))
    register(ledger, given)
    store(ledger, PIPELINE)
    found = pass_valid(ledger, PIPELINE, "a")
    clock.advance("5m")
    assert operate(ledger, "cancel", hour(0), hour(1), WHY) == 1
    return found


def who(ledger):
    return one(ledger, "select session_user::text")


def said(ledger):
    return f"it was cancelled by {who(ledger)}: {WHY}"


def test_only_what_a_run_holds_is_cancelled(ledger, clock, config):
    one_of_each(ledger, clock, config)
    before = {start: record_of(ledger, start) for start in map(hour, range(5))}
    assert operate(ledger, "cancel", *EVERYTHING) == 1
    assert statuses(ledger) == STATUSES
    changed = record_of(ledger, hour(1))
    assert changed.pop("last_detail") == {"reason": "why"}
    assert (changed.pop("last_event"), changed.pop("updated_at")) == (
        "cancelled",
        before[hour(1)]["updated_at"],
    )
    assert changed == {key: before[hour(1)][key] for key in changed}
    for n in (0, 2, 3, 4):
        assert record_of(ledger, hour(n)) == before[hour(n)]
    # Twice changes nothing.
    unchanged = snapshot(ledger)
    assert operate(ledger, "cancel", *EVERYTHING) == 0
    assert snapshot(ledger) == unchanged
    audit(ledger)


def test_a_cancellation_says_who_when_and_why(ledger, clock, held):
    assert events(ledger, held.start) == ["passed", "cancelled"]
    assert rows(
        ledger,
        "select actor, event_time, detail, from_status, to_status, claim_token, run_id "
        "from record_ledger.record_events where event = 'cancelled'",
    ) == [
        (
            who(ledger),
            hour(6) + timedelta(minutes=5),
            {"reason": WHY},
            *["IN_PROGRESS"] * 2,
            held.token,
            "a",
        )
    ]
    assert claim_state(ledger, held.token) == ("cancelled", WHY, who(ledger))
    verdict, reason, ready_at = verdict_of(ledger, held.start)
    assert (verdict, ready_at) == ("LEASED", None)
    assert said(ledger) in reason and "so its run is to stop" in reason
    with refused("RL005", "reason"):
        operate(ledger, "cancel", *EVERYTHING, " ")
    with refused("RL005", "the range is empty"):
        operate(ledger, "cancel", hour(1), hour(1))
    with refused("RL002"):
        operate(ledger, "cancel", *EVERYTHING, pipeline_id="unknown")


def test_only_whole_windows_of_the_range_are_cancelled(ledger, held):
    other = pass_valid(ledger, PIPELINE, "b")
    assert operate(ledger, "cancel", hour(1) + MICROSECOND, hour(9)) == 0
    assert operate(ledger, "cancel", hour(1), hour(2) - MICROSECOND) == 0
    assert claim_state(ledger, other.token) == ("current", None, None)
    assert operate(ledger, "cancel", hour(1), hour(2)) == 1


def test_the_claim_is_extended_and_holds_up_others_as_before(ledger, clock, given, held):
    for _ in range(5):
        clock.advance("29m")
        assert extend(ledger, held.token) == clock.now() + timedelta(minutes=30)
    assert claim_state(ledger, held.token)[0] == "cancelled"
    observe(ledger, held.start, "source", 7, held.token)
    register(ledger, {**given, "max_active_records": 1})
    assert pass_valid(ledger, PIPELINE, "b").verdict == "AT_CAPACITY"
    audit(ledger)


def test_its_run_is_not_passed_it_again(ledger, held):
    before = snapshot(ledger)
    answer = pass_valid(ledger, PIPELINE, "a")
    assert (answer.exit_dag, answer.verdict) == (True, "LEASED")
    assert said(ledger) in answer.reason
    assert snapshot(ledger) == before


def test_what_the_run_completes_is_completed(ledger, clock, held):
    complete(ledger, held.token, detail={"rows": 7})
    found = record_of(ledger, held.start)
    assert (found["status"], found["last_detail"]) == ("COMPLETED", {"rows": 7})
    assert claim_state(ledger, held.token)[0] == "lost"
    # Reopened it is passed as ever.
    operate(ledger, "reopen", hour(0), hour(1))
    again = pass_valid(ledger, PIPELINE)
    assert again.start == held.start
    assert claim_state(ledger, again.token)[0] == "current"
    audit(ledger)


ENDS = {
    "a failure with attempts left": lambda ledger, clock, token: fail(ledger, token, "boom"),
    "a failure for good": lambda ledger, clock, token: fail(ledger, token, "as asked", retry=False),
    "a release": lambda ledger, clock, token: release(ledger, token),
    "a release until": lambda ledger, clock, token: release(ledger, token, not_before=hour(9)),
    "its lease": lambda ledger, clock, token: (
        clock.advance("30m"),
        pass_valid(ledger, PIPELINE, "b"),
    ),
    "an operator": lambda ledger, clock, token: operate(ledger, "expire", hour(0), hour(1), "dead"),
}


@pytest.mark.parametrize("how", ENDS)
def test_however_its_claim_ends_else_the_record_fails_for_good(ledger, clock, held, how):
    ENDS[how](ledger, clock, held.token)
    found = record_of(ledger, held.start)
    assert (found["status"], found["claim_token"], found["run_id"]) == ("FAILED", held.token, "a")
    assert found["retry_at"] is None and found["lease_expires_at"] is None
    assert found["last_detail"]["cancelled_by"] == who(ledger)
    assert found["last_detail"]["cancel_reason"] == WHY
    verdict, reason, ready_at = verdict_of(ledger, held.start)
    assert (verdict, ready_at) == ("FAILED", None)
    assert reason.endswith(f": {said(ledger)}") and "attempt" not in reason
    state, why, _ = claim_state(ledger, held.token)
    assert (state, "ended at" in why) == ("lost", True)
    # No run is passed it at any time, not even its own.
    clock.advance("5d")
    assert pass_valid(ledger, PIPELINE, "a").verdict == "FAILED"
    store(ledger, PIPELINE)
    seen = {pass_valid(ledger, PIPELINE).start for _ in range(3)}
    assert held.start not in seen
    audit(ledger)
    if how == "a release":
        release(ledger, held.token)
    if how.startswith("a failure"):
        fail(ledger, held.token)
    # Reopened, its attempts start anew; waived, it is done.
    operate(ledger, "reopen", hour(0), hour(1))
    again = pass_valid(ledger, PIPELINE, "a")
    assert (again.start, again.record["attempt"]) == (held.start, 1)
    audit(ledger)


@pytest.mark.parametrize("how", ENDS)
def test_a_record_that_was_cancelled_can_be_waived(ledger, clock, held, how):
    assert operate(ledger, "waive", hour(0), hour(1)) == 0
    ENDS[how](ledger, clock, held.token)
    assert operate(ledger, "waive", hour(0), hour(1)) == 1
    assert record_of(ledger, held.start)["status"] == "WAIVED"
    audit(ledger)


def test_what_is_said_of_an_expired_lease_is_what_the_next_pass_makes_of_it(
    ledger, clock, given, held
):
    register(ledger, {**given, "depends_on_past": True})
    clock.advance("30m")
    verdict, reason, ready_at = verdict_of(ledger, held.start)
    assert (verdict, ready_at) == ("LEASE_EXPIRED", None)
    assert "the next pass marks it failed, as " + said(ledger) in reason
    # It is not valid any more, with any attempts and backoff.
    clock.advance("2h")
    assert one(ledger, "select count(*) from record_ledger.oldest_valid_record") == 0
    foreseen = rows(ledger, "select verdict, reason from record_ledger.pipeline_progress")
    plan = rows(ledger, "select run_no, reason from record_ledger.plan_runs(%s, 3)", [PIPELINE])
    assert [run_no for run_no, _ in plan] == [None] and "no run will finish" in plan[0][1]
    answer = pass_valid(ledger, PIPELINE, "b")
    assert (answer.verdict, answer.reason) == foreseen[0]
    assert record_of(ledger, held.start)["status"] == "FAILED"
    audit(ledger)


def test_the_last_open_record_is_foretold_as_failed(ledger, clock, held):
    operate(ledger, "waive", hour(1), hour(6))
    clock.advance("30m")
    foreseen = rows(ledger, "select verdict, reason from record_ledger.pipeline_progress")
    assert foreseen[0][0] == "FAILED" and said(ledger) in foreseen[0][1]
    answer = pass_valid(ledger, PIPELINE, "b")
    assert (answer.verdict, answer.reason) == foreseen[0]


def test_a_plan_does_not_count_on_a_cancelled_record(ledger, clock, given, held):
    register(ledger, {**given, "depends_on_past": True})
    plan = rows(
        ledger,
        "select run_no, reason from record_ledger.plan_runs(%s, 3, run_duration => '10m')",
        [PIPELINE],
    )
    assert [run_no for run_no, _ in plan] == [None] and "no run will finish" in plan[0][1]


def test_counts_may_be_waived_meanwhile_and_the_cancellation_stays(ledger, given, held):
    register(ledger, {**given, "required_counts": ["source", "target"]})
    assert waive_counts(ledger, held.start)
    assert claim_state(ledger, held.token) == ("cancelled", WHY, who(ledger))
    release(ledger, held.token)
    assert record_of(ledger, held.start)["status"] == "FAILED"
    audit(ledger)


def test_a_lost_record_that_was_cancelled_is_waived_when_its_claim_is_over(
    ledger, clock, given, held
):
    register(ledger, {**given, "source_retention": "6h"})
    clock.set(hour(20))
    assert "waives it as lost" in verdict_of(ledger, held.start)[1]
    pass_valid(ledger, PIPELINE, "b")
    assert record_of(ledger, held.start)["status"] == "WAIVED"
    assert events(ledger, held.start) == ["passed", "cancelled", "lease_expired", "waived"]
    audit(ledger)


def test_an_expired_claim_is_cancelled_as_well(ledger, clock, held):
    other = pass_valid(ledger, PIPELINE, "b")
    clock.advance("2h")
    assert operate(ledger, "cancel", hour(1), hour(2)) == 1
    assert claim_state(ledger, other.token)[0] == "cancelled"
    # Its run is alive after all, and heartbeats.
    extend(ledger, other.token)
    pass_valid(ledger, PIPELINE, "c")
    fail(ledger, other.token, "stopped", retry=False)
    assert statuses(ledger)[:2] == ["FAILED", "FAILED"]
    audit(ledger)


def test_the_past_is_shown_as_it_was(ledger, clock, held):
    clock.advance("1m")
    release(ledger, held.token)
    then = "select status, attempt, claim_token, last_event from record_ledger.records_as_of(%s) where window_start_time = %s"
    asked = [hour(6), hour(6) + timedelta(minutes=5), hour(6) + timedelta(minutes=6)]
    assert [rows(ledger, then, [at, held.start])[0] for at in asked] == [
        ("IN_PROGRESS", 1, held.token, "passed"),
        ("IN_PROGRESS", 1, held.token, "cancelled"),
        ("FAILED", 0, held.token, "released"),
    ]


def test_claim_state_reads_only_and_says_what_became_of_a_claim(ledger, clock, held):
    query = "select * from record_ledger.claim_state(%s, %s)"
    writes_nothing(ledger, query, [PIPELINE, held.token])
    with ledger.transaction():
        ledger.execute("set transaction isolation level serializable read only")
        assert claim_state(ledger, held.token)[0] == "cancelled"
    state, reason, by = claim_state(ledger, 17)
    assert (state, by) == ("lost", None)
    assert reason == "pipeline orders never passed a record with claim token 17"
    other = pass_valid(ledger, PIPELINE, "b")
    newer = pass_valid(ledger, PIPELINE, "b")
    assert "passed the record again" in claim_state(ledger, other.token)[1]
    assert claim_state(ledger, newer.token) == ("current", None, None)
    clock.advance("1d")
    # Until a pass has taken it back, the claim may still be ended.
    assert claim_state(ledger, newer.token) == ("current", None, None)
    with refused("RL002"):
        claim_state(ledger, 17, "unknown")
    with refused("RL005", "claim_token"):
        claim_state(ledger, None)


def test_the_second_session_sees_what_the_first_left(ledger, connect, in_background, clock, held):
    """A run completes while an operator cancels: the completion is waited for, and stays."""
    other = pass_valid(ledger, PIPELINE, "b")
    run = connect(autocommit=False)
    complete(run, other.token)
    cancelling = in_background(
        connect(),
        "select record_ledger.cancel_records(%s, %s, %s, 'why')",
        [PIPELINE, hour(1), hour(2)],
    )
    cancelling.wait_until_blocked()
    run.commit()
    assert cancelling.rows() == [(0,)]
    assert record_of(ledger, other.start)["status"] == "COMPLETED"
    # And the other way round.
    third = pass_valid(ledger, PIPELINE, "c")
    operator = connect(autocommit=False)
    operate(operator, "cancel", hour(2), hour(3))
    ending = in_background(
        connect(), "select record_ledger.fail_record(%s, %s, 'boom')", [PIPELINE, third.token]
    )
    ending.wait_until_blocked()
    operator.commit()
    ending.result()
    assert record_of(ledger, third.start)["status"] == "FAILED"
    audit(ledger)


def test_a_pass_waits_for_a_cancellation_and_does_not_hand_the_record_out(
    ledger, connect, in_background, clock, given
):
    """A run asks again while its claim is cancelled; its own pass would give it a newer one."""
    clock.set(hour(6))
    register(ledger, given)
    store(ledger, PIPELINE)
    held = pass_valid(ledger, PIPELINE, "a")
    operator = connect(autocommit=False)
    assert operate(operator, "cancel", hour(0), hour(1), WHY) == 1
    asking = in_background(
        connect(), "select (record_ledger.pass_valid_record(%s, 'a')).verdict", [PIPELINE]
    )
    asking.wait_until_blocked()
    operator.commit()
    assert asking.rows() == [("LEASED",)]
    assert claim_state(ledger, held.token) == ("cancelled", WHY, who(ledger))
    # And the other way round: what the pass gave it is what is cancelled.
    clock.advance("1h")
    run = connect(autocommit=False)
    other = pass_valid(run, PIPELINE, "b")
    cancelling = in_background(
        connect(),
        "select record_ledger.cancel_records(%s, %s, %s, 'why')",
        [PIPELINE, hour(1), hour(2)],
    )
    cancelling.wait_until_blocked()
    run.commit()
    assert cancelling.rows() == [(1,)]
    assert other.start == hour(1)
    assert claim_state(ledger, other.token)[0] == "cancelled"
    audit(ledger)


def test_a_cancellation_and_the_end_of_the_lease_leave_the_record_failed(
    ledger, connect, in_background, clock, given
):
    clock.set(hour(6))
    register(ledger, given)
    store(ledger, PIPELINE)
    pass_valid(ledger, PIPELINE, "a")
    clock.advance("31m")
    operator = connect(autocommit=False)
    assert operate(operator, "cancel", hour(0), hour(1), WHY) == 1
    collecting = in_background(
        connect(), "select (record_ledger.pass_valid_record(%s, 'b')).verdict", [PIPELINE]
    )
    collecting.wait_until_blocked()
    operator.commit()
    assert collecting.rows() == [("READY",)]
    found = record_of(ledger, hour(0))
    assert (found["status"], found["last_event"]) == ("FAILED", "lease_expired")
    # The other way round the pass has taken it back, and there is nothing to cancel.
    clock.advance("31m")
    run = connect(autocommit=False)
    pass_valid(run, PIPELINE, "c")
    cancelling = in_background(
        connect(),
        "select record_ledger.cancel_records(%s, %s, %s, 'why')",
        [PIPELINE, hour(1), hour(2)],
    )
    cancelling.wait_until_blocked()
    run.commit()
    assert cancelling.rows() == [(0,)]
    assert record_of(ledger, hour(1))["status"] == "PENDING"
    audit(ledger)
