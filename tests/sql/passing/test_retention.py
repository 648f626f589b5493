"""How long source data is kept: what is at risk, what is lost, and who says so."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.sql.support import (
    MICROSECOND,
    archive,
    audit,
    backfill,
    complete,
    cycle,
    effects,
    events,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    store,
    verdict_of,
    writes_nothing,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def keeping(ledger, clock, config):
    """Registers the pipeline: hourly windows from midnight on, whose source is kept for 4 h."""

    def register_it(**changes):
        given = config(
            "orders",
            **{
                "timezone": "UTC", "x_time_back": "0s", "granularity": "1h", "start_at": "2026-11-22",
                "source_retention": "4h", "retry_delay": "30m", "lease": "2h", **changes,
            },
        )  # fmt: skip
        register(ledger, given)
        return given

    clock.set(START + 3 * HOUR)
    return register_it


def at_risk(ledger):
    return rows(
        ledger,
        "select window_start_time, status, source_kept_until, time_left, is_at_risk "
        "from record_ledger.records_at_risk where pipeline_id = 'orders' order by 1",
    )


def test_a_record_is_lost_from_the_very_instant_on_at_which_its_source_data_goes(
    ledger, clock, keeping
):
    keeping()
    store(ledger, "orders")
    clock.set(START + 5 * HOUR - MICROSECOND)
    assert verdict_of(ledger, START)[0] == "READY"
    clock.set(START + 5 * HOUR)
    verdict, reason, ready_at = verdict_of(ledger, START)
    assert (verdict, ready_at) == ("LOST", None)
    assert reason == (
        "window 2026-11-22T00:00:00+00:00 is lost: its source data was kept until "
        "2026-11-22T05:00:00+00:00, 4h after its end; the next pass waives it"
    )
    assert (
        one(ledger, "select window_start_time from record_ledger.oldest_valid_record")
        == START + HOUR
    )
    assert pass_valid(ledger, "orders").start == START + HOUR
    found = record_of(ledger, START)
    assert (found["status"], found["last_event"]) == ("WAIVED", "waived")
    assert found["last_detail"] == {
        "reason": "lost",
        "source_kept_until": "2026-11-22T05:00:00+00:00",
    }
    detail = one(ledger, "select detail from record_ledger.pipeline_events where event = 'lost'")
    assert detail == {
        "count": 1, "from_time": "2026-11-22T00:00:00+00:00", "to_time": "2026-11-22T01:00:00+00:00",
    }  # fmt: skip
    assert one(ledger, "select lost_count from record_ledger.pipeline_progress") == 1
    audit(ledger)


def test_the_view_of_what_is_at_risk_counts_down_and_has_windows_that_are_not_stored(
    ledger, clock, keeping
):
    keeping(at_risk_within="1h")
    store(ledger, "orders")
    clock.set(START + 4 * HOUR - MICROSECOND)
    first = at_risk(ledger)[0]
    assert first == (START, "PENDING", START + 5 * HOUR, HOUR + MICROSECOND, False)
    clock.set(START + 4 * HOUR)
    assert [row[1:] for row in at_risk(ledger)] == [
        ("PENDING", START + 5 * HOUR, HOUR, True),
        ("PENDING", START + 6 * HOUR, 2 * HOUR, False),
        ("PENDING", START + 7 * HOUR, 3 * HOUR, False),
        (None, START + 8 * HOUR, 4 * HOUR, False),
    ]
    assert one(ledger, "select at_risk_count from record_ledger.pipeline_progress") == 1
    clock.set(START + 9 * HOUR)
    assert one(ledger, "select at_risk_count from record_ledger.pipeline_progress") == 6
    on_pipeline(ledger, "retire")
    assert at_risk(ledger) == []


def test_by_default_the_last_quarter_is_at_risk(ledger, clock, keeping):
    keeping(source_retention="8d")
    assert one(ledger, "select at_risk_within from record_ledger.pipelines") == timedelta(days=2)


def test_without_a_retention_nothing_is_at_risk_or_lost(ledger, clock, keeping):
    keeping(source_retention=...)
    store(ledger, "orders")
    clock.advance("9999d")
    assert at_risk(ledger) == []
    assert pass_valid(ledger, "orders").start == START


def test_a_claim_in_progress_is_left_to_its_holder(ledger, clock, keeping):
    keeping(lease="9h")
    token = cycle(ledger, keeping(lease="9h")).token
    clock.set(START + 6 * HOUR)
    pass_valid(ledger, "orders")
    assert record_of(ledger, START)["status"] == "IN_PROGRESS"
    complete(ledger, token)
    assert record_of(ledger, START)["status"] == "COMPLETED"


def test_a_lease_that_runs_out_after_the_deadline_ends_in_a_lost_record(ledger, clock, keeping):
    given = keeping()
    cycle(ledger, given, "a run")
    clock.set(START + 5 * HOUR)
    verdict, reason, ready_at = verdict_of(ledger, START)
    assert (verdict, ready_at) == ("LEASE_EXPIRED", None)
    assert reason.endswith(
        "the next pass waives it as lost: its source data was kept until 2026-11-22T05:00:00+00:00"
    )
    again = cycle(ledger, given, "a run")
    assert again.verdict == "ALREADY_DONE"
    assert events(ledger, START) == ["passed", "lease_expired", "waived"]
    audit(ledger)


def test_a_failed_record_is_lost_too_and_holds_up_no_later_one(ledger, clock, keeping):
    given = keeping(depends_on_past=True, max_attempts=1)
    fail(ledger, cycle(ledger, given).token)
    assert cycle(ledger, given).verdict == "BLOCKED"
    clock.set(START + 5 * HOUR - MICROSECOND)
    assert cycle(ledger, given).verdict == "BLOCKED"
    planned = one(ledger, "select starts_at from record_ledger.plan_runs('orders', 1)")
    clock.set(START + 5 * HOUR)
    assert planned == clock.now()
    assert verdict_of(ledger, START + HOUR)[0] == "READY"
    assert cycle(ledger, given).start == START + HOUR
    assert record_of(ledger, START)["status"] == "WAIVED"


def test_a_backoff_takes_at_most_half_of_the_time_that_is_left(ledger, clock, keeping):
    given = keeping(retry_delay="1d")
    clock.set(START + 4 * HOUR)
    fail(ledger, cycle(ledger, given).token)
    assert verdict_of(ledger, START)[::2] == ("BACKOFF", START + 4.5 * HOUR)
    clock.set(START + 4.5 * HOUR)
    token = cycle(ledger, given).token
    clock.set(START + 5 * HOUR - 3 * MICROSECOND)
    fail(ledger, token)
    # Less than two seconds: immediately.
    assert verdict_of(ledger, START)[0] == "READY"


def test_lost_records_beyond_those_of_one_pass_are_skipped_and_wait_for_the_next(
    ledger, clock, keeping
):
    given = keeping(granularity="1m")
    # Stored, then skipped: 1,500 of them are lost at the same time.
    clock.set(START + timedelta(minutes=1500))
    store(ledger, "orders")
    clock.set(START + timedelta(minutes=1500) + 4 * HOUR)
    lost = "select count(*) from record_ledger.pipeline_records where status = 'WAIVED'"
    answer = cycle(ledger, given)
    assert answer.start == START + timedelta(minutes=1500)
    assert one(ledger, lost) == 1000
    # The marks of passes step over none of the others: they are there when more is kept after all.
    more = {**given, "source_retention": "100d"}
    assert cycle(ledger, more).start < START + timedelta(minutes=1500)
    cycle(ledger, given)
    assert one(ledger, lost) == 1499
    audit(ledger)


def test_an_exit_that_has_nothing_to_waive_writes_nothing(ledger, clock, keeping):
    keeping()
    store(ledger, "orders")
    clock.set(START + 9 * HOUR)
    assert pass_valid(ledger, "orders").verdict == "NO_RECORDS"
    (answer,) = writes_nothing(
        ledger, "select verdict from record_ledger.pass_valid_record('orders', 'a run')"
    )
    assert answer == ("NO_RECORDS",)


def test_a_lost_record_is_reopened_only_when_more_is_kept(ledger, clock, keeping):
    keeping()
    store(ledger, "orders")
    clock.set(START + 5 * HOUR)
    complete(ledger, pass_valid(ledger, "orders").token)
    clock.set(START + 6 * HOUR)
    whole = (START, START + 2 * HOUR)
    assert effects(ledger, "reopen", *whole) == [
        ("left alone", "WAIVED", "its source data is gone (source_retention)", 1, START, START + HOUR),
        ("left alone", "COMPLETED", "its source data is gone (source_retention)", 1, START + HOUR, START + 2 * HOUR),
    ]  # fmt: skip
    assert operate(ledger, "reopen", *whole) == 0
    keeping(source_retention="5h")
    assert operate(ledger, "reopen", *whole) == 1
    keeping(source_retention="5h1us")
    assert operate(ledger, "reopen", *whole) == 1
    assert pass_valid(ledger, "orders").start == START
    audit(ledger)


def test_what_is_backfilled_too_late_is_said_to_be_lost_and_waived(ledger, clock, keeping):
    keeping()
    store(ledger, "orders")
    foreseen = effects(ledger, "backfill", START - HOUR)
    assert [row[2:4] for row in foreseen if row[0] == "changed"] == [
        ("is added, and its source data is gone: the next pass waives it as lost", 23),
        ("is added before the first window", 1),
    ]
    assert backfill(ledger, START - HOUR) == 24
    assert pass_valid(ledger, "orders").start == START - HOUR
    assert archive(ledger, START - HOUR) == 23
    audit(ledger)


def test_a_paused_pipeline_loses_records_as_its_leases_expire(ledger, clock, keeping):
    keeping()
    store(ledger, "orders")
    on_pipeline(ledger, "pause")
    clock.set(START + 5 * HOUR)
    assert pass_valid(ledger, "orders").verdict == "PAUSED"
    assert record_of(ledger, START)["status"] == "WAIVED"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_retention": "1d"}, 'source_retention: "1d" is not longer than x_time_back "1d"'),
        ({"source_retention": "7"}, 'source_retention: "7" is not a valid duration'),
        ({"at_risk_within": "1h"}, 'at_risk_within: "1h" needs a source_retention'),
        ({"source_retention": "2d", "at_risk_within": "49h"}, 'at_risk_within: "49h" is longer than source_retention'),
        ({"pass_order": "newest"}, 'pass_order: "newest" is neither "oldest" nor "deadline"'),
        ({"pass_order": 1}, 'pass_order: 1 is neither "oldest" nor "deadline"'),
        ({"pass_order": "deadline"}, 'pass_order: "deadline" needs a source_retention'),
        (
            {"pass_order": "deadline", "source_retention": "2d", "depends_on_past": True},
            'pass_order: "deadline" cannot be combined with depends_on_past',
        ),
        ({"recount_ages": "1h"}, 'recount_ages: "1h" is not a list'),
        ({"recount_ages": ["1h", 2]}, "recount_ages: 2 is not a duration"),
        ({"recount_ages": ["0s"]}, 'recount_ages: "0s" is not a duration'),
        ({"recount_ages": ["1h"] * 101}, "recount_ages: 101 ages are too many"),
        ({"reopen_budget": -1}, "reopen_budget: -1 is not a whole number"),
        ({"reopen_budget": 1.5}, "reopen_budget: 1.5 is not a whole number"),
    ],
)  # fmt: skip
def test_a_retention_that_makes_no_sense_is_a_config_error(ledger, config, changes, message):
    with refused("RL001", message):
        register(ledger, config("orders", **changes))


def test_ages_are_sorted_and_defaults_are_filled_in(ledger, config):
    register(ledger, config("orders", recount_ages=["7d", "90m", "7d"], reopen_budget=0))
    register(ledger, config("others"))
    found = rows(
        ledger,
        "select recount_ages, reopen_budget, source_retention, at_risk_within, pass_order "
        "from record_ledger.pipelines order by pipeline_id",
    )
    assert found == [
        ([1.5 * HOUR, 168 * HOUR], 0, None, None, "oldest"),
        ([HOUR, 24 * HOUR, 168 * HOUR], 10, None, None, "oldest"),
    ]
