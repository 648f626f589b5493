"""Archiving and the past, in Python and in the shell: what is moved, shown and said."""

from __future__ import annotations

import datetime as dt

import pendulum
import pytest

from record_ledger import InvalidArgument, UnknownPipeline
from record_ledger.cli.commands import keep
from tests.sql.archive.archiving import change

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles
MIDNIGHT = dt.datetime(2026, 11, 21)
EVER = dt.datetime(2100, 1, 1, tzinfo=dt.timezone.utc)


def wall(hours):
    return MIDNIGHT + dt.timedelta(hours=hours)


@pytest.fixture
def orders(runner, config, clock):
    """Six windows of two hours from midnight in Los Angeles on; the first four are completed."""
    clock.set(NOON)
    given = config("orders")
    for n in range(4):
        record = runner.store_new_and_pass_valid_record(given, f"run-{n}").record
        runner.complete_record("orders", record["claim_token"], {"rows": n})
    return given


def reopen(ledger, hours):
    change(ledger, "reopen", wall(hours).replace(tzinfo=dt.timezone(-dt.timedelta(hours=8))))


# ---------------------------------------------------------------- in Python
def test_records_go_by_the_wall_clock_of_their_pipeline(runner, orders):
    assert runner.archive_records("orders", wall(4)) == 2
    assert runner.archive_records("orders", wall(4)) == 0
    moved = runner.archived_records("orders")
    assert [record["window_start_time"].isoformat() for record in moved] == [
        "2026-11-21T00:00:00-08:00",
        "2026-11-21T02:00:00-08:00",
    ]
    assert moved[0]["archived_at"] == pendulum.parse(NOON)
    assert moved[0]["archived_at"].timezone_name == "America/Los_Angeles"
    assert moved[0]["last_detail"] == {"rows": 0}
    assert runner.archived_records("orders", limit=1) == moved[:1]
    assert runner.archived_records("orders", wall(2)) == moved[1:]
    assert [event["event"] for event in runner.archived_record_events("orders", wall(2))] == [
        "passed",
        "completed",
    ]
    assert len(runner.archived_record_events("orders")) == 4


def test_a_call_moves_so_many_and_is_foreseen(runner, orders):
    foreseen = runner.archivable_records("orders", EVER)
    assert (foreseen["record_count"], foreseen["archived_until"].isoformat()) == (
        4,
        "2026-11-21T08:00:00-08:00",
    )
    assert foreseen["first_window_start_time"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert foreseen["reason"] == "window 2026-11-21T08:00:00-08:00 stays: it is PENDING"
    assert runner.archivable_records("orders", EVER, 3)["reason"] is None
    assert [runner.archive_records("orders", EVER, 3) for _ in range(3)] == [3, 1, 0]
    assert runner.archivable_records("orders", EVER)["archived_until"] is None


def test_what_cannot_be_archived_is_refused(runner, orders):
    with pytest.raises(UnknownPipeline, match="nobody"):
        runner.archive_records("nobody", wall(0))
    with pytest.raises(UnknownPipeline, match="nobody"):
        runner.archivable_records("nobody", EVER)
    with pytest.raises(InvalidArgument, match="less than 1"):
        runner.archive_records("orders", EVER, 0)


def test_the_past_is_told_of_a_pipeline_or_of_all(runner, config, clock, orders):
    clock.advance("1h")
    runner.register_pipeline(config("other"))
    runner.store_new_records("other")
    runner.archive_records("orders", EVER)
    then = runner.records_as_of(pendulum.parse(NOON))
    assert {row["pipeline_id"] for row in then} == {"orders"}
    assert [row["status"] for row in then] == ["COMPLETED"] * 4 + ["PENDING"] * 2
    assert then[0]["updated_at"].isoformat() == "2026-11-22T12:00:00-08:00"
    assert runner.records_as_of(dt.datetime(2026, 11, 22, 12), "orders") == then
    assert runner.records_as_of(dt.datetime(2026, 11, 22, 11, 59), "orders") == []
    assert {row["pipeline_id"] for row in runner.records_as_of(EVER)} == {"orders", "other"}
    assert runner._counts_as_of(EVER) == {
        "orders": {"COMPLETED": 4, "PENDING": 2},
        "other": {"PENDING": 7},
    }
    with pytest.raises(InvalidArgument, match="has no offset"):
        runner.records_as_of(dt.datetime(2026, 11, 22, 12))


# ---------------------------------------------------------------- in the shell
def test_archive_says_what_went_and_why_the_next_one_stays(command, orders, monkeypatch):
    monkeypatch.setattr(keep, "STEP", 3)
    said = (
        "until 2026-11-21T08:00:00-08:00; window 2026-11-21T08:00:00-08:00 stays: it is PENDING\n"
    )
    outcome = {
        "pipeline_id": "orders",
        "outcome": "dry_run",
        "record_count": 4,
        "archived_until": "2026-11-21T08:00:00-08:00",
        "reason": "window 2026-11-21T08:00:00-08:00 stays: it is PENDING",
    }

    foreseen = command("archive", "orders", "--before", "2026-11-22", "--dry-run")
    done = command("archive", "orders", "--before", "2026-11-22")
    again = command("archive", "orders", "--before", "2026-11-22")

    assert foreseen.out.startswith(f"orders: 4 records would be archived, {said}")
    assert foreseen.json == outcome
    assert done.out.startswith(f"orders: 4 records archived, {said}")
    assert done.json == outcome | {"outcome": "archived"}
    assert again.json == outcome | {
        "outcome": "archived", "record_count": 0, "archived_until": None,
    }  # fmt: skip
    assert again.out.startswith(
        "orders: 0 records archived; window 2026-11-21T08:00:00-08:00 stays"
    )
    assert {foreseen.code, done.code, again.code} == {0}
    assert foreseen.err == again.err == ""
    assert done.err == "record-ledger: works on 4 records in steps\n"


def test_archive_shows_a_bar_on_a_terminal(command, orders, monkeypatch):
    monkeypatch.setattr(keep, "STEP", 3)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    done = command("archive", "orders", "--before", "2026-11-22")
    assert "\r[----------" in done.err
    assert done.err.endswith("[##############################] 4 of 4 records\n")
    assert "#" not in done.out


def test_history_shows_an_archived_record_as_it_showed_it_before(command, runner, clock, orders):
    before = command("history", "orders", "2026-11-21T02:00")
    clock.advance("1h")
    runner.archive_records("orders", EVER)

    after = command("history", "orders", "2026-11-21T02:00")

    head, *life = after.out.splitlines()
    assert head.endswith("COMPLETED, archived 2026-11-22T13:00:00-08:00")
    assert life == before.out.splitlines()[1:]
    record = command("history", "orders", "2026-11-21T02:00", "--json").json["record"]
    assert record["archived_at"] == "2026-11-22T13:00:00-08:00"
    # The one beside it is still in the ledger.
    assert "archived" not in command("history", "orders", "2026-11-21T08:00").out


def test_history_sets_the_generations_apart(command, runner, ledger, orders):
    assert "generation" not in command("history", "orders", "2026-11-21T00:00").out
    reopen(ledger, 0)
    record = runner.store_new_and_pass_valid_record(orders, "again").record
    runner.complete_record("orders", record["claim_token"])
    runner.archive_records("orders", EVER, 1)

    lines = command("history", "orders", "2026-11-21T00:00").out.splitlines()

    told = [line if line.startswith("--") else line.split()[2] for line in lines[5:]]
    assert told == [
        "-- generation 1", "passed", "completed",
        "-- generation 2", "reopened", "passed", "completed",
    ]  # fmt: skip


def test_as_of_counts_by_status(command, runner, config, clock, ledger, orders):
    clock.advance("1h")
    runner.store_new_records("orders")
    runner.register_pipeline(config("other"))
    runner.store_new_records("other")
    reopen(ledger, 6)
    runner.archive_records("orders", EVER)

    then = command("as-of", NOON)
    now = command("as-of", "2026-11-22T13:00", "orders")

    assert [line.split() for line in then.out.splitlines()] == [
        ["PIPELINE", "PENDING", "IN", "PROGRESS", "COMPLETED", "FAILED", "WAIVED", "ALL"],
        ["orders", "2", "0", "4", "0", "0", "6"],
    ]
    assert now.out.splitlines()[1].split() == ["orders", "4", "0", "3", "0", "0", "7"]
    assert len(command("as-of", "2026-11-22T13:00-08:00").out.splitlines()) == 3
    found = command("as-of", "2026-11-22T12:00", "orders", "--json").json
    assert found["at"] == "2026-11-22T12:00:00"
    assert [row["status"] for row in found["records"]] == ["COMPLETED"] * 4 + ["PENDING"] * 2
    assert "No record" in command("as-of", "2026-11-01", "orders").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["archive", "nobody", "--before", "2026-11-21T00:00Z"], "unknown pipeline"),
        (["archive", "orders", "--before", "yesterday"], "ISO 8601"),
        (["as-of", "2026-11-21", "nobody"], "not registered"),
        (["as-of", "2026-11-21"], "has no offset"),
        (["as-of", "noon"], "ISO 8601"),
    ],
)
def test_what_makes_no_sense_is_said_and_exits_1(command, orders, arguments, says):
    done = command(*arguments)

    assert done.code == 1
    assert says in done.err
