"""What operators do, from Python: SQL's names, the server's times, an exception per SQLSTATE."""

from __future__ import annotations

import datetime as dt

import pendulum
import pytest

from record_ledger import InvalidArgument, UnknownPipeline

NASTY = "it's \\'; drop schema record_ledger cascade; -- %s %(x)s ${x} \"q\" \n ü"
DAY = (dt.date(2026, 11, 21), dt.date(2026, 11, 22))


@pytest.fixture
def orders(runner, config, clock):
    """Six records from midnight in Los Angeles on, the first in progress."""
    clock.set("2026-11-22T20:00:00Z")
    runner.store_new_and_pass_valid_record(config("orders"), "run-1")
    return "orders"


def test_each_method_does_what_the_routine_of_its_name_does(runner, orders):
    assert runner.expire_leases(orders, *DAY, "its host is gone") == 1
    assert runner.waive_records(orders, *DAY, "not needed") == 6
    assert runner.reopen_records(orders, *DAY, "needed after all") == 6
    assert runner.backfill_records(orders, dt.date(2026, 11, 20)) == 12
    runner.pause_pipeline(orders, "the source moves")
    runner.retire_pipeline(orders, "no reader is left")
    assert runner.resume_pipeline(orders) is True
    assert runner.resume_pipeline(orders, "again") is False
    assert [event["event"] for event in runner.pipeline_events(orders)] == [
        "registered", "backfilled", "paused", "retired", "resumed",
    ]  # fmt: skip
    assert {record["status"] for record in runner.pipeline_records(orders)} == {"PENDING"}


@pytest.mark.parametrize(
    "from_time",
    [
        "2026-11-21T04:00",
        dt.datetime(2026, 11, 21, 4),
        dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc),
        pendulum.datetime(2026, 11, 21, 4, tz="America/Los_Angeles"),
    ],
    ids=["text", "wall clock", "instant", "pendulum"],
)
def test_a_time_without_an_offset_is_the_pipelines_local_time(runner, orders, from_time):
    row, *others = runner.range_effects("waive", orders, from_time, dt.date(2027, 1, 1))
    assert others == []
    assert (row["effect"], row["record_count"]) == ("changed", 4)
    assert row["first_window_start_time"].isoformat() == "2026-11-21T04:00:00-08:00"
    assert row["last_window_end_time"].timezone_name == "America/Los_Angeles"
    assert list(row) == [
        "effect", "status", "reason", "record_count", "first_window_start_time",
        "last_window_end_time",
    ]  # fmt: skip


def test_a_backfill_is_foretold_without_an_end(runner, orders):
    found = runner.range_effects("backfill", orders, dt.date(2026, 11, 20))
    assert [(row["effect"], row["record_count"]) for row in found] == [
        ("changed", 12), ("left alone", 1), ("left alone", 5),
    ]  # fmt: skip


def test_any_text_is_only_a_text(runner, config, orders):
    runner.waive_records(orders, *DAY, NASTY)
    runner.backfill_records(orders, dt.date(2026, 11, 20), NASTY)
    runner.pause_pipeline(orders, NASTY)
    assert runner.pipelines(orders)[0]["pause_reason"] == NASTY
    assert runner.pipeline_records(orders)[-1]["last_detail"] == {"reason": NASTY}
    assert runner.pipeline_events(orders)[1]["detail"]["reason"] == NASTY
    for call in (
        lambda text: runner.waive_records(text, *DAY, "x"),
        lambda text: runner.backfill_records(text, DAY[0]),
        lambda text: runner.retire_pipeline(text, "x"),
    ):
        with pytest.raises(UnknownPipeline):
            call(NASTY)
    for call in (
        lambda text: runner.waive_records(orders, text, DAY[1], "x"),
        lambda text: runner.reopen_records(orders, DAY[0], text, "x"),
        lambda text: runner.backfill_records(orders, text),
        lambda text: runner.range_effects(text, orders, *DAY),
        lambda text: runner.range_effects("waive", orders, text, DAY[1]),
    ):
        with pytest.raises(InvalidArgument):
            call(NASTY)


def test_what_is_refused_has_the_servers_sentence(runner, orders):
    with pytest.raises(InvalidArgument, match="reason: must not be blank") as caught:
        runner.waive_records(orders, *DAY, None)
    assert caught.value.sqlstate == "RL005"
    assert caught.value.hint.startswith("Say why")
    for bad in (None, "\x00", "\ud800"):
        with pytest.raises(InvalidArgument):
            runner.expire_leases(orders, bad, DAY[1], "x")
