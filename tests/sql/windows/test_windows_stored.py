"""Stored windows: no gap and no overlap after any change; the schema itself refuses either."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.sql.support import (
    PIPELINE,
    audit,
    cycle,
    one,
    pass_valid,
    refused,
    register,
    rows,
    store,
    windows,
    writes_nothing,
)

UTC = timezone.utc


@pytest.fixture
def utc_pipeline(ledger, clock, config):
    """A pipeline of hours in UTC without settling time, from 2026-11-22 on."""
    clock.set("2026-11-22T03:30:00Z")
    register(ledger, config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h"))
    return PIPELINE


def test_the_first_window_starts_at_the_first_instant_of_the_target_day(ledger, clock, config):
    # A day before noon in Los Angeles is the 21st, whose first instant is 08:00 UTC.
    clock.set("2026-11-22T20:00:00Z")
    answer = cycle(ledger, config(PIPELINE))
    assert answer.record["window_start_time"] == "2026-11-21T00:00:00-08:00"
    assert answer.record["target_day"] == "2026-11-21"


def test_due_is_a_window_that_began_before_now_less_x_time_back_to_the_microsecond(
    ledger, clock, utc_pipeline
):
    clock.set("2026-11-22T00:00:00Z")
    # start_at is absent and nothing is stored: the first window starts right now, so is not due.
    assert store(ledger, utc_pipeline) == 0
    clock.advance("1us")
    assert store(ledger, utc_pipeline) == 1
    clock.set("2026-11-22T01:00:00Z")
    assert store(ledger, utc_pipeline) == 0
    assert rows(ledger, "select * from record_ledger.new_windows(%s)", [utc_pipeline]) == []
    clock.advance("1us")
    assert len(rows(ledger, "select * from record_ledger.new_windows(%s)", [utc_pipeline])) == 1
    assert store(ledger, utc_pipeline) == 1
    assert store(ledger, utc_pipeline) == 0


def test_a_pipeline_on_time_has_exactly_one_pending_record_that_is_not_stable(
    ledger, clock, utc_pipeline
):
    store(ledger, utc_pipeline)
    for _ in range(5):
        clock.advance("1h")
        store(ledger, utc_pipeline)
        assert (
            one(
                ledger,
                "select count(*) from record_ledger.record_verdicts where verdict = 'UNSTABLE'",
            )
            == 1
        )


def test_a_pipeline_that_was_down_for_a_week_catches_up_by_itself(ledger, clock, utc_pipeline):
    assert store(ledger, utc_pipeline) == 4
    clock.advance("7d")
    assert store(ledger, utc_pipeline) == 7 * 24
    audit(ledger)


def test_new_windows_reads_only_and_gives_what_would_be_stored(ledger, clock, utc_pipeline):
    query = "select window_start_time, window_end_time from record_ledger.new_windows(%s)"
    planned = writes_nothing(ledger, query, [utc_pipeline])
    assert windows(ledger) == []
    store(ledger, utc_pipeline)
    assert windows(ledger) == planned


def test_new_windows_answers_for_any_instant_and_any_number(ledger, clock, utc_pipeline):
    def planned(*arguments):
        return rows(
            ledger,
            "select * from record_ledger.new_windows(%s, %s, %s)",
            [utc_pipeline, *arguments],
        )

    later = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    start = datetime(2026, 11, 22, tzinfo=UTC)
    assert [row[1] for row in planned(later, None)] == [
        start + timedelta(hours=n) for n in range(5)
    ]
    assert planned(later, 2) == planned(later, None)[:2]
    assert planned(later, 0) == []
    assert planned(start, None) == []
    assert planned(later, 1) == [
        (start.date(), start, start + timedelta(hours=1), "1h"),
    ]
    with refused("RL005", "max_windows.*-1"):
        planned(later, -1)
    for wrong in ("infinity", "-infinity", None):
        with refused("RL005", f"as_of: {wrong or 'null'} is not a valid instant"):
            planned(wrong, 1)


def test_new_windows_of_an_unknown_pipeline_is_an_error_with_near_names(ledger, utc_pipeline):
    with refused("RL002", "ordrs") as caught:
        rows(ledger, "select * from record_ledger.new_windows('ordrs')")
    assert PIPELINE in caught.value.diag.message_hint
    with refused("RL005", "pipeline_id"):
        rows(ledger, "select * from record_ledger.new_windows(null)")


def test_ten_thousand_windows_are_stored_at_most_and_the_rest_by_the_next_calls(
    ledger, clock, config
):
    clock.set("2026-11-22T03:30:00Z")
    register(
        ledger,
        config(
            PIPELINE,
            timezone="UTC",
            x_time_back="0s",
            granularity="1m",
            start_at="2026-11-07T12:00Z",
        ),
    )
    due = 14 * 1440 + 15 * 60 + 30
    planned = one(ledger, "select count(*) from record_ledger.new_windows(%s)", [PIPELINE])
    assert planned == due
    assert store(ledger, PIPELINE) == 10_000
    assert store(ledger, PIPELINE) == 10_000
    assert store(ledger, PIPELINE) == due - 20_000
    assert store(ledger, PIPELINE) == 0
    audit(ledger)


def test_a_whole_cycle_also_stores_ten_thousand_at_most_and_passes_the_oldest(
    ledger, clock, config
):
    clock.set("2026-11-22T00:00:00Z")
    answer = cycle(
        ledger,
        config(
            PIPELINE, timezone="UTC", x_time_back="0s", granularity="30s", start_at="2026-11-01"
        ),
    )
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 10_000
    assert answer.start == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"granularity": "30m"}, [(4, 4.5), (4.5, 5)]),
        ({"granularity": "3h"}, [(4, 7)]),
        ({"granularity": "1d"}, [(4, 24)]),
        ({"granularity": "7h"}, [(4, 11)]),
        # Midnight in Kathmandu is 18:15 UTC.
        ({"timezone": "Asia/Kathmandu", "granularity": "1d"}, [(4, 18.25)]),
    ],
)
def test_a_changed_granularity_or_zone_applies_from_the_last_stored_end_on(
    ledger, clock, config, utc_pipeline, change, expected
):
    store(ledger, utc_pipeline)
    before = windows(ledger)
    register(
        ledger,
        config(PIPELINE, **{"timezone": "UTC", "x_time_back": "0s", "granularity": "1h"} | change),
    )
    clock.set("2026-11-22T04:40:00Z")
    store(ledger, utc_pipeline)
    assert windows(ledger)[: len(before)] == before
    day = datetime(2026, 11, 22, tzinfo=UTC)
    assert windows(ledger)[len(before) :] == [
        (day + timedelta(hours=start), day + timedelta(hours=end)) for start, end in expected
    ]
    clock.advance("3d")
    store(ledger, utc_pipeline)
    audit(ledger)


def test_start_at_is_ignored_once_the_pipeline_has_records(ledger, clock, config, utc_pipeline):
    store(ledger, utc_pipeline)
    before = windows(ledger)
    register(
        ledger,
        config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-01-01"),
    )
    assert store(ledger, utc_pipeline) == 0
    clock.advance("1h")
    store(ledger, utc_pipeline)
    assert windows(ledger)[:-1] == before


def test_a_start_in_the_future_stores_nothing_until_then(ledger, clock, config):
    clock.set("2026-11-22T03:30:00Z")
    answer = cycle(
        ledger,
        config(
            PIPELINE,
            timezone="UTC",
            x_time_back="0s",
            granularity="1h",
            start_at="2026-11-23T00:00Z",
        ),
    )
    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "NO_RECORDS", None)
    assert windows(ledger) == []
    clock.set("2026-11-23T00:00:00.000001Z")
    assert store(ledger, PIPELINE) == 1


INSERT = """
    insert into record_ledger.record (
        pipeline_id, window_start_time, window_end_time, previous_window_start_time, target_day,
        created_at, updated_at
    )
    values ('orders', %s, %s, %s, '2026-11-22', now(), now())
"""


@pytest.mark.parametrize(
    ("start", "end", "previous", "constraint"),
    [
        ("05:00", "06:00", "03:00", "window_follows_the_previous_one"),
        ("03:30", "04:30", "03:00", "window_follows_the_previous_one"),
        ("05:00", "06:00", "04:00", "window_follows_the_previous_one"),
        ("05:00", "06:00", None, "one_first_record_per_pipeline"),
        ("04:00", "04:00", "03:00", "window_ends_after_it_starts"),
        ("04:00", "03:00", "03:00", "window_ends_after_it_starts"),
        ("03:00", "03:30", "02:00", "one_record_per_window_start"),
    ],
    ids=[
        "a gap",
        "an overlap",
        "a false link",
        "a second first record",
        "an empty window",
        "a window that ends before it starts",
        "a second window of the same start",
    ],
)
def test_the_schema_refuses(ledger, utc_pipeline, start, end, previous, constraint):
    store(ledger, utc_pipeline)
    values = [None if t is None else f"2026-11-22T{t}:00Z" for t in (start, end, previous)]
    with pytest.raises(psycopg.errors.IntegrityError) as caught:
        ledger.execute(INSERT, values)
    assert caught.value.diag.constraint_name == constraint
    audit(ledger)


def test_store_new_records_of_an_unknown_or_unnamed_pipeline_is_an_error(ledger, utc_pipeline):
    with refused("RL002", "unknown"):
        store(ledger, "unknown")
    with refused("RL005", "pipeline_id"):
        store(ledger, None)


def test_store_new_records_passes_nothing(ledger, utc_pipeline):
    store(ledger, utc_pipeline)
    assert rows(ledger, "select * from record_ledger.record_events") == []
    assert pass_valid(ledger, utc_pipeline).start == datetime(2026, 11, 22, tzinfo=UTC)
