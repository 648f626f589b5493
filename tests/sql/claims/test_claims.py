"""Ending a claim: only with the current token, once, and safe to ask for again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.support import (
    ENDINGS,
    PIPELINE,
    audit,
    complete,
    end,
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
    snapshot,
    store,
    verdict_of,
    writes_nothing,
)

NOW = "2026-11-22T06:00:00+00:00"


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-22T00:00:00Z",
        lease="30m", retry_delay="10m",
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    clock.set(NOW)
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


def test_completing_keeps_the_claim_and_its_detail(ledger, clock, orders):
    answer = pass_valid(ledger, orders, "a")
    clock.advance("5m")
    complete(ledger, answer.token, detail={"rows": 12, "deep": [None]})
    found = record_of(ledger, answer.start)
    assert found["status"] == "COMPLETED"
    assert found["last_detail"] == {"rows": 12, "deep": [None]}
    assert (found["claim_token"], found["run_id"], found["attempt"]) == (answer.token, "a", 1)
    assert found["lease_expires_at"] is None
    ((detail, actor),) = rows(
        ledger,
        "select detail, actor = session_user from record_ledger.record_events where event = 'completed'",
    )
    assert (detail, actor) == ({"rows": 12, "deep": [None]}, True)
    audit(ledger)


def test_a_null_detail_or_error_is_an_empty_one(ledger, orders):
    answer = pass_valid(ledger, orders)
    ledger.execute("select record_ledger.complete_record(%s, %s, null)", [orders, answer.token])
    other = pass_valid(ledger, orders)
    fail(ledger, other.token, error=None)
    assert rows(
        ledger,
        "select detail from record_ledger.record_events where event <> 'passed' order by window_start_time",
    ) == [({},), ({"error": "", "retry": True},)]


def test_failing_brings_the_record_back_after_a_backoff_that_doubles(ledger, clock, given, orders):
    register(ledger, given | {"max_attempts": 20})
    delays = []
    for attempt in range(1, 12):
        answer = pass_valid(ledger, orders, "a")
        assert answer.record["attempt"] == attempt
        fail(ledger, answer.token, error=f"no {attempt}")
        verdict, reason, ready_at = verdict_of(ledger, answer.start)
        assert (verdict, f"no {attempt}" in reason) == ("BACKOFF", True)
        assert f"attempt {attempt} of 20" in reason
        delays.append(ready_at - clock.now().astimezone(ready_at.tzinfo))
    minutes = [delay / timedelta(minutes=1) for delay in delays]
    assert minutes == [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440, 1440]


def test_a_retry_delay_above_a_day_is_its_own_cap(ledger, clock, given, orders):
    register(ledger, given | {"max_attempts": 5, "retry_delay": "30h"})
    for _ in range(2):
        answer = pass_valid(ledger, orders, "a")
        fail(ledger, answer.token)
        ready_at = verdict_of(ledger, answer.start)[2]
        assert ready_at - clock.now().astimezone(ready_at.tzinfo) == timedelta(hours=30)


@pytest.mark.parametrize(("delay", "hours"), [("1us", 24), ("3h", 24), ("36500d", 876_000)])
def test_the_backoff_ends_after_any_number_of_attempts(ledger, clock, given, orders, delay, hours):
    register(ledger, given | {"max_attempts": 51, "retry_delay": delay})
    for _ in range(50):
        fail(ledger, pass_valid(ledger, orders, "a").token)
    ends = one(ledger, "select max(retry_at) from record_ledger.pipeline_records")
    assert ends - clock.now() == timedelta(hours=hours)


def test_backoff_ends_to_the_microsecond(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    fail(ledger, first.token)
    clock.advance("10m")
    clock.advance("-1us")
    assert verdict_of(ledger, first.start)[0] == "BACKOFF"
    assert pass_valid(ledger, orders).start != first.start
    clock.advance("1us")
    assert verdict_of(ledger, first.start)[0] == "READY"
    assert pass_valid(ledger, orders).start == first.start


def test_a_retry_delay_of_zero_means_no_backoff(ledger, given, orders):
    register(ledger, given | {"retry_delay": "0s"})
    first = pass_valid(ledger, orders)
    fail(ledger, first.token)
    assert verdict_of(ledger, first.start)[0] == "READY"
    assert pass_valid(ledger, orders).start == first.start


def test_the_last_attempt_fails_for_good(ledger, orders):
    for attempt in (1, 2, 3):
        answer = pass_valid(ledger, orders, "a")
        assert answer.record["attempt"] == attempt
        fail(ledger, answer.token, error="disk full")
    found = record_of(ledger, answer.start)
    assert (found["status"], found["attempt"], found["retry_at"]) == ("FAILED", 3, None)
    verdict, reason, ready_at = verdict_of(ledger, answer.start)
    assert (verdict, ready_at) == ("FAILED", None)
    assert "disk full" in reason and "attempt 3 of 3" in reason
    audit(ledger)


def test_failing_without_retry_fails_for_good_immediately(ledger, orders):
    answer = pass_valid(ledger, orders, "a")
    fail(ledger, answer.token, retry=False)
    assert record_of(ledger, answer.start)["status"] == "FAILED"
    with refused("RL005", "retry"):
        fail(ledger, pass_valid(ledger, orders).token, retry=None)


def test_a_released_attempt_is_not_counted(ledger, orders):
    for _ in range(5):
        answer = pass_valid(ledger, orders, "a")
        assert answer.record["attempt"] == 1
        release(ledger, answer.token)
    assert verdict_of(ledger, answer.start)[0] == "READY"
    assert record_of(ledger, answer.start)["attempt"] == 0
    audit(ledger)


@pytest.mark.parametrize("how", ENDINGS)
def test_repeating_the_call_that_ended_a_claim_changes_nothing(ledger, clock, orders, how):
    answer = pass_valid(ledger, orders, "a")
    end(ledger, how, answer.token)
    before = snapshot(ledger)
    end(ledger, how, answer.token)
    clock.advance("3h")
    end(ledger, how, answer.token)
    assert snapshot(ledger) == before
    # Also when another run has the record by now.
    if how != "complete":
        other = pass_valid(ledger, orders, "b")
        assert other.start == answer.start
        before = snapshot(ledger)
        end(ledger, how, answer.token)
        assert snapshot(ledger) == before
    audit(ledger)


@pytest.mark.parametrize("how", ENDINGS)
def test_ending_a_claim_differently_is_refused(ledger, orders, how):
    answer = pass_valid(ledger, orders, "a")
    end(ledger, how, answer.token)
    before = snapshot(ledger)
    for other in (call for name, call in ENDINGS.items() if name != how):
        with refused("RL004", "claim lost"):
            other(ledger, answer.token)
    with refused("RL004", "claim lost"):
        extend(ledger, answer.token)
    assert snapshot(ledger) == before


@pytest.mark.parametrize("call", [*ENDINGS.values(), extend], ids=[*ENDINGS, "extend"])
def test_a_stale_or_invented_token_changes_nothing(ledger, clock, orders, call):
    stale = pass_valid(ledger, orders, "a")
    current = pass_valid(ledger, orders, "a")
    other = pass_valid(ledger, orders, "b")
    before = snapshot(ledger)
    for token in (stale.token, current.token + 1000, 0, -1, 2**63 - 1):
        with refused("RL004", f"claim lost.*{token}") as caught:
            call(ledger, token)
        assert orders in caught.value.diag.message_primary
    with refused("RL005", "claim_token"):
        call(ledger, None)
    with refused("RL002", "unknown"):
        call(ledger, other.token, pipeline_id="unknown")
    with refused("RL005", "pipeline_id"):
        call(ledger, other.token, pipeline_id=None)
    assert snapshot(ledger) == before


@pytest.mark.parametrize("call", [*ENDINGS.values(), extend], ids=[*ENDINGS, "extend"])
def test_until_a_pass_has_collected_it_an_expired_claim_still_works(ledger, clock, orders, call):
    answer = pass_valid(ledger, orders, "a")
    clock.advance("5h")
    assert verdict_of(ledger, answer.start)[0] == "LEASE_EXPIRED"
    call(ledger, answer.token)
    if call is extend:
        assert verdict_of(ledger, answer.start)[0] == "LEASED"
    assert "lease_expired" not in events(ledger, answer.start)
    audit(ledger)


def test_extending_counts_from_now_and_leaves_no_event(ledger, clock, given, orders):
    answer = pass_valid(ledger, orders, "a")
    clock.advance("20m")
    assert extend(ledger, answer.token).isoformat() == "2026-11-22T06:50:00+00:00"
    register(ledger, given | {"lease": "2h"})
    assert extend(ledger, answer.token).isoformat() == "2026-11-22T08:20:00+00:00"
    assert events(ledger, answer.start) == ["passed"]
    clock.set("2026-11-22T08:19:59.999999Z")
    assert verdict_of(ledger, answer.start)[0] == "LEASED"
    clock.advance("1us")
    assert verdict_of(ledger, answer.start)[0] == "LEASE_EXPIRED"


def test_a_shorter_lease_may_end_earlier_than_before(ledger, clock, given, orders):
    answer = pass_valid(ledger, orders, "a")
    register(ledger, given | {"lease": "1m"})
    assert extend(ledger, answer.token).isoformat() == "2026-11-22T06:01:00+00:00"


def test_a_lease_that_was_shortened_is_seen_to_end_with_any_settings_of_its_session(
    ledger, clock, given, orders
):
    answer = pass_valid(ledger, orders, "a")
    register(ledger, given | {"lease": "1m"})
    # Said by a reopening to its own trigger.
    ledger.execute("set record_ledger.voids_marks = 'on'")
    extend(ledger, answer.token)
    clock.advance("15m")
    assert pass_valid(ledger, orders, "b").start == answer.start


# ---------------------------------------------------------------- expired leases
def test_an_expired_lease_is_collected_by_the_next_pass(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    clock.advance("29m")
    clock.advance("59.999999s")
    assert pass_valid(ledger, orders, "b").start != first.start
    assert verdict_of(ledger, first.start)[0] == "LEASED"
    clock.advance("1us")
    pass_valid(ledger, orders, "c")
    assert events(ledger, first.start) == ["passed", "lease_expired"]
    found = record_of(ledger, first.start)
    assert (found["status"], found["attempt"], found["claim_token"]) == ("PENDING", 1, None)
    # The backoff counts from the expiry, not from the pass that noticed it.
    assert verdict_of(ledger, first.start)[2].isoformat() == "2026-11-22T06:40:00+00:00"
    audit(ledger)


def test_backoff_after_an_expiry_may_be_over_when_it_is_collected(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    clock.advance("39m59.999999s")
    ready = "select window_start_time from record_ledger.oldest_valid_record"
    assert one(ledger, ready) == first.start + timedelta(hours=1)
    clock.advance("1us")
    assert one(ledger, ready) == first.start
    answer = pass_valid(ledger, orders, "b")
    assert (answer.start, answer.record["attempt"]) == (first.start, 2)
    audit(ledger)


def test_the_last_attempt_that_expires_fails_for_good(ledger, clock, given, orders):
    register(ledger, given | {"max_attempts": 1})
    first = pass_valid(ledger, orders, "a")
    clock.advance("30m")
    verdict, _, ready_at = verdict_of(ledger, first.start)
    assert (verdict, ready_at) == ("LEASE_EXPIRED", None)
    assert pass_valid(ledger, orders, "b").start == first.start + timedelta(hours=1)
    assert record_of(ledger, first.start)["status"] == "FAILED"
    with refused("RL004", "lease expired"):
        complete(ledger, first.token)
    audit(ledger)


def test_a_pass_that_only_collects_answers_with_the_state_after_it(ledger, clock, given, orders):
    register(ledger, given | {"max_active_records": 1})
    first = pass_valid(ledger, orders, "a")
    for hour in range(1, 6):
        # All later records are done: nothing but the expired claim is left.
        ledger.execute(
            "update record_ledger.record set status = 'WAIVED', last_event = 'waived' where window_start_time = %s",
            [first.start + timedelta(hours=hour)],
        )
    clock.advance("30m")
    answer = pass_valid(ledger, orders, "b")
    assert (answer.exit_dag, answer.verdict) == (True, "BACKOFF")
    assert (answer.verdict, answer.reason) == verdict_of(ledger, first.start)[:2]
    writes_nothing(ledger, "select record_ledger.pass_valid_record(%s, 'b')", [orders])
