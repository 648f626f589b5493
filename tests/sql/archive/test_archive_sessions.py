"""Archiving beside others, step by step: who waits for it, who does not, and what each then sees."""

from __future__ import annotations

import pytest

from tests.sql.archive.archiving import EVER, START, archived, change, eight_hours, finish, hour
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    cycle,
    extend,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    windows,
)

ARCHIVE = "select record_ledger.archive_records(%s, %s)"
PASS = (
    "select verdict, (record ->> 'window_start_time')::timestamptz "
    "from record_ledger.pass_valid_record(%s, %s)"
)
EVERYTHING = """
    select window_start_time from record_ledger.pipeline_records
    union all
    select window_start_time from record_ledger.archived_records
    order by 1
"""


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config)


@pytest.fixture
def orders(ledger, given):
    """Five records are finished, the sixth is the first to stay."""
    finish(ledger, 5)
    return PIPELINE


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


@pytest.fixture
def impatient(connect):
    """A session in which waiting for a lock is an error."""
    session = connect()
    session.execute("set lock_timeout = '2s'")
    return session


# ---------------------------------------------------------------- beside a pass
def test_archiving_waits_for_a_pass_and_leaves_the_record_that_was_passed(
    ledger, connect, first, in_background, orders
):
    held = pass_valid(first, orders, "a")
    archiving = in_background(connect(), ARCHIVE, [orders, EVER])
    archiving.wait_until_blocked()
    first.commit()
    assert archiving.rows() == [(5,)]
    assert windows(ledger)[0][0] == held.start == hour(5)
    complete(ledger, held.token)
    audit(ledger)


def test_a_pass_waits_for_archiving_and_gets_the_record_that_is_next(
    ledger, connect, first, in_background, orders
):
    assert archive(first, EVER) == 5
    passing = in_background(connect(), PASS, [orders, "a"])
    passing.wait_until_blocked()
    first.commit()
    assert passing.rows() == [("READY", hour(5))]
    audit(ledger)


def test_a_pass_that_has_nothing_to_write_does_not_wait(first, impatient, orders):
    archive(first, EVER)
    assert pass_valid(impatient, orders, "run 3").verdict == "ALREADY_DONE"
    first.commit()
    assert "archived" in pass_valid(impatient, orders, "run 3").reason


def test_passes_of_other_pipelines_do_not_wait(ledger, first, impatient, given, orders):
    other = dict(given, default_record={"pipeline_id": "other"})
    register(ledger, other)
    assert archive(first, EVER) == 5
    complete(impatient, cycle(impatient, other, "a").token, "other")
    first.commit()
    audit(ledger)


def test_windows_that_become_due_are_stored_after_archiving_without_a_gap(
    ledger, clock, connect, first, in_background, given, orders
):
    finish_all(ledger)
    clock.advance("3h")
    assert archive(first, EVER) == 7
    storing = in_background(connect(), "call record_ledger.store_new_records(%s)", [orders])
    storing.wait_until_blocked()
    first.commit()
    assert storing.rows() == [(3,)]
    assert [start for start, _ in windows(ledger)] == [hour(n) for n in range(7, 11)]
    audit(ledger)


def finish_all(ledger):
    while (answer := pass_valid(ledger, PIPELINE)).record is not None:
        complete(ledger, answer.token)


# ---------------------------------------------------------------- beside the end of a claim
def test_claims_end_and_go_on_while_records_are_archived(
    ledger, connect, first, impatient, in_background, orders
):
    held = [pass_valid(ledger, orders, name) for name in "abc"]
    assert archive(first, EVER) == 5
    # Of the first record that stays the link to the one before is taken away, so that one waits.
    extend(impatient, held[1].token)
    complete(impatient, held[2].token)
    ending = in_background(
        connect(), "select record_ledger.complete_record(%s, %s)", [orders, held[0].token]
    )
    ending.wait_until_blocked()
    first.commit()
    ending.rows()
    assert record_of(ledger, held[0].start)["status"] == "COMPLETED"
    audit(ledger)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_archiving_waits_for_the_end_of_the_claim_on_the_first_record_that_stays(
    ledger, connect, first, in_background, orders, ending
):
    held = pass_valid(ledger, orders, "a")
    complete(first, held.token)
    archiving = in_background(connect(), ARCHIVE, [orders, EVER])
    archiving.wait_until_blocked()
    getattr(first, ending)()
    assert archiving.rows() == [(5,)]
    expected = "COMPLETED" if ending == "commit" else "IN_PROGRESS"
    assert record_of(ledger, held.start)["status"] == expected
    assert archive(ledger, EVER) == (ending == "commit")
    audit(ledger)


# ---------------------------------------------------------------- beside another archiver
def test_two_archivers_of_a_pipeline_move_nothing_twice(
    ledger, connect, first, in_background, orders
):
    assert archive(first, EVER, 3) == 3
    second = in_background(connect(), ARCHIVE, [orders, EVER])
    second.wait_until_blocked()
    first.commit()
    assert second.rows() == [(2,)]
    assert archived(ledger) == [hour(n) for n in range(5)]
    audit(ledger)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_two_archivers_that_need_the_same_new_year_create_it_once(
    ledger, connect, first, in_background, given, orders, ending
):
    other = dict(given, default_record={"pipeline_id": "other"})
    register(ledger, other)
    for _ in range(2):
        complete(ledger, cycle(ledger, other).token, "other")
    assert archive(first, EVER) == 5
    second = in_background(connect(), ARCHIVE, ["other", EVER])
    second.wait_until_blocked()
    getattr(first, ending)()
    assert second.rows() == [(2,)]
    assert archive(ledger, EVER) == (0 if ending == "commit" else 5)
    audit(ledger)


def test_two_archivers_in_a_year_that_is_there_do_not_wait(ledger, first, impatient, given, orders):
    other = dict(given, default_record={"pipeline_id": "other"})
    register(ledger, other)
    for _ in range(2):
        complete(ledger, cycle(ledger, other).token, "other")
    archive(ledger, EVER, 1)
    assert archive(first, EVER) == 4
    assert archive(impatient, EVER, pipeline_id="other") == 2
    first.commit()
    audit(ledger)


# ---------------------------------------------------------------- beside readers
def test_readers_wait_for_no_archiving_and_no_archiving_for_readers(
    ledger, connect, first, impatient, orders
):
    reader = connect(role="reader", autocommit=False)
    reader.execute("set transaction isolation level repeatable read")
    reader.execute("set local lock_timeout = '2s'")
    queries = [
        EVERYTHING,
        "select * from record_ledger.archived_record_events",
        "select * from record_ledger.records_as_of('2100-01-01') order by 1, 3",
    ]
    before = [rows(reader, query) for query in queries]

    # It creates the year's partitions, while the reader holds its locks on their table.
    impatient.execute("begin")
    assert archive(impatient, EVER, 3) == 3
    assert [rows(reader, query) for query in queries] == before
    other = connect(role="reader")
    other.execute("set lock_timeout = '2s'")
    assert rows(other, EVERYTHING) == before[0]
    impatient.execute("commit")
    archive(impatient, EVER)

    # Its snapshot still has every record once, on one of the two sides.
    assert [rows(reader, query) for query in queries] == before
    assert rows(other, EVERYTHING) == before[0]
    assert len(archived(other)) == 5
    reader.rollback()
    audit(ledger)


# ---------------------------------------------------------------- beside one who takes no lock
def test_a_reopening_by_hand_comes_before_an_archiving_or_after_it(
    ledger, connect, first, in_background, orders
):
    change(first, "reopen", hour(2))
    archiving = in_background(connect(), ARCHIVE, [orders, EVER])
    archiving.wait_until_blocked()
    first.commit()
    assert archiving.rows() == [(2,)]
    audit(ledger)


def test_a_record_that_is_reopened_meanwhile_is_not_archived(
    ledger, connect, first, in_background, orders
):
    # As an owner who sees to the pipeline's marks, and so takes no lock on it here.
    first.execute("set local record_ledger.voids_marks = 'on'")
    change(first, "reopen", hour(2))
    archiving = in_background(connect(), ARCHIVE, [orders, EVER])
    archiving.wait_until_blocked()
    first.commit()
    before = snapshot(ledger)
    with refused("RL003", "the archive does not have the record"):
        archiving.rows()
    assert snapshot(ledger) == before
    assert archive(ledger, EVER) == 2
    audit(ledger)


def test_a_reopening_of_what_is_archived_meanwhile_changes_nothing(
    ledger, connect, first, in_background, orders
):
    assert archive(first, EVER) == 5
    reopening = in_background(
        connect(),
        "update record_ledger.record set status = 'PENDING', generation = 2, attempt = 0, claim_token = null, "
        "run_id = null, last_event = 'reopened' where window_start_time = %s returning 1",
        [START],
    )
    reopening.wait_until_blocked()
    first.commit()
    assert reopening.rows() == []
    audit(ledger)
