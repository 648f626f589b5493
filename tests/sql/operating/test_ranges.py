"""Waive, reopen, expire: which records of a range change, into what, and what is kept of it."""

from __future__ import annotations

import pytest

from tests.sql.statuses import EVERYTHING, STATUSES, hour, one_of_each, statuses
from tests.sql.support import (
    MICROSECOND,
    PIPELINE,
    audit,
    effects,
    operate,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    verdict_of,
)

BECOMES = {
    "waive": {"PENDING": "WAIVED", "FAILED": "WAIVED"},
    "reopen": {"COMPLETED": "PENDING", "FAILED": "PENDING", "WAIVED": "PENDING"},
    "expire": {"IN_PROGRESS": "PENDING"},
}


@pytest.fixture
def orders(ledger, clock, config):
    one_of_each(ledger, clock, config)
    return PIPELINE


@pytest.mark.parametrize("operation", BECOMES)
def test_records_of_the_right_status_change_and_the_others_are_left_alone(
    ledger, orders, operation
):
    becomes = BECOMES[operation]
    assert operate(ledger, operation, *EVERYTHING) == len(becomes)
    assert statuses(ledger) == [becomes.get(status, status) for status in STATUSES]
    before = snapshot(ledger)
    again = operate(ledger, operation, *EVERYTHING)
    assert again == 0
    assert snapshot(ledger) == before
    audit(ledger)


@pytest.mark.parametrize(("operation", "n"), [("waive", 3), ("reopen", 2), ("expire", 1)])
def test_a_window_must_lie_in_the_range_to_the_microsecond(ledger, orders, operation, n):
    for from_late, to_early, changes in [
        (0, 0, True), (-1, 0, True), (0, -1, True), (1, 0, False), (0, 1, False), (1, 1, False),
    ]:  # fmt: skip
        bounds = (hour(n) + from_late * MICROSECOND, hour(n + 1) - to_early * MICROSECOND)
        with ledger.transaction(force_rollback=True):
            planned = effects(ledger, operation, *bounds)
            assert operate(ledger, operation, *bounds) == int(changes)
            assert (statuses(ledger) != STATUSES) is changes
        if not changes:
            assert [row[2] for row in planned] == ["only a part of its window lies in the range"]


def test_every_change_keeps_the_reason_and_who_gave_it(ledger, orders):
    reason = "the source's \"shop\" was closed; -- it's \\ over"
    operate(ledger, "waive", hour(3), hour(4), reason)
    operate(ledger, "reopen", hour(2), hour(4), reason)
    operate(ledger, "expire", hour(1), hour(2), reason)
    found = rows(
        ledger,
        "select window_start_time, event, from_status, to_status, generation, attempt, detail, actor = session_user "
        "from record_ledger.record_events where detail ->> 'reason' = %s order by 1, event_no",
        [reason],
    )
    detail = {"reason": reason}
    lease = {**detail, "lease_expires_at": "2026-11-22T05:30:00+00:00"}
    assert found == [
        (hour(1), "lease_expired", "IN_PROGRESS", "PENDING", 1, 1, lease, True),
        (hour(2), "reopened", "COMPLETED", "PENDING", 2, 0, detail, True),
        (hour(3), "waived", "FAILED", "WAIVED", 1, 1, detail, True),
        (hour(3), "reopened", "WAIVED", "PENDING", 2, 0, detail, True),
    ]
    assert record_of(ledger, hour(3))["last_detail"] == detail


def test_without_a_reason_nothing_is_done(ledger, orders):
    before = snapshot(ledger)
    for reason in (None, "", " ", "\n\t "):
        for operation in BECOMES:
            with refused("RL005", "reason") as caught:
                operate(ledger, operation, *EVERYTHING, reason)
            assert "Say why" in caught.value.diag.message_hint
    assert snapshot(ledger) == before


def test_an_empty_range_is_an_error(ledger, orders):
    for bounds, says in [
        ((None, hour(1)), "from_time: null"),
        ((hour(1), None), "to_time: null"),
        ((hour(1), hour(0)), "the range is empty"),
        ((hour(1), hour(1)), "the range is empty"),
        (
            ("infinity", "-infinity"),
            r"to_time \(-infinity\) must be later than from_time \(infinity\)",
        ),
    ]:
        for operation in BECOMES:
            for call in (operate, effects):
                with refused("RL005", says) as caught:
                    call(ledger, operation, *bounds)
                assert caught.value.diag.message_hint


def test_an_unknown_pipeline_is_an_error_with_near_names(ledger, orders):
    for operation in BECOMES:
        for call in (operate, effects):
            with refused("RL002", "ordrs") as caught:
                call(ledger, operation, *EVERYTHING, pipeline_id="ordrs")
            assert PIPELINE in caught.value.diag.message_hint
            with refused("RL005", "pipeline_id"):
                call(ledger, operation, *EVERYTHING, pipeline_id=None)


def test_an_operator_needs_read_committed(ledger, orders, connect):
    strict = connect(autocommit=False)
    for statement in (
        "select record_ledger.waive_records('orders', '-infinity', 'infinity', 'x')",
        "select record_ledger.backfill_records('orders', '2026-11-01Z')",
        "select record_ledger.pause_pipeline('orders', 'x')",
    ):
        strict.execute("set transaction isolation level repeatable read")
        with refused("RL005", "repeatable read"):
            strict.execute(statement)
        strict.rollback()


def test_what_is_waived_blocks_nothing_any_more(ledger, clock, config):
    given = one_of_each(ledger, clock, config)
    register(ledger, given | {"depends_on_past": True})
    operate(ledger, "reopen", hour(4), hour(5))
    assert verdict_of(ledger, hour(4))[0] == "BLOCKED"
    operate(ledger, "waive", hour(0), hour(4))
    operate(ledger, "expire", *EVERYTHING)
    operate(ledger, "waive", hour(1), hour(2))
    assert record_of(ledger, hour(1))["retry_at"] is None
    assert verdict_of(ledger, hour(4))[0] == "READY"
