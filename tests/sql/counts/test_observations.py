"""Observations: what was counted of a record, by whom and under which claim, and what of it is evidence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.archive.archiving import EVER, eight_hours, finish, hour
from tests.sql.counts.counting import adopt, observe
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    fail,
    one,
    operate,
    pass_valid,
    refused,
    release,
    rows,
    snapshot,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config)


@pytest.fixture
def orders(given):
    return PIPELINE


def observed(
    ledger, columns="stage, row_count, claim_token, is_evidence", view="record_observations"
):
    return rows(
        ledger,
        f"select {columns} from record_ledger.{view} order by window_start_time, observation_no",
    )


def published(ledger, n=0, view="pipeline_records"):
    return one(
        ledger,
        f"select published_generation from record_ledger.{view} where window_start_time = %s",
        [hour(n)],
    )


# ---------------------------------------------------------------- noting a count
def test_a_count_is_recorded_with_who_when_and_what_else_was_seen(ledger, clock, orders):
    held = pass_valid(ledger, orders, "run")
    clock.advance("7m")
    now = clock.now()
    assert observe(ledger, held.start, "source", 1200, held.token, {"bytes": 4096}) == 1
    assert observe(ledger, held.start, "a stage of our own", 0) == 2
    columns = "observation_no, observed_at, stage, row_count, detail, generation, claim_token, run_id, actor, adopted_no"
    user = ledger.info.user
    assert observed(ledger, columns) == [
        (1, now, "source", 1200, {"bytes": 4096}, 1, held.token, "run", user, None),
        (2, now, "a stage of our own", 0, {}, 1, None, None, user, None),
    ]
    assert one(ledger, "select count(*) from record_ledger.record_events") == 1
    audit(ledger)


def test_history_does_not_run_backwards_when_the_clock_is_set_back(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    passed = clock.now()
    clock.advance("-1h")
    observe(ledger, first.start, "source", 7, first.token)
    clock.set(passed)
    observe(ledger, first.start, "target", 6, first.token)
    clock.advance("1h")
    observe(ledger, first.start, "source", 8, first.token)
    fail(ledger, first.token)
    clock.advance("90m")
    second = pass_valid(ledger, orders, "b")
    passed_again = clock.now()
    clock.advance("-2h")
    assert adopt(ledger, second.token) == 2
    found = [time for (time,) in observed(ledger, "observed_at")]
    assert found == [passed, passed, passed + HOUR, passed_again, passed_again]
    audit(ledger)


def test_observations_are_numbered_per_record_and_the_largest_count_fits(ledger, orders):
    numbers = [observe(ledger, hour(n), "source", 2**63 - 1) for n in (0, 1, 0, 0, 1)]
    assert numbers == [1, 1, 2, 3, 2]
    audit(ledger)


@pytest.mark.parametrize("status", ["PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "WAIVED"])
def test_a_record_is_counted_at_any_time_and_without_a_token_that_is_not_evidence(
    ledger, orders, status
):
    if status not in ("PENDING", "WAIVED"):
        token = pass_valid(ledger, orders).token
        if status == "COMPLETED":
            complete(ledger, token)
        elif status == "FAILED":
            fail(ledger, token, retry=False)
    elif status == "WAIVED":
        operate(ledger, "waive", hour(0), hour(1))
    observe(ledger, hour(0), "source", 7)
    assert observed(ledger) == [("source", 7, None, False)]
    audit(ledger)


@pytest.mark.parametrize(
    ("changes", "sqlstate", "message"),
    [
        ({"stage": None}, "RL005", "stage: null is not a valid stage name"),
        ({"stage": " \t"}, "RL005", 'stage: " \t" is not a valid stage name'),
        ({"stage": "x" * 256}, "RL005", "stage: .* 1 to 255 bytes"),
        ({"row_count": -1}, "RL005", "row_count: -1 is not a valid number of rows"),
        ({"row_count": None}, "RL005", "row_count: null is not a valid number of rows"),
        ({"detail": [1]}, "RL005", r"detail: \[1\] is not a JSON object"),
        ({"detail": "x"}, "RL005", 'detail: "x" is not a JSON object'),
        ({"pipeline_id": "ordrs"}, "RL002", 'unknown pipeline "ordrs"'),
        ({"pipeline_id": None}, "RL005", "pipeline_id: null is not a valid name"),
        ({"start": None}, "RL005", "window_start_time: .* starts at null"),
        ({"start": hour(8)}, "RL005", r"no window that starts at 2026-11-22T08:00:00\+00:00"),
        ({"start": "infinity"}, "RL005", "no window that starts at"),
        ({"token": 10**9}, "RL004", "never passed a record with claim token 1000000000"),
    ],
)
def test_bad_input_is_one_clear_error_and_nothing_is_recorded(
    ledger, orders, changes, sqlstate, message
):
    before = snapshot(ledger)
    with refused(sqlstate, message):
        observe(ledger, **{"start": hour(0), "stage": "source", "row_count": 7, **changes})
    assert snapshot(ledger) == before


def test_a_time_inside_of_a_window_gets_the_start_of_the_window(ledger, orders):
    with refused("RL005", "no window that starts at 2026-11-22T02:30:00") as caught:
        observe(ledger, "2026-11-22T02:30Z", "source", 7)
    assert "2026-11-22T02:00:00+00:00" in caught.value.diag.message_hint


def test_a_token_of_another_window_is_refused_as_such(ledger, orders):
    held = pass_valid(ledger, orders)
    with refused("RL004", r"belongs to window 2026-11-22T00:.*, not to window 2026-11-22T01:"):
        observe(ledger, hour(1), "source", 7, held.token)
    assert observed(ledger) == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_stricter_isolation_level_is_refused(ledger, orders, level):
    with refused("RL005", level), ledger.transaction():
        ledger.execute(f"set transaction isolation level {level}")
        observe(ledger, hour(0), "source", 7)


# ---------------------------------------------------------------- evidence
@pytest.mark.parametrize("ending", [complete, fail, release])
def test_what_is_written_after_the_token_was_lost_is_refused_and_not_recorded(
    ledger, orders, ending
):
    held = pass_valid(ledger, orders)
    observe(ledger, held.start, "source", 7, held.token)
    ending(ledger, held.token)
    with refused("RL004", "claim lost"):
        observe(ledger, held.start, "source", 9, held.token)
    assert [row[:2] for row in observed(ledger)] == [("source", 7)]


def test_evidence_is_the_newest_of_each_stage_under_the_claim_that_holds_or_completed(
    ledger, orders
):
    first = pass_valid(ledger, orders)
    observe(ledger, first.start, "source", 7, first.token)
    assert observed(ledger) == [("source", 7, first.token, True)]
    fail(ledger, first.token)
    assert observed(ledger) == [("source", 7, first.token, False)]
    second = pass_valid(ledger, orders)
    for stage, count in (("source", 8), ("target", 8), ("source", 9)):
        observe(ledger, first.start, stage, count, second.token)
    observe(ledger, first.start, "source", 10)
    expected = [
        ("source", 7, first.token, False),
        ("source", 8, second.token, False),
        ("target", 8, second.token, True),
        ("source", 9, second.token, True),
        ("source", 10, None, False),
    ]
    assert observed(ledger) == expected
    complete(ledger, second.token)
    assert observed(ledger) == expected
    # What the first generation was completed by stays said when the next one begins.
    operate(ledger, "reopen", hour(0), hour(1))
    assert observed(ledger) == expected
    observe(ledger, first.start, "source", 11)
    assert observed(ledger, "generation")[-1] == (2,)
    audit(ledger)


def test_a_later_claim_adopts_what_it_has_not_counted_itself(ledger, orders):
    first = pass_valid(ledger, orders, "a")
    for stage, count in (("source", 7), ("source", 8), ("target", 6), ("stage", 5)):
        observe(ledger, first.start, stage, count, first.token, {"n": count})
    observe(ledger, first.start, "source", 99)
    fail(ledger, first.token)
    second = pass_valid(ledger, orders, "b")
    observe(ledger, first.start, "target", 8, second.token)
    assert adopt(ledger, second.token, "target") == 0
    assert adopt(ledger, second.token, "no such stage") == 0
    assert adopt(ledger, second.token, "source") == 1
    assert adopt(ledger, second.token) == 1
    assert adopt(ledger, second.token) == 0
    columns = (
        "observation_no, stage, row_count, detail, claim_token, run_id, adopted_no, is_evidence"
    )
    assert observed(ledger, columns)[5:] == [
        (6, "target", 8, {}, second.token, "b", None, True),
        (7, "source", 8, {"n": 8}, second.token, "b", 2, True),
        (8, "stage", 5, {"n": 5}, second.token, "b", 4, True),
    ]
    # What was adopted is handed on with its first number.
    fail(ledger, second.token)
    third = pass_valid(ledger, orders, "c")
    assert adopt(ledger, third.token) == 3
    assert observed(ledger, "stage, adopted_no")[8:] == [("target", 6), ("source", 2), ("stage", 4)]
    audit(ledger)


def test_nothing_is_adopted_from_an_earlier_generation_or_by_a_lost_claim(ledger, orders):
    first = pass_valid(ledger, orders)
    observe(ledger, first.start, "source", 7, first.token)
    complete(ledger, first.token)
    operate(ledger, "reopen", hour(0), hour(1))
    second = pass_valid(ledger, orders)
    assert second.start == first.start
    assert adopt(ledger, second.token) == 0
    release(ledger, second.token)
    for token in (first.token, second.token, 10**9):
        with refused("RL004"):
            adopt(ledger, token)
    with refused("RL005", "null is not a valid token"):
        adopt(ledger, None)
    with refused("RL002"):
        adopt(ledger, 1, pipeline_id="ordrs")


# ---------------------------------------------------------------- the archive
def test_observations_go_to_the_archive_with_their_record(ledger, orders):
    finish(ledger, 2)
    held = pass_valid(ledger, orders)
    observe(ledger, held.start, "source", 7, held.token)
    observe(ledger, held.start, "target", 7, held.token)
    complete(ledger, held.token)
    for n in (0, 2, 4):
        observe(ledger, hour(n), "source", 8)
    columns = (
        "window_start_time, observation_no, observed_at, stage, row_count, detail, generation, claim_token, run_id, "
        "actor, adopted_no, is_evidence"
    )
    before = observed(ledger, columns)
    assert archive(ledger, EVER, 2) == 2
    assert archive(ledger, EVER) == 1
    assert (
        observed(ledger, columns, "archived_record_observations") + observed(ledger, columns)
        == before
    )
    assert len(observed(ledger)) == 1
    audit(ledger)
    with refused("RL005", "is archived"):
        observe(ledger, hour(0), "source", 9)


# ---------------------------------------------------------------- what is published
def test_an_earlier_generation_stays_published_until_a_later_one_is_completed(ledger, orders):
    def again():
        operate(ledger, "reopen", hour(0), hour(1))
        return pass_valid(ledger, orders).token

    assert published(ledger) is None
    token = pass_valid(ledger, orders).token
    assert published(ledger) is None
    complete(ledger, token)
    assert published(ledger) == 1
    token = again()
    assert published(ledger) == 1
    fail(ledger, token)
    assert published(ledger) == 1
    fail(ledger, pass_valid(ledger, orders).token, retry=False)
    assert published(ledger) == 1
    complete(ledger, again())
    assert published(ledger) == 3
    # A waiver publishes nothing, and what is published stays so.
    operate(ledger, "reopen", hour(0), hour(1))
    operate(ledger, "waive", hour(0), hour(2))
    assert (published(ledger), published(ledger, 1)) == (3, None)
    complete(ledger, pass_valid(ledger, orders).token)
    audit(ledger)
    assert archive(ledger, EVER) == 3
    assert [published(ledger, n, "archived_records") for n in range(3)] == [3, None, 1]
    audit(ledger)
