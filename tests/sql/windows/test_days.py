"""Local days: each starts at its first instant, also where midnight is missing or happens twice."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import MICROSECOND, one, rows

# zone, date, its first instant in UTC, its hours
DAYS = [
    ("America/Los_Angeles", "2026-03-08", "2026-03-08T08:00", 23),
    ("America/Los_Angeles", "2026-11-01", "2026-11-01T07:00", 25),
    ("America/Los_Angeles", "2026-11-02", "2026-11-02T08:00", 24),
    # 00:00 does not exist: clocks go from 00:00 to 01:00 ...
    ("Africa/Cairo", "2025-04-25", "2025-04-24T22:00", 23),
    ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00", 23),
    ("America/Santiago", "2025-09-07", "2025-09-07T04:00", 23),
    ("America/Havana", "2026-03-08", "2026-03-08T05:00", 23),
    # ... and in autumn from 00:00 back to 23:00, so that the day before is the longer one.
    ("Africa/Cairo", "2025-10-30", "2025-10-29T21:00", 25),
    ("Africa/Cairo", "2025-10-31", "2025-10-30T22:00", 24),
    ("Asia/Beirut", "2026-10-24", "2026-10-23T21:00", 25),
    ("America/Santiago", "2025-04-05", "2025-04-05T03:00", 25),
    # Midnight happens twice, and the first of both counts.
    ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),
    ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00", 25),
    ("Atlantic/Azores", "2026-10-24", "2026-10-24T00:00", 24),
    ("Atlantic/Azores", "2026-03-29", "2026-03-29T01:00", 23),
    # From 2006 to 2011 St. John's changed its clocks at 00:01: the old day came back for 59 minutes.
    ("America/St_Johns", "2010-03-14", "2010-03-14T03:30", 23),
    ("America/St_Johns", "2010-11-06", "2010-11-06T02:30", 24),
    ("America/St_Johns", "2010-11-07", "2010-11-07T02:30", 25),
    ("America/St_Johns", "2006-10-29", "2006-10-29T02:30", 25),
    ("America/St_Johns", "2011-03-13", "2011-03-13T03:30", 23),
    # Half an hour of summer time.
    ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
    ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 23.5),
    # A date that was skipped has no instant of its own: it starts and ends where the next one starts.
    ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", 24),
    ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", 0),
    ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", 24),
    ("Pacific/Kwajalein", "1993-08-21", "1993-08-21T12:00", 0),
    # In 1919 Toronto went from 23:30 to 00:30: the gap holds midnight, but does not start there.
    ("America/Toronto", "1919-03-31", "1919-03-31T04:30", 23.5),
    ("Asia/Kathmandu", "2026-06-01", "2026-05-31T18:15", 24),
    ("Pacific/Kiritimati", "2026-06-01", "2026-05-31T10:00", 24),
]


@pytest.mark.parametrize(("zone", "day", "starts", "hours"), DAYS)
def test_a_local_day_starts_at_its_first_instant(ledger, zone, day, starts, hours):
    query = "select record_ledger.day_start(%s, %s)"
    first = one(ledger, query, [day, zone])
    following = one(ledger, query, [date.fromisoformat(day) + timedelta(days=1), zone])
    assert first == datetime.fromisoformat(f"{starts}+00:00")
    assert (following - first) / timedelta(hours=1) == hours


@pytest.mark.parametrize(("zone", "day", "starts", "hours"), [d for d in DAYS if d[3] > 0])
def test_an_instant_belongs_to_the_last_day_that_has_started(ledger, zone, day, starts, hours):
    first = datetime.fromisoformat(f"{starts}+00:00")
    instants = [
        first,
        first + MICROSECOND,
        # The clocks may show yesterday again; the day does not.
        first + timedelta(minutes=30),
        first + timedelta(hours=hours) - MICROSECOND,
    ]
    for instant in instants:
        assert one(ledger, "select record_ledger.local_day(%s, %s)", [instant, zone]) == (
            date.fromisoformat(day)
        )
    before = one(ledger, "select record_ledger.local_day(%s, %s)", [first - MICROSECOND, zone])
    assert before < date.fromisoformat(day)


# ---------------------------------------------------------------- every zone that the server knows
DATES = """
    create temporary table chosen as
    select z.name as zone, d::date as date
    from (select name from pg_timezone_names) as z
    cross join generate_series(date '2020-01-01', date '2031-01-01', interval '1 day') as d
"""
# The weeks in which clocks change: where anything can go wrong at all.
SOME_DATES = """
    create temporary table chosen as
    select zone, date - n as date
    from (
        select
            z.name as zone, d::date as date,
            (d at time zone 'UTC' at time zone z.name) - d as shown,
            lag((d at time zone 'UTC' at time zone z.name) - d) over (partition by z.name order by d)
                as shown_before
        from (select name from pg_timezone_names) as z
        cross join generate_series(timestamp '2020-01-08', timestamp '2030-12-31', interval '7 days') as d
    ) as weeks
    cross join generate_series(-2, 7) as n
    where shown is distinct from shown_before
"""
DAY_STARTS = """
    create temporary table day as
    select zone, date, record_ledger.day_start(date, zone) as starts
    from (select distinct zone, date from chosen) as chosen
"""
# The extremes are Casey's, where the clocks went three hours on in 2020 to 2022, and back again.
NOT_TILED = """
    select * from (
        select
            zone, date, starts,
            lead(starts) over w as ends,
            lead(date) over w as next_date
        from day
        window w as (partition by zone order by date)
    ) as d
    where next_date = date + 1 and ends - starts not between interval '21:00' and interval '27:00'
"""
NOT_THE_FIRST_INSTANT = """
    select * from day
    where (starts at time zone zone)::date <> date
        or ((starts - interval '1 microsecond') at time zone zone)::date >= date
        or record_ledger.local_day(starts, zone) <> date
        or record_ledger.local_day(starts - interval '1 microsecond', zone) <> date - 1
"""
# Clocks that are set back may show a date before it finally starts; its first instant counts.
NOT_THE_FIRST_TIME = """
    select day.*, step
    from day
    cross join generate_series(1, 26 * 2) as step
    where ((starts - step * interval '30 minutes') at time zone zone)::date >= date
"""


def assert_days_tile(ledger, dates, *checks):
    ledger.execute(dates)
    ledger.execute(DAY_STARTS)
    assert one(ledger, "select count(distinct zone) from day") > 400
    for check in checks:
        wrong = rows(ledger, check)
        assert not wrong, f"{len(wrong)} days, such as {wrong[:3]}"


@pytest.mark.slow
def test_days_tile_time_around_every_change_of_every_zones_clocks(ledger):
    assert_days_tile(ledger, SOME_DATES, NOT_TILED, NOT_THE_FIRST_INSTANT, NOT_THE_FIRST_TIME)


@pytest.mark.slow
def test_all_days_of_eleven_years_tile_time_in_every_zone(ledger):
    assert_days_tile(ledger, DATES, NOT_TILED, NOT_THE_FIRST_INSTANT)


# ---------------------------------------------------------------- start_at
STARTS = [
    # A bare date is its first instant, also where that is not 00:00.
    ("America/Los_Angeles", "2026-11-01", "2026-11-01T07:00:00+00:00"),
    ("America/Santiago", "2025-09-07", "2025-09-07T04:00:00+00:00"),
    ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00+00:00"),
    ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),
    # Without an offset it is local time.
    ("America/Los_Angeles", "2026-06-01T06:00", "2026-06-01T13:00:00+00:00"),
    ("America/Los_Angeles", "2026-06-01 06:00:30.25", "2026-06-01T13:00:30.250000+00:00"),
    ("Asia/Kathmandu", "2026-06-01T00:00", "2026-05-31T18:15:00+00:00"),
    # A local time that happens twice is the first of both, a skipped one the end of the gap.
    ("America/Los_Angeles", "2026-11-01T01:30-07:00", "2026-11-01T08:30:00+00:00"),
    ("America/Los_Angeles", "2026-03-08T02:30", "2026-03-08T10:00:00+00:00"),
    ("Australia/Lord_Howe", "2026-10-04T02:10", "2026-10-03T15:30:00+00:00"),
    ("Australia/Lord_Howe", "2026-04-05T01:45+11:00", "2026-04-04T14:45:00+00:00"),
    # With one it is that instant, in every zone.
    ("America/Los_Angeles", "2026-06-01T06:00Z", "2026-06-01T06:00:00+00:00"),
    ("America/Los_Angeles", "2026-06-01T06:00:00+05:45", "2026-06-01T00:15:00+00:00"),
    ("America/Los_Angeles", "2026-11-01T01:30:00-08:00", "2026-11-01T09:30:00+00:00"),
    ("America/Los_Angeles", "2026-06-01T06:00+0200", "2026-06-01T04:00:00+00:00"),
]


@pytest.mark.parametrize(("zone", "start_at", "instant"), STARTS)
def test_start_at_is_read_in_the_pipelines_zone(ledger, config, zone, start_at, instant):
    ledger.execute(
        "select record_ledger.register_pipeline(%s)",
        [Jsonb(config("orders", timezone=zone, start_at=start_at))],
    )
    expected = datetime.fromisoformat(instant)
    assert one(ledger, "select start_at from record_ledger.pipelines") == expected
    first = one(
        ledger,
        "select window_start_time from record_ledger.new_windows('orders', %s, 1)",
        [expected + timedelta(days=5)],
    )
    assert first == expected
