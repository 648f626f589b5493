"""Verdicts: one per open record, the first that holds; an exit carries that of the record that decides."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import (
    PIPELINE,
    complete,
    cycle,
    entry,
    fail,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    store,
    verdict_of,
    writes_nothing,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
PRECEDENCE = [
    "FAILED", "LEASE_EXPIRED", "LEASED", "PAUSED", "INCOMPLETE", "UNSTABLE", "BACKOFF", "BLOCKED", "AT_CAPACITY",
    "READY",
]  # fmt: skip
PAUSE = (
    "update record_ledger.pipeline set paused_at = %s, paused_by = 'ops', pause_reason = 'audit'"
)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", lease="30m", retry_delay="10m",
        start_at="2026-11-22T00:00:00Z", fields={"key_x": "x"},
    )  # fmt: skip


@pytest.fixture
def scene(ledger, clock, given):
    """Six stable records, the first two passed: the second of them is looked at."""
    clock.set("2026-11-22T06:00:00Z")
    register(ledger, given)
    store(ledger, PIPELINE)
    return [pass_valid(ledger, PIPELINE, name) for name in ("a", "b")]


# What makes a verdict hold for the second record; each can be combined with every other of its status.
def paused(ledger, clock, config):
    ledger.execute(PAUSE, [clock.now()])


def incomplete(ledger, clock, config):
    config["default_record"]["key_y"] = ""
    config["check_fields"] = ["key_y"]


def unstable(ledger, clock, config):
    config["x_time_back"] = "5h"


def blocked(ledger, clock, config):
    config["depends_on_past"] = True


def at_capacity(ledger, clock, config):
    config["max_active_records"] = 1


OF_PENDING = {
    "PAUSED": paused,
    "INCOMPLETE": incomplete,
    "UNSTABLE": unstable,
    "BACKOFF": None,
    "BLOCKED": blocked,
    "AT_CAPACITY": at_capacity,
}


def pairs():
    for n, first in enumerate(PRECEDENCE):
        for second in PRECEDENCE[n + 1 :]:
            if first in OF_PENDING and second in OF_PENDING:
                yield first, second


@pytest.mark.parametrize(("wins", "loses"), list(pairs()))
def test_of_two_verdicts_on_a_pending_record_the_first_holds(
    ledger, clock, given, scene, wins, loses
):
    record = scene[1]
    fail(ledger, record.token)
    if "BACKOFF" not in (wins, loses):
        clock.advance("10m")
    for verdict in (wins, loses):
        if OF_PENDING[verdict] is not None:
            OF_PENDING[verdict](ledger, clock, given)
    register(ledger, given)
    assert verdict_of(ledger, record.start)[0] == wins


@pytest.mark.parametrize("status", ["FAILED", "LEASE_EXPIRED", "LEASED"])
def test_a_record_that_is_not_pending_has_the_verdict_of_its_claim(
    ledger, clock, given, scene, status
):
    record = scene[1]
    if status == "FAILED":
        fail(ledger, record.token, retry=False)
    elif status == "LEASE_EXPIRED":
        clock.advance("30m")
    for change in filter(None, OF_PENDING.values()):
        change(ledger, clock, given)
    register(ledger, given)
    assert verdict_of(ledger, record.start)[0] == status


@pytest.mark.parametrize("verdict", OF_PENDING)
def test_an_exit_says_what_record_verdicts_says_of_the_oldest_pending_record(
    ledger, clock, given, scene, verdict
):
    _, record = scene
    fail(ledger, record.token)
    if verdict != "BACKOFF":
        clock.advance("10m")
        OF_PENDING[verdict](ledger, clock, given)
    else:
        _finish_all_but(ledger, record.start)
    register(ledger, given)
    store(ledger, PIPELINE)
    answer = pass_valid(ledger, PIPELINE, "c")
    assert (answer.exit_dag, answer.record, answer.verdict) == (True, None, verdict)
    assert (answer.verdict, answer.reason) == verdict_of(ledger, record.start)[:2]
    (progress,) = rows(
        ledger, "select verdict, reason, ready_at from record_ledger.pipeline_progress"
    )
    assert progress == verdict_of(ledger, record.start)
    writes_nothing(ledger, "select record_ledger.pass_valid_record(%s, 'c')", [PIPELINE])
    writes_nothing(
        ledger, "select record_ledger.store_new_and_pass_valid_record(%s, 'c')", [Jsonb(given)]
    )


def _finish_all_but(ledger, start):
    while (answer := pass_valid(ledger, PIPELINE)).record is not None:
        assert answer.start != start
        complete(ledger, answer.token)


def test_without_a_pending_record_the_oldest_in_progress_speaks_then_the_oldest_failed(
    ledger, clock, given, scene
):
    first, second = scene
    fail(ledger, first.token, retry=False)
    third = pass_valid(ledger, PIPELINE, "c")
    fail(ledger, third.token, retry=False)
    _finish_all_but(ledger, None)
    answer = pass_valid(ledger, PIPELINE, "d")
    assert answer.verdict == "LEASED"
    assert (answer.verdict, answer.reason) == verdict_of(ledger, second.start)[:2]
    complete(ledger, second.token)
    answer = pass_valid(ledger, PIPELINE, "d")
    assert answer.verdict == "FAILED"
    assert (answer.verdict, answer.reason) == verdict_of(ledger, first.start)[:2]


def test_without_an_open_record_the_answer_is_no_records_and_says_when_the_next_is_due(
    ledger, clock, given, scene
):
    for answer in scene:
        complete(ledger, answer.token)
    _finish_all_but(ledger, None)
    answer = pass_valid(ledger, PIPELINE, "d")
    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "NO_RECORDS", None)
    assert "2026-11-22T06:00:00+00:00" in answer.reason
    writes_nothing(
        ledger, "select record_ledger.store_new_and_pass_valid_record(%s, 'd')", [Jsonb(given)]
    )
    assert rows(ledger, "select * from record_ledger.record_verdicts") == []
    assert cycle(ledger, given, "d").reason == answer.reason


def test_an_exit_is_answered_in_a_read_only_transaction(ledger, connect, clock, given, scene):
    _finish_all_but(ledger, None)
    reader = connect(autocommit=False)
    reader.read_only = True
    assert pass_valid(reader, PIPELINE, "x").verdict == "LEASED"
    assert cycle(reader, given, "x").verdict == "LEASED"
    reader.rollback()


def test_ready_at_says_when_the_record_can_be_passed_as_things_stand(ledger, clock, given, scene):
    first, second = scene
    fail(ledger, second.token)
    assert verdict_of(ledger, second.start)[2] == clock.now() + timedelta(minutes=10)
    clock.set(verdict_of(ledger, second.start)[2])
    assert verdict_of(ledger, second.start)[0] == "READY"
    assert verdict_of(ledger, second.start)[2] == clock.now()
    # Stable only later than the backoff ends.
    register(ledger, given | {"x_time_back": "6h"})
    assert verdict_of(ledger, second.start)[::2] == ("UNSTABLE", START + timedelta(hours=8))
    register(ledger, given)
    clock.set("2026-11-22T06:30:00Z")
    expired = verdict_of(ledger, first.start)
    assert expired[::2] == ("LEASE_EXPIRED", START + timedelta(hours=6, minutes=40))
    # A record that waits for a run or an operator has no time, and the sentence promises no pass.
    for change, says in ((incomplete, "it is incomplete"), (paused, "the pipeline is paused")):
        change(ledger, clock, given)
        register(ledger, given)
        clock.set("2026-11-22T07:00:00Z")
        verdict, reason, ready_at = verdict_of(ledger, first.start)
        assert (verdict, ready_at) == ("LEASE_EXPIRED", None)
        assert reason.endswith(f"; the next pass makes it pending, and {says}")


@pytest.mark.parametrize(
    "pause", [("now()", "null", "null"), ("null", "'me'", "'why'"), ("now()", "'me'", "null")]
)
def test_a_pause_says_who_and_why(ledger, scene, pause):
    with refused("23514"):
        ledger.execute(
            "update record_ledger.pipeline set paused_at = {}, paused_by = {}, pause_reason = {}".format(
                *pause
            )
        )


def test_a_paused_pipeline_stores_but_passes_nothing_and_its_claims_go_on(
    ledger, clock, given, scene
):
    ledger.execute(PAUSE, [clock.now()])
    clock.advance("1h")
    answer = cycle(ledger, given, "c")
    assert (answer.verdict, answer.record) == ("PAUSED", None)
    assert "ops" in answer.reason and "audit" in answer.reason
    assert rows(ledger, "select count(*) from record_ledger.pipeline_records") == [(7,)]
    assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []


def test_progress_says_what_a_new_run_would_be_answered_also_with_expired_leases(
    ledger, clock, given, scene
):
    register(ledger, given | {"max_active_records": 2, "retry_delay": "1h"})
    clock.advance("30m")
    (progress,) = rows(
        ledger, "select verdict, oldest_valid_window from record_ledger.pipeline_progress"
    )
    assert progress == ("READY", START + timedelta(hours=2))
    register(ledger, given | {"x_time_back": "4h", "retry_delay": "1h"})
    (progress,) = rows(ledger, "select verdict, reason from record_ledger.pipeline_progress")
    answer = pass_valid(ledger, PIPELINE, "c")
    assert progress == (answer.verdict, answer.reason)


def test_a_backoff_says_what_ended_the_attempt(ledger, clock, given, scene):
    first, second = scene

    def cause(record):
        verdict, reason, _ = verdict_of(ledger, record.start)
        assert verdict == "BACKOFF"
        return reason.split(", after attempt 1 of 3: ")[1]

    fail(ledger, first.token, "the shop is closed")
    fail(ledger, second.token, "")
    third, fourth = (pass_valid(ledger, PIPELINE) for _ in range(2))
    operate(ledger, "expire", third.start, fourth.start, "its host is gone")
    assert cause(first) == "the shop is closed"
    assert cause(second) == "no error was reported"
    assert cause(third) == "it was taken back: its host is gone"
    clock.advance("31m")
    pass_valid(ledger, PIPELINE)
    assert cause(fourth) == "its lease expired"
    given["default_record"]["key_y"] = "y"
    register(ledger, given)
    assert cause(fourth) == "its lease expired"
    window = {**fourth.record, "config_version": 2}
    fields = {k: v for k, v in given["default_record"].items() if k != "pipeline_id"}
    store(ledger, PIPELINE, [entry(window, fields)])
    assert cause(fourth) == "its record has been built again since"


def test_with_a_share_every_open_record_has_one_verdict_and_a_sentence_that_holds(
    ledger, clock, given, scene
):
    for answer in scene:
        complete(ledger, answer.token)
    register(ledger, given | {"backfill_share": 0.25})
    operate(ledger, "reopen", START, START + timedelta(hours=2))
    found = rows(
        ledger, "select window_start_time, verdict, reason from record_ledger.record_verdicts"
    )
    assert sorted(row[0] for row in found) == [START + timedelta(hours=n) for n in range(6)]
    for start, verdict, reason in found:
        at, stable_at = (
            (start + timedelta(hours=n)).isoformat(timespec="seconds") for n in range(2)
        )
        assert (verdict, reason) == (
            "READY",
            f"window {at} is stable since {stable_at} and complete",
        )
    # READY says that a pass may take it, not that it comes next: three of four passes take a live one.
    answers = [pass_valid(ledger, PIPELINE).start for _ in range(4)]
    assert answers == [START + timedelta(hours=n) for n in (2, 3, 4, 0)]
