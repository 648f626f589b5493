"""Waiving the counts of a record: the only way round them, for one generation, with a reason that stays."""

from __future__ import annotations

import pytest

from tests.sql.archive.archiving import EVER, eight_hours, hour
from tests.sql.counts.counting import BOTH, count, problem, requires, waive_counts
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
)


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config, required_counts=BOTH)


@pytest.fixture
def orders(given):
    return PIPELINE


def test_counts_are_waived_for_one_generation_with_a_reason_that_stays(ledger, clock, orders):
    held = pass_valid(ledger, orders, "run")
    count(ledger, held, source=7, target=8)
    assert waive_counts(ledger, held.start, "one row is a duplicate") is True
    unchanged = snapshot(ledger)
    assert waive_counts(ledger, held.start, "again") is False
    assert snapshot(ledger) == unchanged
    assert problem(ledger) is None
    complete(ledger, held.token)
    assert rows(
        ledger,
        "select event, from_status, to_status, generation, claim_token = %s, run_id, actor, detail "
        "from record_ledger.record_events where event = 'counts_waived'",
        [held.token],
    ) == [
        ("counts_waived", "IN_PROGRESS", "IN_PROGRESS", 1, True, "run", ledger.info.user,
         {"reason": "one row is a duplicate"}),
    ]  # fmt: skip
    assert record_of(ledger, held.start)["counts_waived"] is True
    operate(ledger, "reopen", hour(0), hour(1))
    assert record_of(ledger, held.start)["counts_waived"] is False
    again = pass_valid(ledger, orders)
    with refused("RL007"):
        complete(ledger, again.token)
    assert waive_counts(ledger, again.start)
    complete(ledger, again.token)
    audit(ledger)
    assert archive(ledger, EVER) == 1
    assert one(ledger, "select counts_waived from record_ledger.archived_records") is True
    audit(ledger)


def test_a_waiver_before_the_pass_holds_through_failures_of_its_generation(ledger, clock, orders):
    assert waive_counts(ledger, hour(0))
    assert rows(
        ledger, "select verdict from record_ledger.record_verdicts where window_start_time = %s", [hour(0)]
    ) == [("READY",)]  # fmt: skip
    held = pass_valid(ledger, orders)
    assert held.start == hour(0)
    fail(ledger, held.token)
    held = pass_valid(ledger, orders)
    assert held.start == hour(0)
    complete(ledger, held.token)
    audit(ledger)


def test_the_ledger_as_it_stood_knows_of_a_waiver(ledger, clock, orders):
    held = pass_valid(ledger, orders, "run")
    clock.advance("1m")
    waive_counts(ledger, held.start, "known")
    waived_at = clock.now()
    query = (
        "select to_jsonb(r) from record_ledger.records_as_of(%s) as r where window_start_time = %s"
    )
    as_it_is = one(ledger, query, [waived_at, held.start])
    clock.advance("1m")
    complete(ledger, held.token)
    assert one(ledger, query, [waived_at, held.start]) == as_it_is
    assert (as_it_is["status"], as_it_is["last_event"]) == ("IN_PROGRESS", "counts_waived")
    assert (as_it_is["claim_token"], as_it_is["run_id"]) == (held.token, "run")
    assert as_it_is["last_detail"] == {"reason": "known"}


def test_a_waiver_changes_neither_claim_nor_backoff_nor_what_is_said_of_them(
    ledger, clock, given, orders
):
    register(ledger, {**given, "retry_delay": "10m"})
    held = pass_valid(ledger, orders)
    fail(ledger, held.token, "no disk")
    before = record_of(ledger, hour(0))
    assert waive_counts(ledger, hour(0), "known")
    after = record_of(ledger, hour(0))
    changed = {"last_event", "last_detail", "counts_waived"}
    assert {key for key in before if before[key] != after[key]} == changed
    ((verdict, reason),) = rows(
        ledger,
        "select verdict, reason from record_ledger.record_verdicts where window_start_time = %s",
        [hour(0)],
    )
    assert verdict == "BACKOFF"
    assert reason.endswith("after attempt 1 of 3: its counts have been waived since: known")
    # A claim that is lost is not said to have been ended by a waiver.
    held = pass_valid(ledger, orders)
    assert waive_counts(ledger, held.start)
    clock.advance("2h")
    pass_valid(ledger, orders)
    with refused("RL004", "its lease expired"):
        complete(ledger, held.token)
    audit(ledger)


@pytest.mark.parametrize("reason", [None, "", " \n"])
def test_a_waiver_needs_a_reason(ledger, orders, reason):
    with refused("RL005", "reason: must not be blank"):
        waive_counts(ledger, hour(0), reason)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "WAIVED"])
def test_what_is_done_or_failed_has_no_counts_to_waive(ledger, orders, status):
    if status == "WAIVED":
        operate(ledger, "waive", hour(0), hour(1))
    else:
        held = pass_valid(ledger, orders)
        count(ledger, held, source=7, target=7)
        if status == "FAILED":
            fail(ledger, held.token, retry=False)
        else:
            complete(ledger, held.token)
    before = snapshot(ledger)
    with refused("RL003", f"window 2026-11-22T00:.* is {status}: counts can be waived only while"):
        waive_counts(ledger, hour(0))
    with refused("RL003"):
        ledger.execute(
            "update record_ledger.record set last_event = 'counts_waived', last_detail = '{}' "
            "where window_start_time = %s",
            [hour(0)],
        )
    assert snapshot(ledger) == before


@pytest.mark.parametrize(
    "change",
    [
        "claim_token = claim_token + 1", "run_id = 'x'", "attempt = 0", "status = 'PENDING'", "lease_expires_at = null",
        "retry_at = now()", "generation = 2", "fields = '{}'", "counts_waived = false, status = 'COMPLETED'",
    ],
)  # fmt: skip
def test_nothing_else_is_changed_along_with_a_waiver(ledger, orders, change):
    held = pass_valid(ledger, orders)
    with refused("RL003"):
        ledger.execute(
            f"update record_ledger.record set last_event = 'counts_waived', last_detail = '{{}}', {change} "
            "where window_start_time = %s",
            [held.start],
        )


def test_there_is_nothing_to_waive_where_nothing_is_asked_for_or_stored(ledger, given, orders):
    with refused("RL005", "no window that starts at"):
        waive_counts(ledger, hour(9))
    with refused("RL002"):
        waive_counts(ledger, hour(0), pipeline_id="ordrs")
    requires(ledger, given, None)
    with refused("RL005", "required_counts: the config of pipeline orders requires no counts"):
        waive_counts(ledger, hour(0))
