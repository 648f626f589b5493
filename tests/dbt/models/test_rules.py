"""Each model of violations finds what it is there to find, where it is, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.dbt.states import live_through_everything
from tests.dbt.support import RULES, WITHOUT_UNIT_TESTS, rows_of

# Only the owner can plant anything, and only with the ledger's guards away.
UNGUARD = """
alter table record_ledger.record disable trigger user;
alter table record_ledger.record_event disable trigger user;
alter table record_ledger.claim disable trigger user;
"""
UNCHAIN = """
alter table record_ledger.record drop constraint window_follows_the_previous_one;
"""
# The second record of the pipeline 'lively' has seen most.
RECORD = "{0}.pipeline_id = 'lively' and {0}.window_start_time = '2026-10-31 06:00-07'"
HISTORY = [
    "passed", "released", "passed", "failed", "passed", "failed", "waived", "reopened", "passed",
    "failed",
]  # fmt: skip


@pytest.fixture
def plant(lived_in):
    def execute(*statements):
        for statement in (UNGUARD, *statements):
            lived_in.execute(statement)

    return execute


@pytest.fixture
def found(lived_in):
    """Returns the rows of one model, all others being empty."""

    def violations_of(model):
        others = {rule: rows_of(lived_in, rule) for rule in RULES if rule != model}
        assert not any(others.values()), others
        return rows_of(lived_in, model)

    return violations_of


def test_a_window_that_is_missing_is_a_gap(plant, found):
    plant(
        UNCHAIN,
        "delete from record_ledger.record where pipeline_id = 'days' and target_day = '2026-04-20'",
    )
    (gap,) = found("window_gaps")
    assert gap["pipeline_id"] == "days"
    assert gap["gap_length"] == timedelta(days=1)
    assert gap["gap_start_time"].isoformat() == "2026-04-19T21:00:00-07:00"  # Santiago's midnight
    assert gap["gap_end_time"] - gap["gap_start_time"] == timedelta(days=1)


def test_a_window_that_ends_too_late_overlaps_with_the_next(plant, found):
    plant(
        UNCHAIN,
        "update record_ledger.record set window_end_time = window_end_time + interval '1 us' "
        "where pipeline_id = 'days' and target_day = '2026-04-20'",
    )
    (overlap,) = found("window_overlaps")
    assert overlap["overlap_length"] == timedelta(microseconds=1)
    assert overlap["window_start_time"] == overlap["covered_until"] - timedelta(microseconds=1)


@pytest.mark.parametrize(
    "change",
    [
        "lease_expires_at = null",
        "claim_token = null",
        "retry_at = updated_at",
    ],
)
def test_a_record_in_progress_without_what_it_needs_is_a_mismatch(plant, lived_in, change):
    plant(f"update record_ledger.record set {change} where pipeline_id = 'held'")
    (row,) = rows_of(lived_in, "claim_mismatches")
    assert (row["pipeline_id"], row["status"]) == ("held", "IN_PROGRESS")


@pytest.mark.parametrize("change", ["claim_token = 1", "run_id = 'x'", "lease_expires_at = now()"])
def test_a_pending_record_with_a_claim_is_a_mismatch(plant, found, change):
    plant(f"update record_ledger.record set {change} where pipeline_id = 'settling'")
    (row,) = found("claim_mismatches")
    assert (row["pipeline_id"], row["status"]) == ("settling", "PENDING")


def test_a_run_with_two_records_is_a_conflict(plant, found):
    plant("update record_ledger.record_event set run_id = 'a' where run_id = 'b'")
    conflicts = {row["pipeline_id"]: row["record_count"] for row in found("run_conflicts")}
    assert conflicts == {"lively": 2}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("update record as x set status = 'COMPLETED' where {it}", {("record_status", 10)}),
        ("update record as x set generation = 1 where {it}", {("record_generation", 10)}),
        ("update record as x set attempt = 2 where {it}", {("record_attempt", 10)}),
        ("update record as x set last_event = 'passed' where {it}", {("record_event", 10)}),
        (
            "delete from record_event as x where {it} and event_no = 10",
            {("record_status", 9), ("record_event", 9), ("record_claim", 9)},
        ),
        (
            "delete from record_event as x where {it} and event_no = 2",
            {("event_no", number) for number in range(3, 11)}
            | {("from_status", 3), ("attempt", 3), ("claim", 3)},
        ),
        (
            "update record_event as x set from_status = 'FAILED' where {it} and event_no = 3",
            {("from_status", 3)},
        ),
        (
            "update record_event as x set generation = 2 where {it} and event_no = 7",
            {("generation", 7), ("generation", 8)},
        ),
        (
            "update record_event as x set attempt = 2 where {it} and event_no = 3",
            {("attempt", 3), ("attempt", 4)},
        ),
        (
            "update record_event as x set claim_token = -1 where {it} and event_no = 4",
            {("claim", 4)},
        ),
        (
            (
                "update record_event as x set claim_token = y.claim_token from record_event as y "
                "where {it_too} and y.event_no = 1 and {it} and x.event_no in (3, 4)"
            ),
            {("claim_token", 1), ("claim_token", 3)},
        ),
        (
            "update record_event as x set event = 'passed' where {it} and event_no = 4",
            {("attempt", 4), ("claim", 4), ("claim", 5), ("claim_token", 3), ("claim_token", 4)},
        ),
    ],
)
def test_a_history_that_does_not_add_up_is_found_where_it_does_not(
    plant, found, lived_in, change, expected
):
    events = lived_in.execute(
        "select array_agg(event order by event_no) from record_ledger.record_events as x "
        f"where {RECORD.format('x')}"
    ).fetchone()
    assert events == (HISTORY,)
    lived_in.execute("set local search_path = record_ledger, pg_catalog")
    plant(change.format(it=RECORD.format("x"), it_too=RECORD.format("y")))

    rows = found("event_mismatches")
    assert {(row["rule"], row["event_no"]) for row in rows} == expected, rows
    assert {row["pipeline_id"] for row in rows} == {"lively"}


def test_events_of_no_record_are_a_mismatch(plant, lived_in):
    plant(UNCHAIN, f"delete from record_ledger.record as x where {RECORD.format('x')}")
    (row,) = rows_of(lived_in, "event_mismatches")
    assert (row["rule"], row["event_no"], row["found"]) == ("record", 10, "no record")


@pytest.mark.slow
def test_a_violation_fails_the_build_and_names_the_rule(dbt, ledger, routines):
    live_through_everything(routines)
    ledger.execute(UNGUARD)
    ledger.execute(UNCHAIN)
    ledger.execute(
        "delete from record_ledger.record where pipeline_id = 'days' and target_day = '2026-04-20'"
    )
    ledger.execute(
        "update record_ledger.record set status = 'COMPLETED' where pipeline_id = 'settling'"
    )

    outcome = dbt("build", *WITHOUT_UNIT_TESTS)

    assert not outcome.success
    assert outcome.named("fail") == {"is_empty_window_gaps_", "is_empty_event_mismatches_"}
    assert "Got 1 result, configured to fail if != 0" in outcome.messages["is_empty_window_gaps_"]
