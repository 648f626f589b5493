"""status, why and history: what each prints, where, and with which exit code."""

from __future__ import annotations

import pytest

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles


def test_status_shows_each_pipeline_and_why(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"))
    runner.store_new_and_pass_valid_record(config("idle", start_at="2026-12-01"))

    done = command("status")
    one = command("status", "orders", "--json")

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["PIPELINE", "VERDICT", "BEHIND"]
    assert lines[1].split()[:2] == ["idle", "NO_RECORDS"]
    assert lines[2].split()[:5] == ["orders", "READY", "10h", "5", "1"]
    assert "\x1b" not in done.out
    (row,) = one.json["pipelines"]
    assert row["pipeline_id"] == "orders"
    assert row["lag"] == 36000
    assert row["done_until"] == "2026-11-21T00:00:00-08:00"


def test_each_sentence_stays_in_its_line_and_holds_no_terminal_code(command, runner, config, clock):
    clock.set("2026-11-21T20:00:00Z")
    named = config("orders", default_record={"pipeline_id": "orders", "name": "a\n\x1b[2Jb"})
    record = runner.store_new_and_pass_valid_record({**named, "x_time_back": "10h"}).record
    runner.fail_record("orders", record["claim_token"], "no\ndisk\x1b[2J")
    start = record["window_start_time"].isoformat()

    for arguments in (["status"], ["why"], ["why", "--window", start], ["history", start]):
        done = command(arguments[0], "orders", *arguments[1:])
        assert done.code == 0, done.err
        assert "no\ufffddisk\ufffd[2J" in done.out or arguments[0] == "history"
        assert "\x1b" not in done.out
    assert "  name = a\ufffd\ufffd[2Jb\n" in done.out


def test_status_of_an_empty_ledger_says_what_comes_next(command):
    done = command("status")

    assert done.code == 0
    assert "record-ledger run" in done.out
    assert command("status", "--json").json == {"pipelines": []}
    assert "record-ledger run" in command("why").out


def test_status_fails_for_alerting(command, runner, config, clock):
    clock.set(NOON)
    record = runner.store_new_and_pass_valid_record(config("orders")).record

    assert command("status", "--fail-on", "failed,incomplete,behind=10h").code == 0
    behind = command("status", "--fail-on", "failed,behind=9h59m59s")
    runner.fail_record("orders", record["claim_token"], "no disk", retry=False)
    failed = command("status", "--fail-on", "failed")

    assert behind.code == 1
    assert behind.err == "record-ledger: pipeline orders is 10h behind (limit 9h59m59s)\n"
    assert failed.code == 1
    assert failed.err == "record-ledger: pipeline orders has failed records: 1\n"


def test_a_limit_that_is_no_duration_is_refused_by_the_server(command):
    done = command("status", "--fail-on", "behind=2")

    assert done.code == 1
    assert "no duration" in done.err


def test_why_gives_every_open_record_its_sentence(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"), "run-1")

    done = command("why", "orders", "--limit", "2")
    everything = command("why", "--limit", "0", "--json")

    assert "LEASED" in done.out
    assert "run-1" in done.out
    assert "READY" in done.out
    assert "--limit 0" in done.out
    assert len(everything.json["records"]) == 6
    assert everything.json["left_out"] is False


def test_why_says_why_there_is_no_open_record(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("idle", start_at="2026-12-01"))

    assert command("why", "idle").out.startswith("idle: NO_RECORDS: ")


@pytest.mark.parametrize(
    "start_time",
    ["2026-11-21T00:00", "2026-11-21", "2026-11-21 00:00:00-08:00", "2026-11-21T08:00Z"],
)
def test_history_shows_the_life_of_one_record(command, runner, config, clock, start_time):
    clock.set(NOON)
    record = runner.store_new_and_pass_valid_record(config("orders"), "run-1").record
    runner.fail_record("orders", record["claim_token"], "no disk\x1b[2J\nsecond line")

    done = command("history", "orders", start_time)

    assert done.code == 0, done.err
    assert done.out.startswith("orders  2026-11-21T00:00:00-08:00 to 2026-11-21T02:00:00-08:00")
    assert "PENDING -> IN_PROGRESS" in done.out
    assert "source_name = elasticsearch" in done.out
    assert "no disk" in done.out
    assert "\x1b" not in done.out


def test_history_as_json_has_the_record_and_its_events(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"), "run-1")

    done = command("history", "orders", "2026-11-21", "--json")

    assert done.json["record"]["status"] == "IN_PROGRESS"
    assert [event["event"] for event in done.json["events"]] == ["passed"]


def test_history_of_a_wall_clock_that_happens_twice_is_that_of_the_offset(
    command, runner, config, clock
):
    clock.set("2026-11-22T20:00:00Z")
    given = config("azores", timezone="Atlantic/Azores", granularity="1h", start_at="2026-10-25")
    for run in ("first", "second"):
        runner.store_new_and_pass_valid_record(given, run)

    refused = command("history", "azores", "2026-10-25T00:00")
    assert refused.code == 1
    assert "2026-10-25T00:00:00+00:00 and 2026-10-25T00:00:00-01:00" in refused.err
    for time, run in (("2026-10-25T00:00Z", "first"), ("2026-10-25T00:00-01:00", "second")):
        assert run in command("history", "azores", time).out
        told = command("history", "azores", time, "--json").json
        assert [event["run_id"] for event in told["events"]] == [run]
    # A date is its first instant.
    assert "first" in command("history", "azores", "2026-10-25").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "nobody"], "not registered"),
        (["why", "nobody"], "not registered"),
        (["history", "nobody", "2026-11-21"], 'unknown pipeline "nobody"'),
        (["history", "orders", "2026-11-20"], "no record"),
        (["history", "orders", "yesterday"], "ISO 8601"),
    ],
)
def test_what_is_not_there_is_said_and_exits_1(command, runner, config, arguments, says):
    runner.register_pipeline(config("orders"))

    done = command(*arguments)

    assert done.code == 1
    assert says in done.err
