"""Records as Python values: the server's instants and offsets, whatever Python's zones say."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from record_ledger import RecordLedger
from record_ledger.errors import InvalidArgument
from record_ledger.values import json_from_record, local_time, record_from_json, row_from_view


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-11-22T00:00:00-08:00", "America/Los_Angeles"),
        ("2026-11-22T00:00:00.123456-08:00", "America/Los_Angeles"),
        ("2026-10-25T02:30:00+02:00", "Europe/Berlin"),
        ("2026-11-22T05:45:00+05:45", "Asia/Kathmandu"),
        ("1850-01-01T00:00:00-04:56:02", "America/New_York"),
        ("2026-11-22T00:00:00+00:00", "UTC"),
    ],
)
def test_a_time_is_in_its_pipelines_zone(text, zone):
    time = local_time(text, zone)

    assert isinstance(time, pendulum.DateTime)
    assert time.timezone_name == zone
    assert time.isoformat() == text


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-11-22T00:00:00-07:00", "America/Los_Angeles"),  # another rule than Python's
        ("2026-03-29T02:30:00+01:00", "Europe/Berlin"),  # a wall clock that Python's data skip
        ("2026-10-25T02:30:00+01:00", "Europe/Berlin"),  # pickling would take it for the first 2:30
        ("2026-11-22T00:00:00+01:00", "Moon/Tranquility"),  # a zone that only the server knows
        ("2026-11-22T00:00:00+01:00", None),
    ],
)
def test_where_pythons_zone_differs_the_servers_instant_and_offset_stay(text, zone):
    time = local_time(text, zone)

    assert time.isoformat() == text
    again = pickle.loads(pickle.dumps(time))
    assert again.isoformat() == text
    assert again.timestamp() == dt.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("text", ["2026-11-22T00:00:00", "yesterday", ""])
def test_a_text_that_names_no_instant_is_refused(text):
    with pytest.raises(ValueError):
        local_time(text, "UTC")


@given(
    st.datetimes(dt.datetime(1902, 1, 1), dt.datetime(2099, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/Vancouver", "Africa/Cairo", "Australia/Lord_Howe"]),
    st.integers(-12 * 60, 14 * 60),
)
def test_text_becomes_a_time_and_the_same_text_again(wall, zone, offset_minutes):
    stated = wall.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset_minutes)))

    assert local_time(stated.isoformat(), zone).isoformat() == stated.isoformat()


def test_a_record_goes_to_json_and_back():
    data = {
        "pipeline_id": "p",
        "window_start_time": "2026-11-22T00:00:00-08:00",
        "target_day": "2026-11-22",
        "claim_token": 3,
        "made_at": "2026-11-22T00:00:00-08:00",  # a team's own field is nobody's time
        "nested": {"a": [1, None, 2.5]},
    }

    record = record_from_json(data, "America/Los_Angeles")

    assert record["target_day"] == dt.date(2026, 11, 22)
    assert record["made_at"] == "2026-11-22T00:00:00-08:00"
    assert json.loads(json.dumps(json_from_record(record))) == data


def test_a_views_row_has_the_wall_clock_that_the_server_reckons():
    instant = dt.datetime(2026, 11, 22, 8, tzinfo=dt.timezone.utc)
    row = row_from_view(
        {
            "ready_at": instant,
            "paused_at": None,
            "view_timezone": "America/Los_Angeles",
            "wall_times": {"ready_at": "2026-11-22T01:00:00"},  # a rule that Python does not know
        }
    )

    assert row == {"ready_at": instant, "paused_at": None}
    assert row["ready_at"].isoformat() == "2026-11-22T01:00:00-07:00"


def test_the_second_pass_of_a_repeated_hour_is_another_record(ledger_dsn, config, clock):
    clock.set("2026-10-25T12:00:00Z")
    berlin = config(
        "berlin",
        timezone="Europe/Berlin",
        granularity="1h",
        x_time_back="0s",
        start_at="2026-10-25T01:00",
    )
    with RecordLedger(ledger_dsn) as runner:
        starts = [
            runner.store_new_and_pass_valid_record(berlin).record["window_start_time"].isoformat()
            for _ in range(4)
        ]
        with pytest.raises(InvalidArgument) as refused:
            runner.pipeline_records("berlin", dt.datetime(2026, 10, 25, 2))
        found = [
            runner.pipeline_records("berlin", dt.datetime.fromisoformat(start)) for start in starts
        ]

    assert starts == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]
    # Its wall clock names both, and is refused.
    assert f"{starts[1]} and {starts[2]}" in str(refused.value)
    assert [row["window_start_time"].isoformat() for (row,) in found] == starts


def test_readers_give_local_times_whatever_the_sessions_zone(connect, ledger_dsn, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    with RecordLedger(ledger_dsn) as runner:
        runner.store_new_and_pass_valid_record(config("orders"))
        progress = runner.pipeline_progress("orders")[0]
        verdict = runner.record_verdicts("orders")[0]
        event = runner.record_events("orders")[0]
        pipeline = runner.pipelines("orders")[0]

    assert progress["done_until"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert progress["lag"] == dt.timedelta(hours=10)
    assert verdict["window_start_time"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert event["event_time"].isoformat() == "2026-11-22T12:00:00-08:00"
    assert event["event_time"].timezone_name == "America/Los_Angeles"
    assert pipeline["granularity"] == dt.timedelta(hours=2)
    assert "wall_times" not in pipeline
