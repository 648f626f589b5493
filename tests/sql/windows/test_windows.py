"""Window arithmetic: windows tile, end at local midnights, and computed one by one equal those of one call."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.support import one, register, rows
from tests.support.parts import in_parts

UTC = timezone.utc


def planned(ledger, config, zone, granularity, start, end):
    """The windows that a new pipeline would store from `start` on, those that begin before `end`."""
    name = f"p{next(_numbers)}"
    register(
        ledger,
        config(
            name,
            timezone=zone,
            granularity=granularity,
            x_time_back="0s",
            start_at=start.isoformat(),
        ),
    )
    return rows(
        ledger,
        "select window_start_time, window_end_time, target_day::text, time_interval "
        "from record_ledger.new_windows(%s, %s)",
        [name, end],
    )


_numbers = count()


def instant(text):
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        ("America/Los_Angeles", "2026-03-07T08:00", [24, 23, 24]),
        ("America/Los_Angeles", "2026-10-31T07:00", [24, 25, 24]),
        ("Africa/Cairo", "2025-04-23T22:00", [24, 23, 24]),
        ("Africa/Cairo", "2025-10-29T21:00", [25, 24, 24]),
        ("America/Havana", "2026-10-31T04:00", [24, 25, 24]),
        ("Atlantic/Azores", "2026-10-24T00:00", [24, 25, 24]),
        ("America/St_Johns", "2010-11-06T02:30", [24, 25, 24]),
        ("Pacific/Apia", "2011-12-28T10:00", [24, 24, 24]),
        ("Australia/Lord_Howe", "2026-10-03T13:30", [23.5, 24, 24]),
    ],
)
def test_a_granularity_of_a_day_is_the_local_day(ledger, config, zone, start, hours):
    start = instant(start)
    found = planned(ledger, config, zone, "1d", start, start + timedelta(hours=sum(hours)))
    assert [(end - begin) / timedelta(hours=1) for begin, end, _, _ in found] == hours
    assert found[0][0] == start


def test_the_interval_says_the_actual_length_with_hours_the_largest_unit(ledger, config):
    start = instant("2026-10-31T07:00")
    days = planned(ledger, config, "America/Los_Angeles", "1d", start, start + timedelta(days=3))
    assert [interval for *_, interval in days] == ["24h", "25h", "24h"]
    odd = planned(
        ledger, config, "UTC", "7h", instant("2026-01-01T00:00"), instant("2026-01-02T00:00")
    )
    assert [interval for *_, interval in odd] == ["7h", "7h", "7h", "3h"]
    uneven = planned(
        ledger, config, "UTC", "5h30m15s", instant("2026-01-01T00:00"), instant("2026-01-02T00:00")
    )
    assert [interval for *_, interval in uneven] == ["5h30m15s"] * 4 + ["1h59m"]
    late = planned(
        ledger, config, "UTC", "1h", instant("2026-01-01T23:59:59.5"), instant("2026-01-02T00:00")
    )
    assert [interval for *_, interval in late] == ["0.5s"]


@pytest.mark.parametrize(
    ("day", "lengths"),
    [
        # 23 hours hold eleven windows of two hours and one of one, 25 twelve and one.
        ("2026-03-08", ["2h"] * 11 + ["1h"]),
        ("2026-11-01", ["2h"] * 12 + ["1h"]),
        ("2026-11-02", ["2h"] * 12),
    ],
)
def test_windows_are_elapsed_time_and_the_last_of_a_day_ends_at_midnight(
    ledger, config, day, lengths
):
    zone = "America/Los_Angeles"
    start = one(ledger, "select record_ledger.day_start(%s, %s)", [day, zone])
    end = one(ledger, "select record_ledger.day_start(%s::date + 1, %s)", [day, zone])
    found = planned(ledger, config, zone, "2h", start, end)
    assert [interval for *_, interval in found] == lengths
    assert {target for *_, target, _ in found} == {day}
    assert found[-1][1] == end


def test_a_skipped_date_has_no_window(ledger, config):
    found = planned(
        ledger,
        config,
        "Pacific/Apia",
        "6h",
        instant("2011-12-29T10:00"),
        instant("2011-12-31T10:00"),
    )
    assert [target for *_, target, _ in found] == ["2011-12-29"] * 4 + ["2011-12-31"] * 4


def test_the_hour_that_repeats_yesterday_belongs_to_the_day_that_has_begun(ledger, config):
    # At 02:31 UTC the clocks of St. John's go from 00:01 on the 7th back to 23:01 on the 6th.
    found = planned(
        ledger,
        config,
        "America/St_Johns",
        "1h",
        instant("2010-11-07T00:30"),
        instant("2010-11-07T05:30"),
    )
    assert [target for *_, target, _ in found] == ["2010-11-06"] * 2 + ["2010-11-07"] * 3


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        # Back across midnight, and on across it.
        ("America/St_Johns", "2010-11-07T02:31"),
        ("America/Goose_Bay", "2009-11-01T03:01"),
        ("America/Moncton", "1993-10-31T03:01"),
        ("America/Toronto", "1919-03-31T04:30"),
        # At midnight, and to it.
        ("Africa/Cairo", "2025-10-30T21:00"),
        ("Africa/Cairo", "2025-04-24T22:00"),
        ("Atlantic/Azores", "2026-10-25T01:00"),
    ],
)
def test_one_window_is_that_of_many_wherever_in_a_changed_day_it_starts(ledger, zone, change):
    assert (
        rows(
            ledger,
            """
            select w.*, n.*
            from generate_series(%(change)s - interval '3 hours', %(change)s + interval '3 hours', '1 minute') as s
            cross join (values (interval '0'), ('59.999999 seconds')) as e (more)
            cross join (values (interval '1 minute'), ('7 minutes'), ('6 hours')) as g (granularity)
            cross join lateral record_ledger.windows_from(
                s + e.more, s + e.more + interval '1 microsecond', g.granularity, %(zone)s, null
            ) as w
            cross join lateral record_ledger.next_window(
                w.window_start_time, g.granularity, %(zone)s
            ) as n (next_day, next_end)
            where (w.target_day, w.window_end_time) <> (n.next_day, n.next_end)
            """,
            {"zone": zone, "change": instant(change)},
        )
        == []
    )


def test_a_first_window_in_the_middle_of_a_day_shifts_that_days_grid_only(ledger, config):
    found = planned(
        ledger, config, "UTC", "2h", instant("2026-01-01T19:30"), instant("2026-01-02T04:00")
    )
    assert [begin.strftime("%H:%M") for begin, *_ in found] == [
        "19:30", "21:30", "23:30", "00:00", "02:00",
    ]  # fmt: skip


ONE_BY_ONE = """
    with recursive w as (
        select %(start)s::timestamptz as window_start_time, n.*
        from record_ledger.next_window(%(start)s, record_ledger.duration(%(granularity)s), %(zone)s) as n
        union all
        select w.window_end_time, n.*
        from w
        cross join lateral record_ledger.next_window(
            w.window_end_time, record_ledger.duration(%(granularity)s), %(zone)s
        ) as n
        where w.window_end_time < %(end)s
    )
    select window_start_time, window_end_time, target_day::text,
        record_ledger.time_interval(window_start_time, window_end_time)
    from w order by 1
"""
# Where the clocks change in every way that there is, and the years in which they did.
CHANGES = [
    "2010-11-07T02:31", "2010-03-14T03:31", "2011-12-30T10:00", "2026-03-08T10:00", "2026-11-01T09:00",
    "2026-10-25T01:00", "2025-04-24T22:00", "2025-10-30T21:00", "2025-09-07T04:00", "2026-10-03T15:30",
    "2026-04-04T15:00", "2026-11-01T05:00", "2026-06-15T12:00",
]  # fmt: skip
ZONES = [
    "UTC", "America/Los_Angeles", "Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Havana",
    "Atlantic/Azores", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu",
    "Africa/Casablanca", "Antarctica/Troll", "Pacific/Chatham", "Europe/Dublin",
]  # fmt: skip


@pytest.fixture
def every_zone(ledger):
    names = rows(ledger, "select name from pg_timezone_names order by 1")
    # Those that a config may not name: they are two zones each.
    return [name for (name,) in names if name not in ("CET", "EET", "MET", "WET")]


@in_parts(3)
@settings(max_examples=35)
@given(data=st.data())
def test_windows_computed_one_by_one_equal_those_computed_in_bulk(
    ledger, config, every_zone, part, data
):
    zone = data.draw(st.sampled_from(ZONES) | st.sampled_from(every_zone), label="zone")
    seconds = data.draw(
        st.sampled_from([600, 1800, 3600, 7200, 25200, 43200, 43201, 86399, 86400])
        | st.integers(300, 86400),
        label="seconds",
    )
    start = instant(data.draw(st.sampled_from(CHANGES), label="change")) - timedelta(
        microseconds=data.draw(
            st.sampled_from([0, 1, 60 * 10**6]) | st.integers(0, 40 * 3600 * 10**6)
        )
    )
    end = start + timedelta(
        seconds=data.draw(st.integers(1, 60) | st.integers(1, 4 * 86400), label="length")
    )
    granularity = f"{seconds}s"

    found = planned(ledger, config, zone, granularity, start, end)

    assert found == rows(
        ledger, ONE_BY_ONE, {"start": start, "end": end, "granularity": granularity, "zone": zone}
    )
    # All of them tile, are not too long and cross no midnight.
    assert found[0][0] == start and found[-1][0] < end <= found[-1][1]
    for (_, end_before, _, _), (begin, _, _, _) in pairwise(found):
        assert begin == end_before
    following = {
        target: one(ledger, "select record_ledger.day_start(%s::date + 1, %s)", [target, zone])
        for target in {target for *_, target, _ in found}
    }
    for begin, finish, target, _ in found:
        day = following[target]
        assert finish <= day
        assert timedelta(0) < finish - begin
        assert seconds == 86400 or finish - begin <= timedelta(seconds=seconds)
        assert finish - begin == timedelta(seconds=seconds) or finish == day
