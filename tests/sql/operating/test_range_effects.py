"""range_effects foretells what an operation does: it is asked, then the operation is done."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.statuses import EVERYTHING, STATUSES, hour, one_of_each
from tests.sql.support import (
    PIPELINE,
    archive,
    backfill,
    effects,
    on_pipeline,
    one,
    operate,
    refused,
    register,
    rows,
    windows,
    writes_nothing,
)
from tests.support.parts import in_parts

PARTLY = "only a part of its window lies in the range"
WHY = {
    "waive": ["becomes WAIVED", "a run holds it", "is COMPLETED already", "becomes WAIVED", "is WAIVED already"],
    "reopen": ["is PENDING already", "a run holds it", *["becomes PENDING, one generation later"] * 3],
    "expire": ["no run holds it", "its claim ends; becomes PENDING after a backoff", *["no run holds it"] * 3],
    "cancel": [
        "no run holds it", "its claim is cancelled: the record fails when its run stops or its lease ends",
        *["no run holds it"] * 3,
    ],
}  # fmt: skip


@pytest.fixture
def orders(ledger, clock, config):
    one_of_each(ledger, clock, config)
    return PIPELINE


@pytest.mark.parametrize("operation", WHY)
def test_every_status_has_its_sentence(ledger, orders, operation):
    found = effects(ledger, operation, *EVERYTHING)
    assert sorted(found, key=lambda row: row[4]) == [
        (
            "changed" if "becomes" in why or "is cancelled:" in why else "left alone",
            status,
            why,
            1,
            hour(n),
            hour(n + 1),
        )
        for n, (status, why) in enumerate(zip(STATUSES, WHY[operation], strict=True))
    ]
    assert [row[0] for row in found] == sorted(row[0] for row in found)


def test_a_cancelled_claim_has_sentences_of_its_own(ledger, orders):
    assert operate(ledger, "cancel", hour(1), hour(2)) == 1
    assert effects(ledger, "cancel", hour(1), hour(2)) == [
        ("left alone", "IN_PROGRESS", "its claim is cancelled already", 1, hour(1), hour(2))
    ]
    assert operate(ledger, "cancel", hour(1), hour(2)) == 0
    assert effects(ledger, "expire", hour(1), hour(2)) == [
        ("changed", "IN_PROGRESS", "its claim ends; becomes FAILED: it was cancelled", 1, hour(1), hour(2))
    ]  # fmt: skip
    for operation in ("waive", "reopen"):
        assert [row[:3] for row in effects(ledger, operation, hour(1), hour(2))] == [
            ("left alone", "IN_PROGRESS", "a run holds it")
        ]


def test_windows_that_only_partly_lie_in_the_range_are_reported(ledger, orders):
    assert effects(ledger, "waive", hour(0.5), hour(2.5)) == [
        ("left alone", "PENDING", PARTLY, 1, hour(0), hour(1)),
        ("left alone", "IN_PROGRESS", "a run holds it", 1, hour(1), hour(2)),
        ("left alone", "COMPLETED", PARTLY, 1, hour(2), hour(3)),
    ]
    assert effects(ledger, "waive", hour(3.2), hour(3.4)) == [
        ("left alone", "FAILED", PARTLY, 1, hour(3), hour(4))
    ]
    assert effects(ledger, "waive", hour(5), hour(9)) == []
    assert effects(ledger, "waive", "-infinity", hour(0)) == []


def test_archived_records_are_left_alone_and_reported(ledger, orders):
    operate(ledger, "waive", hour(0), hour(1))
    operate(ledger, "expire", hour(1), hour(2))
    operate(ledger, "waive", hour(1), hour(2))
    assert archive(ledger, hour(3)) == 3
    archived = [
        ("left alone", "COMPLETED", "is archived", 1, hour(2), hour(3)),
        ("left alone", "WAIVED", "is archived", 2, hour(0), hour(2)),
    ]
    for operation in WHY:
        assert sorted(effects(ledger, operation, hour(0), hour(3))) == archived
    found = effects(ledger, "reopen", *EVERYTHING)
    assert [row[:4] for row in found] == [
        *[("changed", status, WHY["reopen"][3], 1) for status in ("FAILED", "WAIVED")],
        ("left alone", "WAIVED", "is archived", 2),
        ("left alone", "COMPLETED", "is archived", 1),
    ]
    assert operate(ledger, "reopen", *EVERYTHING) == 2
    # Only those that reach into the range.
    assert effects(ledger, "waive", hour(2.5), hour(3)) == archived[:1]
    assert effects(ledger, "waive", "-infinity", hour(0)) == []
    # What a backfill adds nothing before.
    assert {row[2] for row in effects(ledger, "backfill", hour(3))} == {"is stored already"}


def test_a_backfill_is_reported_with_what_is_stored_already(ledger, orders):
    added = ("changed", "PENDING", "is added before the first window", 24, hour(-24), hour(0))
    stored = [
        ("left alone", status, "is stored already", 1, hour(n), hour(n + 1))
        for n, status in enumerate(STATUSES)
    ]
    assert effects(ledger, "backfill", hour(-1)) == [added, *stored]
    assert effects(ledger, "backfill", hour(-1), hour(1)) == [added, stored[0]]
    assert effects(ledger, "backfill", hour(2.5)) == stored[2:]
    with refused("RL005", "the range is empty"):
        effects(ledger, "backfill", hour(-1), hour(-2))


def test_it_reads_only(ledger, orders):
    for operation in (*WHY, "backfill"):
        writes_nothing(
            ledger,
            "select * from record_ledger.range_effects(%s, %s, %s, 'infinity')",
            [operation, orders, hour(-1)],
        )


def test_another_operation_is_an_error(ledger, orders):
    for operation in (None, "", "Waive", "waive_records", "'; drop schema record_ledger; --"):
        with refused("RL005", "is not one of waive, reopen, expire, cancel and backfill"):
            effects(ledger, operation, *EVERYTHING)


bounds = st.tuples(st.integers(-26 * 60, 7 * 60), st.integers(-1, 1)).map(
    lambda at: hour(at[0] / 60) + timedelta(microseconds=at[1])
) | st.integers(-1, 6).map(hour)


@in_parts(2)
@settings(max_examples=20)
@given(
    operation=st.sampled_from([*WHY, "backfill"]),
    ends=st.tuples(bounds, bounds),
    retired=st.booleans(),
)
def test_what_was_foretold_is_what_happens(ledger, clock, config, part, operation, ends, retired):
    if one(ledger, "select count(*) from record_ledger.pipelines") == 0:
        one_of_each(ledger, clock, config)
        backfill(ledger, hour(-3))
    from_time, to_time = min(ends), max(ends) + timedelta(microseconds=1)
    states = "select window_start_time, window_end_time, status, last_event from record_ledger.pipeline_records"
    with ledger.transaction(force_rollback=True):
        if retired and operation != "backfill":
            on_pipeline(ledger, "retire")
        foretold = effects(ledger, operation, from_time, to_time)
        before = set(rows(ledger, states))
        if operation == "backfill":
            changed = backfill(ledger, from_time)
        else:
            changed = operate(ledger, operation, from_time, to_time)
        after = set(rows(ledger, states))

    assert changed == sum(row[3] for row in foretold if row[0] == "changed")
    touched = after - before
    assert len(touched) == changed
    for effect, status, reason, count, first, last in foretold:
        if effect == "changed":
            subjects = [
                row for row in (touched if operation == "backfill" else before - after)
                if row[2] == status and first <= row[0] and row[1] <= last
            ]  # fmt: skip
            assert len(subjects) == count
            if "becomes" in reason:
                assert {row[2] for row in touched if row[0] in {s[0] for s in subjects}} == {
                    reason.split("becomes ")[1].split(",")[0].split(" ")[0].rstrip(":")
                }
    # Together they tell of every record that the range touches.
    foretold_count = sum(row[3] for row in foretold)
    inside = [row for row in before if row[0] < to_time and row[1] > from_time]
    assert foretold_count == len(inside) + (changed if operation == "backfill" else 0)


def test_times_are_read_as_people_of_the_pipeline_write_them(ledger, clock, config):
    clock.set("2026-11-22T20:00:00Z")
    register(ledger, config(PIPELINE))
    query = "select record_ledger.pipeline_time(%s, %s)"
    for text, instant in [
        ("2026-11-22", "2026-11-22T08:00:00+00:00"),
        ("2026-11-22T06:00", "2026-11-22T14:00:00+00:00"),
        ("2026-11-22 06:00:00.000001", "2026-11-22T14:00:00.000001+00:00"),
        ("2026-11-22T06:00Z", "2026-11-22T06:00:00+00:00"),
        # 02:30 in spring happens not at all.
        ("2026-03-08T02:30", "2026-03-08T10:00:00+00:00"),
    ]:
        assert one(ledger, query, [PIPELINE, text]) == datetime.fromisoformat(instant)
    # 01:30 in autumn happens twice.
    with refused("RL005", "01:30:00-07:00 and 2026-11-01T01:30:00-08:00"):
        one(ledger, query, [PIPELINE, "2026-11-01T01:30"])
    for text in (None, "", "yesterday", "infinity", "01/02/2026", "2026-13-01", "2026-11-22'; --"):
        with refused("RL005", "is not a valid time") as caught:
            one(ledger, query, [PIPELINE, text])
        assert "ISO 8601" in caught.value.diag.message_hint
    with refused("RL002", "ordrs"):
        one(ledger, query, ["ordrs", "2026-11-22"])
    with refused("RL005", "pipeline_id"):
        one(ledger, query, [None, "2026-11-22"])
    assert windows(ledger) == []
