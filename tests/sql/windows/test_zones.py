"""Windows keep the zone that they were cut with: what was done, and how it is shown, after each change of the zone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.sql.support import (
    archive,
    audit,
    backfill,
    built,
    complete,
    cycle,
    one,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    store,
    verdict_of,
)

UTC = timezone.utc
DAY = timedelta(days=1)


def at(day, hour=0, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def zones(ledger, view="pipeline_records", pipeline_id="orders"):
    """(start, zone) where the zone changes, by the windows of a view."""
    found = rows(
        ledger,
        f"select window_start_time, window_timezone from record_ledger.{view} where pipeline_id = %s order by 1",
        [pipeline_id],
    )
    return [
        row
        for before, row in zip([(None, None), *found], found, strict=False)
        if row[1] != before[1]
    ]


def is_one_stretch(ledger, pipeline_id="orders"):
    """No window lies before the instant from which on the zone in force is that of all."""
    return one(
        ledger,
        "select zone_since <= (select min(window_start_time) from record_ledger.pipeline_records as r"
        " where r.pipeline_id = p.pipeline_id) from record_ledger.pipeline as p where pipeline_id = %s",
        [pipeline_id],
    )


@pytest.fixture
def given(config):
    return config(
        "orders", timezone="UTC", x_time_back="0s", granularity="1d", start_at="2026-11-20"
    )


@pytest.fixture
def moved(ledger, clock, given):
    """Days of UTC from the 20th to the 24th, completed; Berlin from then on."""
    register(ledger, given)
    clock.set(at(25))
    store(ledger, "orders")
    for _ in range(5):
        complete(ledger, pass_valid(ledger, "orders").token)
    berlin = {**given, "timezone": "Europe/Berlin"}
    register(ledger, berlin)
    return berlin


def test_a_pipeline_of_one_zone_looks_nothing_up(ledger, clock, given):
    clock.set(at(22))
    register(ledger, given)
    store(ledger, "orders")
    assert is_one_stretch(ledger)
    assert zones(ledger) == [(at(20), "UTC")]
    backfill(ledger, at(18))
    assert is_one_stretch(ledger)
    assert zones(ledger) == [(at(18), "UTC")]


def test_a_pass_of_a_window_of_the_zone_in_force_reads_no_other_table(
    ledger, clock, connect, given, moved
):
    clock.set(at(26))
    store(ledger, "orders")
    other = connect(autocommit=False)
    other.execute("lock table record_ledger.pipeline_zone in access exclusive mode")
    ledger.execute("set lock_timeout = '5s'")
    complete(ledger, cycle(ledger, moved, "run").token)
    clock.set(at(26, 23))
    assert cycle(ledger, moved).record["window_start_time"] == "2026-11-26T00:00:00+01:00"
    assert cycle(ledger, moved).verdict == "LEASED"


def test_windows_keep_the_zone_they_were_cut_with(ledger, clock, moved):
    assert zones(ledger) == [(at(20), "UTC")]
    clock.set(at(26))
    store(ledger, "orders")
    # From the last stored end to Berlin's midnight, and on from there.
    assert zones(ledger) == [(at(20), "UTC"), (at(25), "Europe/Berlin")]
    audit(ledger)


def test_a_passed_record_has_its_times_in_the_zone_it_was_cut_with(ledger, clock, moved):
    operate(ledger, "reopen", at(22), at(23))
    record = pass_valid(ledger, "orders").record
    assert (record["target_day"], record["window_start_time"], record["window_end_time"]) == (
        "2026-11-22",
        "2026-11-22T00:00:00+00:00",
        "2026-11-23T00:00:00+00:00",
    )
    complete(ledger, record["claim_token"])
    clock.set(at(26))
    record = cycle(ledger, moved).record
    assert record["window_start_time"] == "2026-11-25T01:00:00+01:00"
    assert record["window_end_time"] == "2026-11-26T00:00:00+01:00"
    assert record["target_day"] == "2026-11-25"


def test_sentences_name_an_older_window_by_its_own_clock(ledger, moved):
    operate(ledger, "reopen", at(22), at(23))
    assert verdict_of(ledger, at(22))[1].startswith("window 2026-11-22T00:00:00+00:00 is stable")
    assert "window 2026-11-22T00:00:00+00:00 is passed" in pass_valid(ledger, "orders").reason
    pending = one(ledger, "select record_ledger.oldest_pending_record('orders')")
    assert pending is None


def test_a_zone_that_returns_before_a_window_was_cut_begins_no_stretch(ledger, clock, given, moved):
    register(ledger, given)
    clock.set(at(26))
    store(ledger, "orders")
    assert zones(ledger) == [(at(20), "UTC")]
    assert is_one_stretch(ledger)
    register(ledger, moved)
    clock.set(at(27))
    store(ledger, "orders")
    register(ledger, given)
    clock.set(at(28))
    store(ledger, "orders")
    # Berlin's windows end at its midnights, an hour before those of UTC.
    assert zones(ledger) == [
        (at(20), "UTC"),
        (at(26), "Europe/Berlin"),
        (at(27, 23), "UTC"),
    ]  # fmt: skip


def test_a_backfill_cuts_with_the_zone_of_today_before_windows_of_an_older_one(
    ledger, clock, given, moved
):
    assert backfill(ledger, "2026-11-18T00:00:00+01:00") == 3
    assert zones(ledger) == [(at(17, 23), "Europe/Berlin"), (at(20), "UTC")]
    # Twice in the same zone is one stretch.
    backfill(ledger, "2026-11-16T00:00:00+01:00")
    assert zones(ledger) == [(at(15, 23), "Europe/Berlin"), (at(20), "UTC")]
    clock.set(at(26))
    store(ledger, "orders")
    expected = [(at(15, 23), "Europe/Berlin"), (at(20), "UTC"), (at(25), "Europe/Berlin")]
    assert zones(ledger) == expected
    register(ledger, given)
    backfill(ledger, at(14))
    assert zones(ledger) == [(at(14), "UTC"), *expected]
    assert one(ledger, "select count(*) from record_ledger.pipeline_zone") == 4


def test_a_zone_of_a_pipeline_without_windows_leaves_nothing(ledger, clock, given):
    register(ledger, {**given, "timezone": "Asia/Tokyo"})
    register(ledger, given)
    clock.set(at(21))
    store(ledger, "orders")
    assert zones(ledger) == [(at(20), "UTC")]
    assert is_one_stretch(ledger)


def test_what_a_runner_renders_names_the_zone_of_each_window(ledger, clock, given):
    path = "{{ target_day }}/{{ window_start_time }}"
    templated = {**given, "default_record": {"pipeline_id": "orders", "path": path}}
    clock.set(at(22))
    register(ledger, templated)
    store(ledger, "orders")  # unbuilt
    berlin = {**templated, "timezone": "Europe/Berlin"}
    clock.set(at(23))
    for _ in range(2):  # a config that is new, and the same one in force
        wanted = cycle(ledger, berlin).to_build
        assert [
            (w["target_day"], w["window_start_time"], w["window_end_time"], w["timezone"])
            for w in wanted
        ] == [
            ("2026-11-20", "2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00", "UTC"),
            ("2026-11-21", "2026-11-21T00:00:00+00:00", "2026-11-22T00:00:00+00:00", "UTC"),
            ("2026-11-22", "2026-11-22T01:00:00+01:00", "2026-11-23T00:00:00+01:00", "Europe/Berlin"),
            ("2026-11-23", "2026-11-23T00:00:00+01:00", "2026-11-24T00:00:00+01:00", "Europe/Berlin"),
        ]  # fmt: skip
        register(ledger, berlin)
    answer = cycle(ledger, berlin, built=built(wanted, path="x"))
    assert answer.record["window_start_time"] == "2026-11-20T00:00:00+00:00"


def test_every_view_of_windows_names_their_zone(ledger, clock, given, moved):
    berlin = {**moved, "source_retention": "30d", "at_risk_within": "29d"}
    register(ledger, berlin)
    record = "select record_ledger.observe_record('orders', %s, 'source', %s)"
    operate(ledger, "reopen", at(21), at(22))
    token = pass_valid(ledger, "orders").token
    ledger.execute(
        "select record_ledger.observe_record('orders', %s, 'source', 5, '{}', %s)", [at(21), token]
    )
    complete(ledger, token)
    ledger.execute(record, [at(21), 6])
    operate(ledger, "reopen", at(22), at(23))
    clock.set(at(26))
    expected = [(at(22), "UTC"), (at(25), "Europe/Berlin")]
    # The windows of the 25th are not stored yet.
    assert zones(ledger, "records_at_risk") == expected
    store(ledger, "orders")
    assert zones(ledger, "records_at_risk") == expected
    assert zones(ledger, "record_verdicts") == expected
    assert zones(ledger, "oldest_valid_record") == expected[:1]
    assert zones(ledger, "changed_records") == [(at(21), "UTC")]
    archive(ledger, at(21))
    assert zones(ledger, "archived_records") == [(at(20), "UTC")]
    assert zones(ledger)[0] == (at(21), "UTC")


@pytest.mark.parametrize("role", ["reader", "runner"])
def test_readers_see_the_zones(ledger, clock, moved, connect, role):
    operate(ledger, "reopen", at(22), at(23))
    other = connect(role=role)
    assert zones(other) == [(at(20), "UTC")]
    assert zones(other, "record_verdicts") == [(at(22), "UTC")]
    assert zones(other, "oldest_valid_record") == [(at(22), "UTC")]


# ---------------------------------------------------------------- sealed days
def sealed(ledger, *days):
    return {
        day: one(ledger, "select record_ledger.is_day_sealed('orders', %s)", [f"2026-11-{day}"])
        for day in days
    }


def coverage(ledger, day):
    return one(
        ledger,
        "select to_jsonb(c) from record_ledger.daily_coverage as c where local_date = %s",
        [f"2026-11-{day}"],
    )


def test_what_was_sealed_stays_sealed_in_the_days_of_a_new_zone(ledger, clock, moved):
    # Of Berlin's 20th the first hour is before the first window, of its 24th the last one not over.
    assert sealed(ledger, 20, 21, 22, 23, 24) == {
        20: False, 21: True, 22: True, 23: True, 24: True,
    }  # fmt: skip
    assert sealed(ledger, 25) == {25: False}
    found = coverage(ledger, 22)
    assert (found["is_sealed"], found["is_published"], found["covered_length"]) == (
        True,
        True,
        "24:00:00",
    )
    # Counts are of windows that begin in the day: that of the 21st, UTC, begins on Berlin's 21st.
    assert (found["window_count"], found["published_count"], found["open_count"]) == (1, 1, 0)
    assert datetime.fromisoformat(found["first_window_start_time"]) == at(22)
    # The newest window reaches into the 25th, in which none begins yet.
    found = coverage(ledger, 25)
    assert (found["window_count"], found["covered_length"]) == (0, "01:00:00")
    operate(ledger, "reopen", at(21), at(22))
    # It lies in two days of Berlin's.
    assert sealed(ledger, 20, 21, 22, 23) == {20: False, 21: False, 22: False, 23: True}
    found = coverage(ledger, 22)
    assert (found["is_sealed"], found["is_published"], found["open_count"]) == (False, True, 0)
    complete(ledger, pass_valid(ledger, "orders").token)
    assert sealed(ledger, 21, 22) == {21: True, 22: True}
    archive(ledger, at(23))
    assert sealed(ledger, 21, 22, 23) == {21: True, 22: True, 23: True}
    clock.set(at(26))
    cycle(ledger, moved)
    assert sealed(ledger, 25) == {25: False}


def test_a_zone_to_the_west_covers_the_newest_day_later(ledger, clock, given, moved):
    los_angeles = {**given, "timezone": "America/Los_Angeles"}
    register(ledger, los_angeles)
    assert sealed(ledger, 19, 20, 23, 24) == {19: False, 20: True, 23: True, 24: False}
    assert coverage(ledger, 24)["covered_length"] == "16:00:00"
    clock.set(at(25, 8))
    complete(ledger, cycle(ledger, los_angeles).token)
    assert sealed(ledger, 19, 20, 23, 24) == {19: False, 20: True, 23: True, 24: True}


@pytest.mark.parametrize("granularity", ["1d", "5h", "1h"])
def test_new_time_zone_data_of_the_server_unseal_nothing(ledger, clock, config, granularity):
    """British Columbia keeps its summer time from November 2026 on: midnights are an hour earlier."""
    given = config(
        "orders", timezone="Etc/GMT+8", x_time_back="0s", granularity=granularity, start_at="2026-11-10"
    )  # fmt: skip
    register(ledger, given)
    clock.set(at(20, 8))
    store(ledger, "orders")
    while not (answer := pass_valid(ledger, "orders")).exit_dag:
        complete(ledger, answer.token)
    before = sealed(ledger, *range(10, 20))
    assert all(before.values())
    # As if the same name meant another offset after an update of the server.
    ledger.execute(
        "update record_ledger.pipeline set timezone = 'Etc/GMT+7', config = jsonb_set(config, '{timezone}', '\"Etc/GMT+7\"')"
    )
    ledger.execute("update record_ledger.pipeline_zone set timezone = 'Etc/GMT+7'")
    # Only the very first day lacks the hour before the first window.
    assert sealed(ledger, *range(11, 20)) == dict.fromkeys(range(11, 20), True)
    assert coverage(ledger, 15)["is_sealed"]


def test_every_day_that_an_outage_or_a_failure_left_open_is_open_in_the_new_zone(ledger, moved):
    operate(ledger, "reopen", at(23), at(24))
    token = pass_valid(ledger, "orders").token
    ledger.execute("select record_ledger.fail_record('orders', %s, 'no', false)", [token])
    assert sealed(ledger, 22, 23, 24) == {22: True, 23: False, 24: False}


def test_the_days_of_coverage_add_up_to_what_windows_cover(ledger, clock, moved):
    clock.set(at(27, 3))
    cycle(ledger, moved)
    total = one(ledger, "select sum(covered_length) from record_ledger.daily_coverage")
    assert total == 5 * DAY
    windows = one(ledger, "select sum(window_count) from record_ledger.daily_coverage")
    assert windows == one(ledger, "select count(*) from record_ledger.pipeline_records")


# ---------------------------------------------------------------- local times
def time(ledger, text, pipeline_id="orders"):
    return one(ledger, "select record_ledger.pipeline_time(%s, %s)", [pipeline_id, text])


def window(ledger, text, pipeline_id="orders"):
    return one(ledger, "select record_ledger.window_time(%s, %s)", [pipeline_id, text])


@pytest.fixture
def autumn(ledger, clock, config):
    """Hours in Berlin from the day on which its clocks go back, at 03:00 to 02:00."""
    given = config(
        "orders", timezone="Europe/Berlin", x_time_back="0s", granularity="1h", start_at="2026-10-25"
    )  # fmt: skip
    register(ledger, given)
    clock.set("2026-10-25T20:00:00Z")
    store(ledger, "orders")
    return given


TWICE = "2026-10-25T02:00:00\\+02:00 and 2026-10-25T02:00:00\\+01:00"


@pytest.mark.parametrize(
    "text", ["2026-10-25T02:00", "2026-10-25 02:00:00", "2026-10-25T02:00:00.0"]
)
def test_a_local_time_that_comes_twice_is_refused_and_both_are_named(ledger, autumn, text):
    for read in (time, window):
        with refused("RL005", TWICE):
            read(ledger, text)
    for offset, expected in (("+02:00", "00:00"), ("+01:00", "01:00")):
        instant = datetime.fromisoformat(f"2026-10-25T{expected}+00:00")
        assert time(ledger, text + offset) == window(ledger, text + offset) == instant
    with refused("RL005", "02:59:59.999999\\+02:00 and .*02:59:59.999999\\+01:00"):
        time(ledger, "2026-10-25T02:59:59.999999")
    assert time(ledger, "2026-10-25T03:00") == datetime(2026, 10, 25, 2, tzinfo=UTC)
    assert time(ledger, "2026-10-25T01:59:59") == datetime(2026, 10, 24, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "text", "first"),
    [
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00+00:00"),
        ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00:00+00:00"),
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00+00:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),
    ],
)
def test_a_bare_date_is_its_first_instant_and_a_skipped_time_the_end_of_the_gap(
    ledger, config, zone, text, first
):
    register(ledger, config("orders", timezone=zone))
    assert time(ledger, text) == datetime.fromisoformat(first)


def test_a_midnight_that_comes_twice_is_refused_unless_it_is_a_bare_date(ledger, config):
    register(ledger, config("orders", timezone="Atlantic/Azores"))
    with refused("RL005", "2026-10-25T00:00:00\\+00:00 and 2026-10-25T00:00:00-01:00"):
        time(ledger, "2026-10-25T00:00")


def test_a_start_at_that_comes_twice_is_refused(ledger, config):
    given = config("orders", timezone="Europe/Berlin", start_at="2026-10-25T02:30")
    with refused("RL001", "start_at: .*02:30:00\\+02:00 and .*02:30:00\\+01:00"):
        register(ledger, given)
    register(ledger, {**given, "start_at": "2026-10-25T02:30+01:00"})
    assert one(ledger, "select start_at from record_ledger.pipelines") == datetime(
        2026, 10, 25, 1, 30, tzinfo=UTC
    )
    # All of a config's problems come in one error, an unknown zone among them.
    with refused("RL001", "timezone: .*Europe/Berln"):
        register(ledger, {**given, "timezone": "Europe/Berln"})


def test_a_window_is_named_by_the_clock_it_was_cut_with(ledger, clock, moved):
    clock.set(at(26))
    store(ledger, "orders")
    assert window(ledger, "2026-11-22T00:00") == window(ledger, "2026-11-22") == at(22)
    assert window(ledger, "2026-11-22T01:00+01:00") == at(22)
    # By today's zone, where no window has that clock.
    assert window(ledger, "2026-11-22T01:00") == at(22)
    assert window(ledger, "2026-11-26") == at(25, 23)
    archive(ledger, at(23))
    assert window(ledger, "2026-11-22") == at(22)
    # An instant is an instant, and a range is one of today's days.
    assert time(ledger, "2026-11-22") == at(21, 23)


def test_a_clock_that_two_windows_were_cut_with_is_refused_and_both_are_named(
    ledger, clock, config
):
    given = config(
        "orders", timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-20"
    )
    register(ledger, given)
    clock.set(at(20, 4))
    store(ledger, "orders")
    register(ledger, {**given, "timezone": "Etc/GMT+2"})
    clock.set(at(20, 8))
    store(ledger, "orders")
    # 02:00 and 03:00 are shown by UTC's windows, and again by those cut with two hours less.
    with refused("RL005", "2026-11-20T02:00:00\\+00:00 and 2026-11-20T02:00:00-02:00"):
        window(ledger, "2026-11-20T02:00")
    assert window(ledger, "2026-11-20T01:00") == at(20, 1)
    assert window(ledger, "2026-11-20T04:00") == at(20, 6)


def test_a_window_whose_clock_time_does_not_exist_is_refused(ledger, clock, config):
    given = config(
        "orders",
        timezone="Europe/Berlin",
        x_time_back="0s",
        granularity="1h",
        start_at="2026-03-29",
    )
    register(ledger, given)
    clock.set("2026-03-29T20:00:00Z")
    store(ledger, "orders")
    with refused("RL005", "02:00.* 2026-03-29T03:00:00\\+02:00"):
        window(ledger, "2026-03-29T02:00")
    assert window(ledger, "2026-03-29T03:00") == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_what_names_no_window_is_read_as_a_time_and_nonsense_is_refused(ledger, autumn):
    assert window(ledger, "2026-10-25T01:30") == datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    for nonsense in ("tomorrow", "2026-13-01", "", None):
        with refused("RL005", "time"):
            window(ledger, nonsense)
    with refused("RL002", "order"):
        window(ledger, "2026-10-25", "order")
