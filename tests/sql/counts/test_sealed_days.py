"""Sealed days: only windows that are done and tile the local day seal it, for days of any length."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.counts.counting import count
from tests.sql.support import (
    archive,
    audit,
    backfill,
    complete,
    fail,
    one,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    store,
)
from tests.support.parts import in_parts

# (zone, a local date, its hours): days on which clocks change, at midnight in some.
DAYS = {
    "23 h": ("Europe/Berlin", "2026-03-29", 23),
    "25 h": ("Europe/Berlin", "2026-10-25", 25),
    "24 h": ("Asia/Kathmandu", "2026-11-22", 24),
    "midnight comes twice": ("Atlantic/Azores", "2026-10-25", 25),
    "without a midnight": ("America/Santiago", "2026-09-06", 23),
    "without a midnight, on a Friday": ("Africa/Cairo", "2026-04-24", 23),
    "half an hour less": ("Australia/Lord_Howe", "2026-10-04", 23.5),
}


def sealed(ledger, day, pipeline_id="orders"):
    return one(ledger, "select record_ledger.is_day_sealed(%s, %s)", [pipeline_id, day])


def coverage(ledger, day, pipeline_id="orders"):
    found = rows(
        ledger,
        "select to_jsonb(c) from record_ledger.daily_coverage as c where pipeline_id = %s and local_date = %s",
        [pipeline_id, day],
    )
    return found[0][0] if found else None


@pytest.fixture
def day(ledger, clock, config):
    """Stores the windows of a local day and those of the next one, which is not over yet."""

    def stored(zone="UTC", local_date="2026-11-22", **changes):
        register(
            ledger,
            config("orders", **{"timezone": zone, "x_time_back": "0s", "granularity": "5h", "start_at": local_date, **changes}),
        )  # fmt: skip
        end = one(ledger, "select record_ledger.day_start(%s::date + 1, %s)", [local_date, zone])
        clock.set(end + timedelta(hours=6))
        store(ledger, "orders")
        return local_date

    return stored


def load(ledger, **counts):
    answer = pass_valid(ledger, "orders")
    count(ledger, answer, **counts)
    complete(ledger, answer.token)
    return answer.start


@pytest.mark.parametrize("name", DAYS)
def test_a_day_of_any_length_is_sealed_by_its_last_window_and_not_before(ledger, day, name):
    zone, local_date, hours = DAYS[name]
    day(zone, local_date)
    expected = -(-int(hours * 60) // 300)
    for number in range(expected):
        assert sealed(ledger, local_date) is False
        load(ledger, source=10 + number, target=10)
        found = coverage(ledger, local_date)
        assert (found["published_count"], found["open_count"]) == (
            number + 1,
            expected - number - 1,
        )
    assert sealed(ledger, local_date) is True
    assert (found["is_sealed"], found["is_published"], found["window_count"]) == (
        True,
        True,
        expected,
    )
    assert found["day_length"] == found["covered_length"]
    length = one(
        ledger,
        "select extract(epoch from day_length)::float8 / 3600 from record_ledger.daily_coverage where local_date = %s",
        [local_date],
    )
    assert length == hours
    assert found["counts"] == {
        "source": {"rows": sum(range(10, 10 + expected)), "windows": expected},
        "target": {"rows": 10 * expected, "windows": expected},
    }
    tomorrow = date.fromisoformat(local_date) + timedelta(days=1)
    assert (sealed(ledger, tomorrow), coverage(ledger, tomorrow)["is_sealed"]) == (False, False)


def test_a_day_that_is_being_reloaded_is_published_and_sealed_again_when_that_is_done(ledger, day):
    local_date = day()
    starts = [load(ledger, source=1) for _ in range(5)]
    assert sealed(ledger, local_date)
    operate(ledger, "reopen", starts[1], starts[2])
    found = coverage(ledger, local_date)
    assert (found["is_sealed"], found["is_published"], found["open_count"]) == (False, True, 1)
    assert found["counts"] == {"source": {"rows": 5, "windows": 5}}
    answer = pass_valid(ledger, "orders")
    count(ledger, answer, source=4)
    # Counted, but not completed: the earlier generation is the published one.
    assert coverage(ledger, local_date)["counts"] == {"source": {"rows": 5, "windows": 5}}
    fail(ledger, answer.token, retry=False)
    assert coverage(ledger, local_date)["is_published"]
    operate(ledger, "reopen", starts[1], starts[2])
    load(ledger, source=3)
    assert sealed(ledger, local_date)
    assert coverage(ledger, local_date)["counts"] == {"source": {"rows": 7, "windows": 5}}


def test_a_waived_window_seals_and_differs_from_a_published_one(ledger, day):
    local_date = day()
    for _ in range(4):
        load(ledger)
    operate(ledger, "waive", "-infinity", "2026-11-23Z")
    found = coverage(ledger, local_date)
    assert (found["is_sealed"], found["published_count"], found["waived_count"]) == (True, 4, 1)
    assert found["lost_count"] == 0


def test_a_lost_window_seals_as_a_waived_one_and_is_counted(ledger, clock, day):
    local_date = day(source_retention="2d")
    clock.advance("9d")
    assert pass_valid(ledger, "orders").verdict == "NO_RECORDS"
    found = coverage(ledger, local_date)
    assert (found["is_sealed"], found["waived_count"], found["lost_count"]) == (True, 5, 5)


def test_a_day_that_the_pipeline_begins_in_is_not_sealed_until_its_morning_is_backfilled(
    ledger, clock, config
):
    register(
        ledger,
        config("orders", timezone="UTC", x_time_back="0s", granularity="5h", start_at="2026-11-22T05:00Z"),
    )  # fmt: skip
    clock.set(datetime(2026, 11, 23, tzinfo=timezone.utc))
    store(ledger, "orders")
    for _ in range(4):
        load(ledger)
    assert sealed(ledger, "2026-11-22") is False
    assert coverage(ledger, "2026-11-22")["covered_length"] == "19:00:00"
    assert backfill(ledger, "2026-11-22Z") == 1
    load(ledger)
    assert sealed(ledger, "2026-11-22") is True


def test_windows_of_the_archive_count_alone_and_beside_others(ledger, day):
    local_date = day()
    starts = [load(ledger, source=2) for _ in range(5)]
    for before in (starts[2], starts[4], "2026-11-23Z"):
        archive(ledger, before)
        assert sealed(ledger, local_date)
        assert coverage(ledger, local_date)["counts"] == {"source": {"rows": 10, "windows": 5}}
    assert one(ledger, "select count(*) from record_ledger.archived_records") == 5
    audit(ledger)


def test_windows_across_the_midnight_of_a_new_zone_cover_both_of_its_days(ledger, clock, config):
    """The first day of the new zone lacks the hours before the first window; later ones lack nothing."""
    given = config(
        "orders", timezone="UTC", x_time_back="0s", granularity="1d", start_at="2026-11-20"
    )
    register(ledger, given)
    clock.set(datetime(2026, 11, 21, tzinfo=timezone.utc))
    store(ledger, "orders")
    register(ledger, {**given, "timezone": "Asia/Kathmandu"})
    clock.set(datetime(2026, 11, 22, 18, 15, tzinfo=timezone.utc))
    store(ledger, "orders")
    for _ in range(3):
        load(ledger)
    found = {day: sealed(ledger, f"2026-11-{day}") for day in (20, 21, 22)}
    assert found == {20: False, 21: True, 22: True}


def test_a_date_that_a_zone_has_skipped_holds_no_instant(ledger, day):
    day("Pacific/Apia", "2011-12-29", granularity="1d")
    load(ledger)
    assert sealed(ledger, "2011-12-30") is True
    assert coverage(ledger, "2011-12-30") is None
    assert sealed(ledger, "2011-12-31") is False


def test_an_invalid_day_is_one_clear_error(ledger, config):
    register(ledger, config("orders"))
    assert sealed(ledger, "2026-11-22") is False
    assert rows(ledger, "select * from record_ledger.daily_coverage") == []
    for nonsense in (None, "infinity"):
        with refused("RL005", "local_date: .* is not a valid day"):
            sealed(ledger, nonsense)
    with refused("RL002", "order"):
        sealed(ledger, "2026-11-22", "order")


@in_parts(2)
@settings(max_examples=12)
@given(
    zone=st.sampled_from(["Europe/Berlin", "America/Santiago", "Atlantic/Azores", "Africa/Cairo", "UTC"]),
    month=st.integers(1, 12),
    day_of_month=st.integers(1, 28),
    granularity=st.sampled_from(["1h", "5h", "7h", "1d"]),
    fates=st.lists(st.sampled_from("cccwofrx"), min_size=1, max_size=30),
    zone_after=st.sampled_from([None, None, "Europe/Berlin", "Asia/Kathmandu", "America/Santiago", "Pacific/Kiritimati"]),
)  # fmt: skip
def test_a_day_is_sealed_exactly_when_every_instant_of_it_is_in_a_window_that_is_done(
    ledger, clock, config, part, zone, month, day_of_month, granularity, fates, zone_after
):
    name = f"p{one(ledger, 'select count(*) from record_ledger.pipelines')}"
    local_date = f"2026-{month:02}-{day_of_month:02}"
    given = config(
        name,
        timezone=zone,
        x_time_back="0s",
        granularity=granularity,
        start_at=local_date,
        max_attempts=1,
    )
    register(ledger, given)
    end = one(ledger, "select record_ledger.day_start(%s::date + 2, %s)", [local_date, zone])
    clock.set(end)
    store(ledger, name)
    for start, until in rows(
        ledger,
        "select window_start_time, window_end_time from record_ledger.pipeline_records where pipeline_id = %s order by 1",
        [name],
    ):
        fate = fates.pop(0) if fates else "c"
        if fate == "w":
            operate(ledger, "waive", start, until, pipeline_id=name)
            continue
        if fate == "o":
            break
        answer = pass_valid(ledger, name)
        if fate in "fx":
            fail(ledger, answer.token, pipeline_id=name)
        else:
            complete(ledger, answer.token, name)
        if fate == "r":
            operate(ledger, "reopen", start, until, pipeline_id=name)
            break
        if fate == "x":
            operate(ledger, "waive", start, until, pipeline_id=name)
    zone = zone_after or zone
    register(ledger, {**given, "timezone": zone})
    for offset in range(-1, 3):
        day = date.fromisoformat(local_date) + timedelta(days=offset)
        bounds = rows(
            ledger,
            "select record_ledger.day_start(%s, %s), record_ledger.day_start(%s::date + 1, %s)",
            [day, zone, day, zone],
        )[0]
        records = rows(
            ledger,
            "select window_start_time, window_end_time, status in ('COMPLETED', 'WAIVED') "
            "from record_ledger.pipeline_records where pipeline_id = %s and window_start_time < %s and window_end_time > %s "
            "order by 1",
            [name, bounds[1], bounds[0]],
        )
        reached = bounds[0]
        for start, until, done in records:
            if done and start <= reached:
                reached = min(until, bounds[1])
        assert sealed(ledger, day, name) == (reached == bounds[1]), json.dumps(records, default=str)
        found = coverage(ledger, day, name)
        assert found is None or found["is_sealed"] == (reached == bounds[1])
