"""Two sessions: counting again, reopening what has changed, passing, completing; the second one waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.counts.counting import observe
from tests.sql.counts.test_recounts import START, changed, loaded, reopen  # noqa: F401 (a fixture)
from tests.sql.support import archive, audit, complete, one, pass_valid, record_of

HOUR = timedelta(hours=1)


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


@pytest.fixture
def beside(connect, in_background):
    def start(call, *arguments, **options):
        connection = connect()
        return in_background(connection, lambda: call(connection, *arguments, **options))

    return start


@pytest.fixture
def two_changed(ledger, loaded):  # noqa: F811
    loaded(2, reopen_budget=1)
    for hour in range(2):
        observe(ledger, START + hour * HOUR, "source", 101)


def test_a_pass_that_waits_for_the_reopening_is_passed_the_record(
    ledger, two_changed, first, beside
):
    assert reopen(first) == 1
    second = beside(pass_valid, "orders")
    assert second.result().verdict == "NO_RECORDS"  # its first look saw nothing, and did not wait
    third = beside(reopen)
    third.wait_until_blocked()
    first.commit()
    assert third.result() == 0
    assert pass_valid(ledger, "orders").start == START
    audit(ledger)


def test_a_pass_that_is_under_way_goes_first(ledger, clock, two_changed, first, beside):
    reopen(ledger)
    answer = pass_valid(first, "orders")
    second = beside(reopen)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 0
    complete(ledger, answer.token)
    clock.advance("1d")
    assert reopen(ledger) == 1
    assert record_of(ledger, START + HOUR)["generation"] == 2
    audit(ledger)


def test_two_reopenings_spend_the_budget_once(ledger, two_changed, first, beside):
    assert reopen(first) == 1
    second = beside(reopen)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 0
    assert len(changed(ledger)) == 1
    audit(ledger)


def test_a_reopening_that_is_rolled_back_has_spent_nothing(ledger, two_changed, first, beside):
    assert reopen(first) == 1
    second = beside(reopen)
    second.wait_until_blocked()
    first.rollback()
    assert second.result() == 1
    audit(ledger)


def test_a_count_that_waits_for_the_reopening_is_one_of_the_new_generation(
    ledger, two_changed, first, beside
):
    assert reopen(first) == 1
    second = beside(observe, START, "source", 102)
    second.wait_until_blocked()
    first.commit()
    second.result()
    assert one(
        ledger,
        "select generation = 2 and changed_by is null "
        "from record_ledger.record_observation where window_start_time = %s order by observation_no desc limit 1",
        [START],
    )
    audit(ledger)


def test_a_reopening_that_waits_for_a_count_judges_by_what_it_saw(
    ledger, two_changed, first, beside
):
    """The record is held by the one who counts; the next call sees that nothing has changed."""
    observe(first, START, "source", 100)
    second = beside(reopen)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 1
    assert record_of(ledger, START)["status"] == "PENDING"
    audit(ledger)


def test_a_completion_that_is_under_way_is_counted_against_when_it_is_committed(
    ledger,
    clock,
    loaded,  # noqa: F811
    first,
    beside,
):
    loaded()
    observe(ledger, START, "source", 101)
    reopen(ledger)
    answer = pass_valid(ledger, "orders")
    observe(ledger, START, "source", 101, answer.token)
    complete(first, answer.token)
    second = beside(observe, START, "source", 103)
    second.wait_until_blocked()
    first.commit()
    second.result()
    assert changed(ledger) == [(START, 101, 103, 2, True)]
    audit(ledger)


def test_what_is_being_archived_is_not_reopened(ledger, two_changed, first, beside):
    assert archive(first, START + HOUR) == 1
    second = beside(reopen)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 1
    assert record_of(ledger, START + HOUR)["status"] == "PENDING"
    assert (
        one(
            ledger,
            "select changed_by from record_ledger.archived_record_observation where changed_by is not null",
        )
        == 1
    )
    audit(ledger)
