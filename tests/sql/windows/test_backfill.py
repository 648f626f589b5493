"""Backfilling: records before the first one, on the same grid of days, without a gap or an overlap."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.support import (
    MICROSECOND,
    NOW,
    PIPELINE,
    audit,
    backfill,
    built,
    complete,
    cycle,
    effects,
    on_pipeline,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    store,
    windows,
)
from tests.sql.windows.test_windows import CHANGES, ZONES
from tests.support.parts import in_parts

FIRST = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def hours(config):
    """A config of six-hour windows in UTC from FIRST on."""
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="6h", start_at=FIRST.isoformat()
    )


@pytest.fixture
def orders(ledger, clock, hours):
    clock.set(FIRST + 12 * HOUR)
    register(ledger, hours)
    assert store(ledger, PIPELINE) == 2
    return PIPELINE


def lengths(ledger, pipeline_id=PIPELINE):
    return [(end - start) / HOUR for start, end in windows(ledger, pipeline_id)]


def test_windows_are_added_back_to_the_first_instant_of_the_day(ledger, orders):
    before = snapshot(ledger)
    for back in (-30 * HOUR, -MICROSECOND, 0 * HOUR):
        assert backfill(ledger, FIRST - back) == 0
    assert snapshot(ledger) == before
    for back, added in [
        (MICROSECOND, 4),
        (24 * HOUR - MICROSECOND, 4),
        (24 * HOUR, 4),
        (24 * HOUR + MICROSECOND, 8),
    ]:
        with ledger.transaction(force_rollback=True):
            assert backfill(ledger, FIRST - back) == added
            assert windows(ledger)[0][0] == FIRST - added * 6 * HOUR
            assert lengths(ledger) == [6] * (added + 2)
            assert backfill(ledger, FIRST - back) == 0
            audit(ledger)


def test_a_backfill_is_an_event_of_its_pipeline(ledger, orders):
    for days, reason in enumerate([None, "", "it's \\'; -- why"], start=1):
        backfill(ledger, FIRST - days * 24 * HOUR, reason)
    found = rows(
        ledger,
        "select event, detail, actor = session_user, event_time from record_ledger.pipeline_events "
        "where event_no > 1 order by event_no",
    )
    for days, reason in enumerate([{}, {"reason": ""}, {"reason": "it's \\'; -- why"}]):
        ends = {"from_time": FIRST - (days + 1) * 24 * HOUR, "to_time": FIRST - days * 24 * HOUR}
        detail = {**{key: at.isoformat() for key, at in ends.items()}, "record_count": 4, **reason}
        assert found[days] == ("backfilled", detail, True, FIRST + 12 * HOUR)


def test_the_last_window_added_ends_where_the_first_one_starts(ledger, clock, config):
    clock.set(NOW)
    start = datetime(2026, 11, 21, 19, 30, 0, 1, tzinfo=timezone.utc)
    register(ledger, config(PIPELINE, timezone="UTC", granularity="5h", start_at=start.isoformat()))
    store(ledger, PIPELINE)
    first = windows(ledger)[0]
    backfill(ledger, start - 20 * HOUR)
    assert [f"{begin:%d %H:%M}" for begin, _ in windows(ledger)] == [
        "20 00:00", "20 05:00", "20 10:00", "20 15:00", "20 20:00",
        "21 00:00", "21 05:00", "21 10:00", "21 15:00", "21 19:30",
    ]  # fmt: skip
    assert windows(ledger)[9] == first
    audit(ledger)


@pytest.mark.parametrize(
    ("zone", "first", "from_time", "day_hours"),
    [
        ("America/Los_Angeles", "2026-11-03", "2026-10-31T12:00", [24, 25, 24]),
        ("America/Los_Angeles", "2026-03-10", "2026-03-07", [24, 23, 24]),
        # Midnight does not exist on the 25th, and the 30th of October has 25 hours.
        ("Africa/Cairo", "2025-04-27", "2025-04-24", [24, 23, 24]),
        ("Africa/Cairo", "2025-11-01", "2025-10-29", [24, 25, 24]),
        # Midnight comes twice.
        ("Atlantic/Azores", "2026-10-26", "2026-10-24T23:59", [24, 25]),
        # A date was skipped.
        ("Pacific/Apia", "2012-01-01", "2011-12-29", [24, 24]),
    ],
)
def test_days_are_local_days(ledger, clock, config, zone, first, from_time, day_hours):
    clock.set(NOW)
    register(ledger, config(PIPELINE, timezone=zone, granularity="1d", start_at=first))
    store(ledger, PIPELINE)
    instant = one(ledger, "select record_ledger.pipeline_time(%s, %s)", [PIPELINE, from_time])
    assert backfill(ledger, instant) == len(day_hours)
    assert lengths(ledger)[: len(day_hours)] == day_hours
    assert (
        one(ledger, "select record_ledger.day_start(%s, %s)", [from_time[:10], zone])
        == (windows(ledger)[0][0])
    )
    audit(ledger)


BY_STORING = """
    select target_day::text, window_start_time, window_end_time, time_interval
    from record_ledger.pipeline_records where pipeline_id = %s order by 2
"""


@in_parts(2)
@settings(max_examples=8)
@given(data=st.data())
def test_a_backfilled_history_is_the_one_that_would_have_been_stored(
    ledger, clock, config, part, data
):
    """Two pipelines, one that starts on a day, and one that starts later and is backfilled."""
    zone = data.draw(st.sampled_from(ZONES), label="zone")
    around = datetime.fromisoformat(data.draw(st.sampled_from(CHANGES), label="change") + "+00:00")
    granularity = data.draw(st.sampled_from(["1h", "2h30m", "7h", "24h", "1d"]), label="length")
    from_time = around - data.draw(st.integers(0, 50), label="before") * HOUR
    until = around + data.draw(st.integers(1, 50), label="after") * HOUR
    number = one(ledger, "select count(*) from record_ledger.pipelines")
    at = {"timezone": zone, "granularity": granularity, "x_time_back": "0s"}
    clock.set(until)

    day = one(
        ledger,
        "select record_ledger.day_start(record_ledger.local_day(%s, %s), %s)",
        [from_time, zone, zone],
    )
    register(ledger, config(f"a{number}", **at, start_at=day.isoformat()))
    store(ledger, f"a{number}")
    stored = rows(ledger, BY_STORING, [f"a{number}"])
    start_at = data.draw(st.sampled_from([row[1] for row in stored]), label="start_at")
    register(ledger, config(f"b{number}", **at, start_at=start_at.isoformat()))
    store(ledger, f"b{number}")
    backfill(ledger, from_time, pipeline_id=f"b{number}")

    # Nothing was to be added when the whole history starts with the first record.
    expected = stored if start_at > from_time else [row for row in stored if row[1] >= start_at]
    assert rows(ledger, BY_STORING, [f"b{number}"]) == expected
    for before, after in pairwise(expected):
        assert before[2] == after[1]


def test_what_cannot_be_backfilled_is_an_error_and_changes_nothing(ledger, clock, config, orders):
    register(ledger, config("empty"))
    before = snapshot(ledger)
    for call in (backfill, lambda c, t, **p: effects(c, "backfill", t, **p)):
        for instant, says in [
            (None, "from_time: null"),
            ("infinity", "infinity is out of range"),
            ("-infinity", "-infinity is out of range"),
            ("4713-01-01 00:00:00 BC", "out of range"),
            ("1969-12-31 23:59:59.999999+00", "1969-12-31T23.* is out of range"),
            ("0001-01-01 00:00:00+00", "out of range"),
        ]:
            ledger.execute("set timezone = 'UTC'")
            with refused("RL005", says) as caught:
                call(ledger, instant)
            assert caught.value.diag.message_hint
        with refused("RL005", "has no record yet") as caught:
            call(ledger, FIRST, pipeline_id="empty")
        assert "start_at" in caught.value.diag.message_hint
        with refused("RL002", "ordrs"):
            call(ledger, FIRST, pipeline_id="ordrs")
    assert snapshot(ledger) == before
    on_pipeline(ledger, "retire")
    with refused("RL005", "retired") as caught:
        backfill(ledger, FIRST - HOUR)
    assert "resume_pipeline" in caught.value.diag.message_hint


def test_1970_is_computed_by_the_pipelines_local_time(ledger, clock, config):
    # Midnight in Kathmandu was 18:30 UTC.
    clock.set("1970-01-02T00:00:00Z")
    register(ledger, config(PIPELINE, timezone="Asia/Kathmandu", x_time_back="0s", granularity="1d",
                            start_at="1970-01-02"))  # fmt: skip
    store(ledger, PIPELINE)
    with refused("RL005", "out of range"):
        backfill(ledger, "1969-12-31T18:29:59.999999Z")
    assert backfill(ledger, "1969-12-31T18:30:00Z") == 1


# ---------------------------------------------------------------- what is added
def test_added_records_are_historical_and_complete_with_the_config_in_force(ledger, orders):
    backfill(ledger, FIRST - HOUR)
    assert rows(
        ledger,
        "select is_historical, lane, status, generation, fields = (select fields from record_ledger.pipeline), "
        "config_version, count(*) from record_ledger.record group by 1, 2, 3, 4, 5, 6 order by 1",
    ) == [
        (False, "waiting", "PENDING", 1, True, 1, 2),
        (True, "historical", "PENDING", 1, True, 1, 4),
    ]
    assert pass_valid(ledger, orders).start == FIRST - 24 * HOUR
    audit(ledger)


def test_added_records_that_lack_a_field_wait_for_a_config_that_fills_it(ledger, clock, config):
    lacking = config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="6h",
                     start_at=FIRST.isoformat(), fields={"key_x": ""}, check_fields=["key_x"])  # fmt: skip
    clock.set(FIRST + 6 * HOUR)
    register(ledger, lacking)
    store(ledger, PIPELINE)
    backfill(ledger, FIRST - HOUR)
    lanes = "select lane, count(*) from record_ledger.record group by 1"
    before = {"incomplete0000000001": 1, "incomplete0000000001h": 4}
    assert dict(rows(ledger, lanes)) == before
    lacking["default_record"]["key_x"] = "x"
    answer = cycle(ledger, lacking)
    assert (answer.start, answer.record["key_x"]) == (FIRST - 24 * HOUR, "x")
    # The others wait as they are: the pass of each builds it.
    assert dict(rows(ledger, lanes)) == {**before, "active": 1, "incomplete0000000001h": 3}
    audit(ledger)


def test_added_records_of_templates_are_built_when_their_turn_comes(ledger, clock, hours):
    hours["default_record"]["path"] = "{{ window_start_time }}.csv"
    clock.set(FIRST + 6 * HOUR)
    answer = cycle(ledger, hours)
    cycle(ledger, hours, built=built(answer.to_build, source_name="a", target_name="b", path="p"))
    backfill(ledger, FIRST - HOUR)
    assert record_of(ledger, FIRST - 6 * HOUR)["fields"] == {}
    answer = cycle(ledger, hours)
    assert [w["window_start_time"] for w in answer.to_build] == [
        (FIRST - n * HOUR).isoformat() for n in (24, 18, 12, 6)
    ]
    answer = cycle(ledger, hours, built=built(answer.to_build, source_name="a", target_name="b", path="q"))  # fmt: skip
    assert (answer.start, answer.record["path"]) == (FIRST - 24 * HOUR, "q")
    audit(ledger)


def test_a_first_record_may_have_any_status_and_its_history_stays(ledger, clock, orders):
    complete(ledger, pass_valid(ledger, orders, "a").token)
    before = record_of(ledger, FIRST)
    backfill(ledger, FIRST - HOUR)
    held = pass_valid(ledger, orders, "b")
    assert held.start == FIRST - 24 * HOUR
    backfill(ledger, FIRST - 25 * HOUR)
    complete(ledger, held.token)
    operate(ledger, "waive", "-infinity", FIRST)
    backfill(ledger, FIRST - 49 * HOUR)
    assert record_of(ledger, FIRST) == before
    assert len(windows(ledger)) == 2 + 3 * 4
    audit(ledger)


def test_years_are_added_in_one_call(ledger, orders):
    assert backfill(ledger, FIRST - timedelta(days=3650)) == 3650 * 4
    audit(ledger)


def test_a_history_is_added_on_the_grid_of_the_config_in_force(ledger, config, orders):
    register(
        ledger, config(PIPELINE, timezone="Asia/Kathmandu", x_time_back="0s", granularity="1d")
    )
    backfill(ledger, FIRST - 24 * HOUR)
    # Midnight in Kathmandu is 18:15 UTC.
    assert lengths(ledger)[:3] == [24, 5.75, 6]
    audit(ledger)
