"""Passing: the oldest valid record, once, at the very instant it becomes valid."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.sql.support import (
    NOW,
    PIPELINE,
    audit,
    complete,
    cycle,
    events,
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
)

UTC = timezone.utc
DAY = datetime(2026, 11, 22, tzinfo=UTC)


def hour(n):
    return DAY + timedelta(hours=n)


@pytest.fixture
def hourly(config):
    """Makes configs of hourly windows in UTC that are stable immediately."""

    def make(pipeline_id=PIPELINE, **changes):
        return config(
            pipeline_id,
            **{"timezone": "UTC", "x_time_back": "0s", "granularity": "1h", "lease": "1h"}
            | changes,
        )

    return make


@pytest.fixture
def six(ledger, clock, hourly):
    """A pipeline with six stored windows, all of them stable."""
    clock.set(hour(6))
    register(ledger, hourly(start_at=DAY.isoformat()))
    assert store(ledger, PIPELINE) == 6
    return PIPELINE


def test_records_are_passed_oldest_first_and_each_once(ledger, six):
    passed = [pass_valid(ledger, six, f"run {n}") for n in range(6)]
    assert [answer.start for answer in passed] == [hour(n) for n in range(6)]
    assert len({answer.token for answer in passed}) == 6
    assert pass_valid(ledger, six, "run 6").verdict == "LEASED"
    audit(ledger)


def test_a_record_that_came_back_is_passed_before_later_ones(ledger, clock, six):
    passed = [pass_valid(ledger, six) for _ in range(4)]
    release(ledger, passed[2].token)
    release(ledger, passed[1].token)
    assert [pass_valid(ledger, six).start for _ in range(3)] == [hour(1), hour(2), hour(4)]
    audit(ledger)


@pytest.mark.parametrize("x_time_back", ["0s", "1us", "26h", "1d2h30m20s"])
def test_a_record_is_stable_from_the_very_microsecond_on(ledger, clock, hourly, x_time_back):
    given = hourly(x_time_back=x_time_back, start_at=DAY.isoformat())
    register(ledger, given)
    x_time_back = one(ledger, "select x_time_back from record_ledger.pipelines")
    stable = hour(1) + x_time_back
    clock.set(stable - timedelta(microseconds=1))
    early = cycle(ledger, given)
    assert (early.verdict, early.record) == ("UNSTABLE", None)
    assert verdict_of(ledger, DAY)[2] == stable
    assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []
    clock.advance("1us")
    assert rows(ledger, "select window_start_time from record_ledger.oldest_valid_record") == [
        (DAY,)
    ]
    assert verdict_of(ledger, DAY)[0] == "READY"
    assert pass_valid(ledger, PIPELINE).start == DAY


def test_a_day_of_25_hours_is_stable_x_time_back_after_its_end(ledger, clock, config):
    given = config(PIPELINE, granularity="1d", x_time_back="1d", start_at="2026-11-01")
    # The day ends at 08:00 UTC on the 2nd; a day is 24 hours, also when clocks change.
    clock.set("2026-11-03T07:59:59.999999Z")
    assert cycle(ledger, given).verdict == "UNSTABLE"
    clock.set("2026-11-03T08:00:00Z")
    assert cycle(ledger, given).record["time_interval"] == "25h"


def test_a_changed_x_time_back_counts_immediately(ledger, clock, hourly):
    clock.set(hour(6))
    assert cycle(ledger, hourly(start_at=DAY.isoformat()), "a").start == DAY
    answer = cycle(ledger, hourly(start_at=DAY.isoformat(), x_time_back="5h"), "b")
    assert answer.verdict == "UNSTABLE"
    assert verdict_of(ledger, hour(1))[2] == hour(7)
    assert cycle(ledger, hourly(start_at=DAY.isoformat(), x_time_back="4h"), "b").start == hour(1)


def test_the_oldest_unstable_record_is_named_when_nothing_is_stable(ledger, clock, hourly):
    clock.set(hour(6))
    answer = cycle(ledger, hourly(start_at=DAY.isoformat(), x_time_back="5h30m"))
    assert (answer.exit_dag, answer.verdict) == (True, "UNSTABLE")
    assert (answer.verdict, answer.reason) == verdict_of(ledger, DAY)[:2]


def test_max_active_records_limits_unexpired_claims(ledger, clock, hourly):
    clock.set(hour(6))
    given = hourly(start_at=DAY.isoformat(), max_active_records=2)
    first, second = cycle(ledger, given, "a"), cycle(ledger, given, "b")
    assert (first.start, second.start) == (hour(0), hour(1))
    third = cycle(ledger, given, "c")
    assert (third.verdict, third.record) == ("AT_CAPACITY", None)
    assert "2" in third.reason
    assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []
    # A repeated call gets no further record.
    assert cycle(ledger, given, "a").start == hour(0)
    complete(ledger, second.token)
    assert pass_valid(ledger, PIPELINE, "c").start == hour(2)
    # Both leases end at 07:00; the first of them fails its first attempt and is valid again later.
    clock.set(hour(7))
    assert rows(ledger, "select window_start_time from record_ledger.oldest_valid_record") == [
        (hour(3),)
    ]
    assert pass_valid(ledger, PIPELINE, "d").start == hour(3)
    audit(ledger)


def test_a_released_record_gives_its_capacity_back(ledger, clock, hourly):
    clock.set(hour(6))
    given = hourly(start_at=DAY.isoformat(), max_active_records=1)
    first = cycle(ledger, given)
    assert cycle(ledger, given).verdict == "AT_CAPACITY"
    release(ledger, first.token)
    assert cycle(ledger, given).start == hour(0)


@pytest.mark.parametrize("state", ["in progress", "in backoff", "failed"])
def test_depends_on_past_waits_for_everything_earlier(ledger, clock, hourly, state):
    clock.set(hour(6))
    given = hourly(start_at=DAY.isoformat(), depends_on_past=True)
    first = cycle(ledger, given, "a")
    if state != "in progress":
        fail(ledger, first.token, retry=state == "in backoff")
    blocked = cycle(ledger, given, "b")
    assert blocked.verdict == ("BLOCKED" if state != "in backoff" else "BACKOFF")
    assert verdict_of(ledger, hour(1))[0] == verdict_of(ledger, hour(5))[0] == "BLOCKED"
    assert verdict_of(ledger, hour(1))[2] is None
    assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []
    if state == "in progress":
        complete(ledger, first.token)
        assert cycle(ledger, given, "b").start == hour(1)
    audit(ledger)


def test_without_depends_on_past_a_failed_record_holds_up_no_other(ledger, six):
    fail(ledger, pass_valid(ledger, six).token, retry=False)
    assert pass_valid(ledger, six).start == hour(1)


def test_pipelines_do_not_touch_each_other(ledger, clock, hourly):
    clock.set(hour(2))
    for name in ("a", "b"):
        register(ledger, hourly(name, start_at=DAY.isoformat(), max_active_records=1))
        store(ledger, name)
    # The same run id in two pipelines is two runs.
    first, second = pass_valid(ledger, "a", "run"), pass_valid(ledger, "b", "run")
    assert first.start == second.start == DAY
    with refused("RL004"):
        complete(ledger, first.token, "b")
    complete(ledger, first.token, "a")
    assert record_of(ledger, DAY, "b")["status"] == "IN_PROGRESS"
    assert pass_valid(ledger, "a", "next").start == hour(1)
    assert pass_valid(ledger, "b", "next").verdict == "AT_CAPACITY"


def test_an_unknown_pipeline_is_rl002_and_none_at_all_rl005(ledger, six):
    with refused("RL002", "order_s") as caught:
        pass_valid(ledger, "order_s", "a")
    assert PIPELINE in caught.value.diag.message_hint
    with refused("RL005", "pipeline_id"):
        pass_valid(ledger, None, "a")


@pytest.mark.parametrize("run_id", ["", " ", "\n\t", "x" * 1025, "ä" * 513])
def test_an_impossible_run_id_is_rl005_and_changes_nothing(ledger, hourly, six, run_id):
    with refused("RL005", "run_id"):
        pass_valid(ledger, six, run_id)
    with refused("RL005", "run_id"):
        cycle(ledger, hourly("other"), run_id)
    assert rows(ledger, "select pipeline_id from record_ledger.pipelines") == [(six,)]
    assert rows(ledger, "select * from record_ledger.record_events") == []
    assert pass_valid(ledger, six, "x" * 1024).start == DAY


def test_storing_and_passing_is_one_call_also_for_the_first(ledger, clock, config):
    clock.set(NOW)
    answer = cycle(ledger, config(PIPELINE), "a")
    assert answer.exit_dag is False
    assert answer.verdict == "READY"
    assert answer.to_build == []
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 6
    assert events(ledger, answer.start) == ["passed"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_stricter_isolation_levels_get_a_clear_error(ledger, connect, six, config, level):
    token = pass_valid(ledger, six, "a").token
    calls = {
        "select record_ledger.register_pipeline('{}')": [],
        "call record_ledger.store_new_records(%s)": [six],
        "select record_ledger.pass_valid_record(%s, 'b')": [six],
        "select record_ledger.store_new_and_pass_valid_record('{}', 'b')": [],
        "select record_ledger.complete_record(%s, %s)": [six, token],
        "select record_ledger.fail_record(%s, %s, 'x')": [six, token],
        "select record_ledger.release_record(%s, %s)": [six, token],
        "select record_ledger.extend_lease(%s, %s)": [six, token],
    }
    strict = connect(autocommit=False)
    for call, arguments in calls.items():
        strict.execute(f"set transaction isolation level {level}")
        with refused("RL005", f"isolation level {level}") as caught:
            strict.execute(call, arguments)
        assert "READ COMMITTED" in caught.value.diag.message_hint
        strict.rollback()
    # Reading is welcome.
    strict.execute(f"set transaction isolation level {level}")
    assert len(rows(strict, "select * from record_ledger.record_verdicts")) == 6
    assert rows(strict, "select * from record_ledger.new_windows(%s)", [six]) == []
    strict.rollback()
    complete(ledger, token)
