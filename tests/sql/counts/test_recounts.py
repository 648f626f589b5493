"""Late data: which windows are to be counted again, which have changed, and what is reopened."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from psycopg.types.json import Jsonb

from tests.sql.counts import counting
from tests.sql.support import (
    MICROSECOND,
    audit,
    complete,
    cycle,
    events,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    store,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def observe(ledger, start, row_count, token=None, stage="source"):
    counting.observe(ledger, start, stage, row_count, token)


def due(ledger):
    return rows(
        ledger,
        "select window_start_time, recount_age, due_at, loaded_count from record_ledger.recount_due('orders')",
    )


def changed(ledger):
    return rows(
        ledger,
        "select window_start_time, loaded_count, source_count, changed_by, is_beyond_tolerance "
        "from record_ledger.changed_records where pipeline_id = 'orders' order by 1",
    )


def reopen(ledger, pipeline_id="orders"):
    return one(ledger, "select record_ledger.reopen_changed_records(%s)", [pipeline_id])


@pytest.fixture
def loaded(ledger, clock, config):
    """Registers the pipeline and loads its first windows, each with 100 rows; hourly, stable immediately."""

    def load(windows=1, **changes):
        given = config(
            "orders",
            **{"timezone": "UTC", "x_time_back": "0s", "granularity": "1h", "start_at": "2026-11-22", **changes},
        )  # fmt: skip
        register(ledger, given)
        clock.set(START + windows * HOUR)
        store(ledger, "orders")
        for _ in range(windows):
            answer = pass_valid(ledger, "orders")
            for stage in ("source", "target"):
                observe(ledger, answer.start, 100, answer.token, stage)
            complete(ledger, answer.token)
        return given

    return load


# ---------------------------------------------------------------- what is to be counted again
def test_a_window_is_due_from_the_very_instant_on_at_which_it_reaches_an_age(ledger, clock, loaded):
    loaded()
    counted_at = clock.now()
    for age in (HOUR, DAY, 7 * DAY):
        clock.set(counted_at + age - MICROSECOND)
        assert due(ledger) == []
        clock.set(counted_at + age)
        assert due(ledger) == [(START, age, counted_at + age, 100)]
        observe(ledger, START, 100)
        assert due(ledger) == []


def test_ages_that_were_missed_are_one_count_and_end_at_twice_the_last_one(ledger, clock, loaded):
    loaded(2)
    counted_at = clock.now()
    clock.set(counted_at + 3 * DAY)
    assert [row[:2] for row in due(ledger)] == [(START, DAY), (START + HOUR, DAY)]
    clock.set(counted_at + 14 * DAY - MICROSECOND)
    assert [row[:2] for row in due(ledger)] == [(START, 7 * DAY), (START + HOUR, 7 * DAY)]
    clock.set(counted_at + 14 * DAY)
    assert due(ledger) == []


def test_a_count_just_before_an_age_does_not_stand_for_it(ledger, clock, loaded):
    loaded()
    counted_at = clock.now()
    clock.set(counted_at + HOUR - MICROSECOND)
    observe(ledger, START, 100)
    clock.set(counted_at + HOUR)
    assert [row[1] for row in due(ledger)] == [HOUR]


def test_what_is_open_uncounted_or_gone_is_not_due(ledger, clock, loaded):
    given = loaded(2, source_retention="2h")
    clock.set(START + 2 * HOUR)
    # Completed without a count: nothing to compare with.
    clock.set(START + 3 * HOUR)
    complete(ledger, cycle(ledger, given).token)
    assert [row[0] for row in due(ledger)] == [START + HOUR]  # the first one's source data is gone
    operate(ledger, "reopen", START + HOUR, START + 2 * HOUR)
    assert due(ledger) == []


def test_a_count_that_a_later_claim_adopted_is_as_old_as_it_is(ledger, clock, loaded):
    given = loaded(0, retry_delay="0s")
    counted_at = clock.set(START + HOUR)
    failed = cycle(ledger, given, "run")
    observe(ledger, START, 100, failed.token)
    clock.advance("59m")
    fail(ledger, failed.token)
    answer = pass_valid(ledger, "orders", "run")
    counting.adopt(ledger, answer.token)
    complete(ledger, answer.token)
    assert due(ledger) == []
    clock.set(counted_at + HOUR)
    assert due(ledger) == [(START, HOUR, counted_at + HOUR, 100)]
    clock.set(counted_at + 14 * DAY)
    assert due(ledger) == []


def test_without_ages_nothing_is_due(ledger, clock, loaded):
    loaded(recount_ages=[])
    clock.advance("9d")
    assert due(ledger) == []


def test_a_reload_is_counted_again_by_its_own_count(ledger, clock, loaded):
    loaded()
    clock.advance("1h")
    observe(ledger, START, 103)
    operate(ledger, "reopen", START, START + HOUR)
    answer = pass_valid(ledger, "orders")
    observe(ledger, START, 103, answer.token)
    complete(ledger, answer.token)
    reloaded_at = clock.now()
    clock.advance("1h")
    assert due(ledger) == [(START, HOUR, reloaded_at + HOUR, 103)]
    assert changed(ledger) == []


# ---------------------------------------------------------------- what has changed
def test_a_record_has_changed_while_its_newest_count_differs(ledger, clock, loaded):
    loaded()
    clock.advance("1h")
    observe(ledger, START, 100)
    assert changed(ledger) == []
    observe(ledger, START, 103)
    assert changed(ledger) == [(START, 100, 103, 3, True)]
    observe(ledger, START, 103, stage="target")
    assert changed(ledger) == [(START, 100, 103, 3, True)]
    observe(ledger, START, 98)
    assert changed(ledger) == [(START, 100, 98, -2, True)]
    observe(ledger, START, 100)
    assert changed(ledger) == []
    assert reopen(ledger) == 0


@pytest.mark.parametrize(
    ("tolerance", "beyond"), [("2 rows", True), ("3 rows", False), ("2.99%", True), ("3%", False)]
)
def test_a_change_within_the_tolerance_of_required_counts_is_seen_and_left(
    ledger, clock, loaded, tolerance, beyond
):
    loaded(required_counts={"stages": ["source", "target"], "tolerance": tolerance})
    clock.advance("1h")
    observe(ledger, START, 103)
    assert changed(ledger) == [(START, 100, 103, 3, beyond)]
    assert reopen(ledger) == beyond


def test_what_was_counted_under_the_claim_counts_and_not_what_others_counted_meanwhile(
    ledger, clock, config
):
    register(ledger, config("orders", timezone="UTC", x_time_back="0s", start_at="2026-11-22"))
    clock.set(START + 2 * HOUR)
    store(ledger, "orders")
    answer = pass_valid(ledger, "orders")
    observe(ledger, START, 100, answer.token)
    observe(ledger, START, 103)
    complete(ledger, answer.token)
    observe(ledger, START, 103)
    assert changed(ledger) == [(START, 100, 103, 3, True)]


def test_without_a_claim_the_newest_count_until_completion_counts(ledger, clock, config):
    register(ledger, config("orders", timezone="UTC", x_time_back="0s", start_at="2026-11-22"))
    clock.set(START + 2 * HOUR)
    store(ledger, "orders")
    answer = pass_valid(ledger, "orders")
    observe(ledger, START, 90)
    observe(ledger, START, 100)
    complete(ledger, answer.token)
    observe(ledger, START, 101)
    assert changed(ledger) == [(START, 100, 101, 1, True)]


# ---------------------------------------------------------------- what is reopened
def test_what_has_changed_is_reopened_oldest_first_within_the_budget_of_a_local_day(
    ledger, clock, loaded
):
    # 23:00 in Kathmandu: the local day ends before that of UTC does.
    loaded(4, timezone="Asia/Kathmandu", start_at="2026-11-22T05:45", reopen_budget=2)
    for hour in range(4):
        observe(ledger, START + hour * HOUR, 101)
    midnight = datetime(2026, 11, 22, 18, 15, tzinfo=timezone.utc)
    clock.set(midnight - 2 * MICROSECOND)
    assert reopen(ledger) == 2
    assert [row[0] for row in changed(ledger)] == [START + 2 * HOUR, START + 3 * HOUR]
    clock.set(midnight - MICROSECOND)
    assert reopen(ledger) == 0
    clock.set(midnight)
    assert reopen(ledger) == 2
    assert changed(ledger) == []
    assert rows(ledger, "select detail from record_ledger.pipeline_events where event = 'changed_reopened'") == [
        ({"count": 2},), ({"count": 2},),
    ]  # fmt: skip
    found = record_of(ledger, START)
    assert (found["status"], found["generation"], found["published_generation"]) == (
        "PENDING",
        2,
        1,
    )
    assert found["last_detail"] == {
        "reason": "the source has changed: 100 rows were loaded, and 101 counted at 2026-11-22T09:45:00+05:45",
        "changed_by": 1,
    }
    assert events(ledger, START) == ["passed", "completed", "reopened"]
    audit(ledger)


def test_a_budget_of_nothing_reopens_nothing(ledger, loaded):
    loaded(reopen_budget=0)
    observe(ledger, START, 101)
    assert reopen(ledger) == 0
    assert len(changed(ledger)) == 1


def test_a_record_whose_source_data_is_gone_is_not_reopened_by_the_count_of_nothing(
    ledger, clock, loaded
):
    loaded(2, source_retention="2h")
    clock.set(START + 3 * HOUR)
    observe(ledger, START, 0)
    observe(ledger, START + HOUR, 0)
    assert reopen(ledger) == 1
    assert record_of(ledger, START)["status"] == "COMPLETED"


def test_other_pipelines_are_left_alone_and_an_unknown_one_is_an_error(
    ledger, clock, loaded, config
):
    loaded()
    observe(ledger, START, 101)
    register(ledger, config("others"))
    assert reopen(ledger, "others") == 0
    for call in (
        "reopen_changed_records('order')",
        "recount_due('order')",
        "suggest_x_time_back('order')",
    ):
        with refused("RL002", "order"):
            ledger.execute(f"select record_ledger.{call}")


def test_a_reopened_record_is_passed_and_changed_no_more(ledger, clock, loaded):
    loaded()
    observe(ledger, START, 103)
    assert reopen(ledger) == 1
    answer = pass_valid(ledger, "orders")
    assert answer.start == START
    observe(ledger, START, 103, answer.token)
    observe(ledger, START, 103, answer.token, "target")
    ledger.execute(
        "select record_ledger.complete_record('orders', %s, %s)",
        [answer.token, Jsonb({"rows": 103})],
    )
    assert (changed(ledger), reopen(ledger)) == ([], 0)
    assert record_of(ledger, START)["published_generation"] == 2
    audit(ledger)
