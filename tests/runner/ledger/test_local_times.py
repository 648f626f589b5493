"""Local times that mean two instants: shown with offsets, refused without, and warned of."""

from __future__ import annotations

import datetime as dt
import json
import logging

import pytest

from record_ledger import RecordLedger, twins
from record_ledger.errors import InvalidArgument

AUTUMN = "2026-10-25T20:00:00Z"
TWICE = "2026-10-25T02:00:00+02:00 and 2026-10-25T02:00:00+01:00"


@pytest.fixture(autouse=True)
def _no_pipeline_warned_of(monkeypatch):
    monkeypatch.setattr(twins, "_warned_of", set())


@pytest.fixture
def autumn(runner, config, clock):
    """Hours in Berlin on the day on which its clocks go back; all completed, of 5 rows each."""
    clock.set(AUTUMN)
    berlin = config(
        "orders",
        timezone="Europe/Berlin",
        x_time_back="0s",
        granularity="1h",
        start_at="2026-10-25",
    )
    for _ in range(5):
        record = runner.store_new_and_pass_valid_record(berlin).record
        runner.observe_record(
            "orders", record["window_start_time"], "source", 5, claim_token=record["claim_token"]
        )
        runner.complete_record("orders", record["claim_token"])
    return berlin


def test_a_table_shows_the_offset_of_a_local_time_that_comes_twice(command, clock, autumn):
    clock.advance("2h")

    shown = [line[:22].strip() for line in command("recount-due", "orders").out.splitlines()]

    assert shown[1:] == [
        "2026-10-25 00:00",
        "2026-10-25 01:00",
        "2026-10-25 02:00+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 03:00",
    ]
    # What a table shows names the window that it shows.
    for window in shown[1:]:
        done = command("observe", "source", "6", "--pipeline", "orders", "--window", window)
        assert done.code == 0, done.err
    changed = command("changed", "orders").out
    assert all(window in changed for window in shown[1:])
    assert "no window is to be counted again" in command("recount-due", "orders").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["observe", "source", "5", "--pipeline", "orders", "--window", "{}"],
        ["history", "orders", "{}"],
        ["why", "orders", "--window", "{}"],
        ["waive-counts", "orders", "{}", "--reason", "x"],
        ["waive", "orders", "--from", "{}", "--to", "2026-10-26", "--reason", "x"],
        ["reopen", "orders", "--from", "2026-10-25", "--to", "{}", "--reason", "x", "--dry-run"],
        ["expire", "orders", "--from", "{}", "--to", "2026-10-26", "--reason", "x"],
        ["backfill", "orders", "--from", "{}"],
        ["as-of", "{}", "orders"],
        ["plan", "orders", "--at", "{}"],
        ["archive", "orders", "--before", "{}"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("text", ["2026-10-25T02:00", "2026-10-25 02:00:00"])
def test_every_command_that_takes_a_time_refuses_one_that_comes_twice(
    command, autumn, arguments, text
):
    done = command(*(argument.format(text) for argument in arguments))

    assert done.code == 1
    assert TWICE in done.err, done.err
    with_offset = command(*(argument.format(text + "+01:00") for argument in arguments))
    assert TWICE not in with_offset.err


def test_methods_refuse_it_as_well_and_take_text_and_dates(runner, autumn):
    twice = dt.datetime(2026, 10, 25, 2)
    for call in (
        lambda: runner.pipeline_records("orders", twice),
        lambda: runner.record_events("orders", twice),
        lambda: runner.record_observations("orders", twice.isoformat()),
        lambda: runner.record_verdicts("orders", twice),
        lambda: runner.plan_runs("orders", at=twice),
        lambda: runner.archivable_records("orders", twice),
        lambda: runner.records_as_of(twice, "orders"),
        lambda: runner.pipeline_time("orders", twice),
        lambda: runner.window_time("orders", twice),
    ):
        with pytest.raises(InvalidArgument) as refused:
            call()
        assert TWICE in str(refused.value)
    first = runner.pipeline_records("orders", limit=1)
    assert runner.pipeline_records("orders", dt.date(2026, 10, 25)) == first
    assert runner.pipeline_records("orders", "2026-10-25") == first
    assert runner.pipeline_records("orders", "2026-10-25T00:00+02:00") == first
    with pytest.raises(InvalidArgument, match="window_start_time: 5"):
        runner.pipeline_records("orders", 5)


# ---------------------------------------------------------------- windows of an older zone
@pytest.fixture
def moved(runner, config, clock):
    """Days of UTC, of which the 22nd failed; then Berlin's."""
    clock.set("2026-11-25T00:00:00Z")
    given = config(
        "orders",
        timezone="UTC",
        x_time_back="0s",
        granularity="1d",
        start_at="2026-11-20",
        max_attempts=1,
    )
    for day in range(20, 25):
        record = runner.store_new_and_pass_valid_record(given).record
        if day == 22:
            runner.fail_record("orders", record["claim_token"], "no")
        else:
            runner.complete_record("orders", record["claim_token"])
    berlin = {**given, "timezone": "Europe/Berlin"}
    runner.register_pipeline(berlin)
    clock.set("2026-11-26T00:00:00Z")
    return berlin


def test_tables_show_a_window_by_the_clock_it_was_cut_with(command, runner, moved):
    runner.store_new_and_pass_valid_record(moved)
    table = command("why", "orders").out
    assert "orders    2026-11-22 00:00+00:00  FAILED" in table
    assert "orders    2026-11-25 01:00        LEASED" in table
    assert command("history", "orders", "2026-11-22").out.startswith(
        "orders  2026-11-22T00:00:00+00:00 to 2026-11-23T00:00:00+00:00"
    )
    assert (
        "2026-11-22T00:00:00+00:00" in command("why", "orders", "--window", "2026-11-22 00:00").out
    )
    row = runner.pipeline_records("orders", "2026-11-22")[0]
    assert row["window_timezone"] == "UTC"
    assert row["window_start_time"].isoformat() == "2026-11-22T00:00:00+00:00"


def test_a_range_of_todays_days_says_how_older_windows_are_held_whole(command, moved):
    done = command(
        "reopen", "orders", "--from", "2026-11-21", "--to", "2026-11-22", "--reason", "x"
    )
    assert done.json["changed_count"] == 0
    assert (
        "2 windows lie across an end of the range: "
        "--from 2026-11-20T00:00:00+00:00 --to 2026-11-22T00:00:00+00:00 holds them whole."
    ) in done.out
    again = command(
        "reopen",
        "orders",
        "--from",
        "2026-11-20T00:00:00+00:00",
        "--to",
        "2026-11-22T00:00:00+00:00",
        "--reason",
        "x",
    )
    assert again.json["changed_count"] == 2
    assert "lie across" not in again.out
    # Only one end of it lies across: the other one stays as it was given.
    one_end = command(
        "reopen", "orders", "--from", "2026-11-22T00:00Z", "--to", "2026-11-24", "--reason", "x"
    )
    assert (
        "1 window lies across an end of the range: "
        "--from 2026-11-22T00:00Z --to 2026-11-24T00:00:00+00:00 holds it whole."
    ) in one_end.out


def test_an_older_window_is_rendered_by_its_own_clock(runner, config, clock):
    clock.set("2026-11-22T12:00:00Z")
    fields = {
        "path": "{{ target_day }}/{{ window_start_time.strftime('%H%M%z') }}/{{ window_end_time }}"
    }
    given = config(
        "orders",
        timezone="UTC",
        x_time_back="0s",
        granularity="1d",
        start_at="2026-11-21",
        fields=fields,
    )
    runner.register_pipeline(given)
    runner.store_new_records("orders")
    kathmandu = {**given, "timezone": "Asia/Kathmandu"}
    record = runner.store_new_and_pass_valid_record(kathmandu).record
    assert record["path"] == "2026-11-21/0000+0000/2026-11-22 00:00:00+00:00"
    assert record["window_start_time"].isoformat() == "2026-11-21T00:00:00+00:00"


# ---------------------------------------------------------------- templates over local times
def collisions(caplog):
    return [
        record.getMessage() for record in caplog.records if "rendered_twice" in record.getMessage()
    ]


def hours(config, granularity="1h", **fields):
    return config(
        "orders",
        timezone="Europe/Berlin",
        x_time_back="0s",
        granularity=granularity,
        start_at="2026-10-25",
        fields=fields,
    )


PATH = "{{ target_day }}/{{ window_start_time.strftime('%H%M') }}.csv"


@pytest.mark.parametrize("granularity", ["1h", "30m", "15m"])
def test_a_field_that_two_windows_share_by_their_clocks_is_warned_of_once(
    runner, ledger_dsn, config, clock, caplog, granularity
):
    clock.set(AUTUMN)
    given = hours(config, granularity, path=PATH, folder="{{ target_day }}", constant="{{ 'x' }}")
    with caplog.at_level(logging.WARNING, "record_ledger"):
        runner.store_new_and_pass_valid_record(given)
        (warning,) = collisions(caplog)
        assert "pipeline_id=orders field=path value=2026-10-25/0200.csv" in warning
        assert "window=2026-10-25T02:00:00+02:00 other_window=2026-10-25T02:00:00+01:00" in warning
        clock.advance("1d")
        with RecordLedger(ledger_dsn) as other:
            other.store_new_and_pass_valid_record({**given, "retry_delay": "1h"})
    assert len(collisions(caplog)) == 1


@pytest.mark.parametrize(("granularity", "hours_between"), [("1h", "1h"), ("30m", "30m")])
def test_it_is_found_as_well_when_each_window_is_rendered_by_a_call_of_its_own(
    runner, config, clock, caplog, granularity, hours_between
):
    clock.set("2026-10-24T22:00:00.000001Z")
    given = hours(config, granularity, path=PATH, folder="{{ target_day }}")
    with caplog.at_level(logging.WARNING, "record_ledger"):
        while clock.now() < dt.datetime(2026, 10, 25, 1, tzinfo=dt.timezone.utc):
            runner.store_new_and_pass_valid_record(given)
            assert collisions(caplog) == []
            clock.advance(hours_between)
        runner.store_new_and_pass_valid_record(given)
    assert len(collisions(caplog)) == 1


@pytest.mark.parametrize(
    "path",
    [
        "{{ target_day }}",
        "{{ 'x' }}",
        "{{ target_day }}/{{ window_start_time.strftime('%H%M%z') }}",
        "{{ window_start_time | utc }}",
        "{{ window_start_time }}",
        "no template",
    ],
)
def test_a_field_that_tells_both_apart_or_none_of_the_day_is_not(
    runner, config, clock, caplog, path
):
    clock.set(AUTUMN)
    with caplog.at_level(logging.WARNING, "record_ledger"):
        runner.store_new_and_pass_valid_record(hours(config, path=path))
    assert collisions(caplog) == []


def test_windows_of_which_only_one_has_the_clock_are_not(runner, config, clock, caplog):
    # Three hours each: 00:00, 02:00 (the second one), 05:00.
    clock.set(AUTUMN)
    with caplog.at_level(logging.WARNING, "record_ledger"):
        runner.store_new_and_pass_valid_record(hours(config, "3h", path=PATH))
    assert collisions(caplog) == []


def test_default_record_has_the_filter_utc_as_arguments_have(runner, config, clock):
    clock.set(AUTUMN)
    given = hours(config, path="{{ window_start_time | utc }}/{{ window_end_time | utc }}")
    record = runner.store_new_and_pass_valid_record(given).record
    assert record["path"] == "2026-10-24T22:00:00/2026-10-24T23:00:00"


def test_the_shell_warns_of_it_on_standard_error(command, config, clock, tmp_path):
    clock.set(AUTUMN)
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(hours(config, path=PATH)), encoding="utf-8")
    done = command("run", "--config", path)
    assert done.code == 0
    assert "event=rendered_twice" in done.err


def test_windows_that_a_change_of_zone_shows_alike_are_warned_of(runner, config, clock, caplog):
    given = config(
        "orders",
        timezone="UTC",
        x_time_back="0s",
        granularity="1h",
        start_at="2026-11-20",
        fields={"path": PATH},
    )
    clock.set("2026-11-20T04:00:00Z")
    runner.register_pipeline(given)
    runner.store_new_records("orders")
    clock.set("2026-11-20T06:00:00Z")
    with caplog.at_level(logging.WARNING, "record_ledger"):
        runner.store_new_and_pass_valid_record({**given, "timezone": "Etc/GMT+2"})
    (warning,) = collisions(caplog)
    assert "field=path value=2026-11-20/0200.csv" in warning
    assert "window=2026-11-20T02:00:00+00:00 other_window=2026-11-20T02:00:00-02:00" in warning
