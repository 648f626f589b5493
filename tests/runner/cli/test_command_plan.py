"""record-ledger plan: what the next runs will be passed, for people and for programs."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def orders(command, config_file, clock):
    clock.set("2026-11-22T20:00:00Z")  # noon in Los Angeles, six windows of the day before are due
    assert command("run", "--config", config_file, "--run-id", "first").code == 0


def test_a_plan_shows_each_run_and_when_the_backlog_is_drained(command, orders):
    done = command("plan", "orders", "--runs", "7", "--run-duration", "20m")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "RUN", "WINDOW", "LENGTH", "SETTLED", "AT", "STARTS", "AT", "ENDS", "AT", "WHY",
    ]  # fmt: skip
    assert lines[1].split()[:5] == ["1", "2026-11-21", "02:00", "2h", "2026-11-22"]
    assert "starts immediately" in lines[1]
    assert lines[-1] == (
        "orders: the backlog of 5 windows is drained at 2026-11-22 13:40, after run 5"
    )


def test_a_plan_as_json_holds_every_run(command, orders):
    plan = command("plan", "orders", "--runs", "2", "--run-duration", "1h", "--json").json
    assert [run["starts_at"] for run in plan["runs"]] == [
        "2026-11-22T12:00:00-08:00",
        "2026-11-22T13:00:00-08:00",
    ]
    assert (plan["backlog_count"], plan["drained_at"], plan["drained_after_run"]) == (2, None, None)


def test_a_plan_of_a_paused_pipeline_says_who_paused_it(command, orders):
    command("pause", "orders", "--reason", "the shop moves")
    done = command("plan", "orders")
    assert done.code == 0
    assert "paused" in done.out and "the shop moves" in done.out
    assert json.loads(command("plan", "orders", "--json").out)["runs"] == []


def test_a_plan_can_start_at_another_time(command, orders):
    plan = command(
        "plan", "orders", "--runs", "1", "--run-duration", "0s", "--at", "2026-11-24", "--json"
    )
    assert plan.json["runs"][0]["starts_at"] == "2026-11-24T00:00:00-08:00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "runs: 0 is out of range"),
        (["--workers", "0"], "workers: 0 is out of range"),
        (["--run-duration", "20"], "run_duration: '20' is not a valid duration"),
        (["--at", "tomorrow"], "'tomorrow' is no time"),
    ],
)
def test_what_cannot_be_planned_is_one_clear_error(command, orders, arguments, message):
    done = command("plan", "orders", *arguments)
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_a_plan_of_an_unknown_pipeline_is_an_error(command, orders):
    done = command("plan", "order")
    assert done.code == 1
    assert 'unknown pipeline "order"' in done.err


def test_a_plan_that_is_too_short_to_drain_the_backlog_says_so(command, orders):
    done = command("plan", "orders", "--runs", "2", "--run-duration", "1h")
    assert done.out.splitlines()[-1] == (
        "orders: windows still wait at 2026-11-22 14:00, after run 2; --runs looks further ahead"
    )


def test_a_plan_that_nobody_measured_says_what_it_assumes(command, orders):
    done = command("plan", "orders", "--runs", "1")
    assert ASSUMED in done.out


# ---------------------------------------------------------------- why --window
HEADER = "orders  {}:00:00-08:00 to {}:00:00-08:00  2h  {}"
ASSUMED = "no completed run to measure: 0 s is assumed"


def test_why_shows_one_window_in_full_and_its_place_in_line(command, orders):
    taken = command("why", "orders", "--window", "2026-11-21")
    third = command("why", "orders", "--window", "2026-11-21T06:00:00-08:00")
    future = command("why", "orders", "--window", "2026-11-21T14:00")

    assert taken.out.splitlines() == [
        HEADER.format("2026-11-21T00", "2026-11-21T02", "IN_PROGRESS"),
        "  verdict   LEASED",
        (
            "  why       window 2026-11-21T00:00:00-08:00 is in progress: run first holds it, "
            "attempt 1 of 3, until its lease ends at 2026-11-22T13:00:00-08:00"
        ),
        "  ready at  -",
        "  in line   the run that holds it is expected to complete it",
    ]
    assert third.out.splitlines() == [
        HEADER.format("2026-11-21T06", "2026-11-21T08", "PENDING"),
        "  verdict   READY",
        (
            "  why       window 2026-11-21T06:00:00-08:00 is stable since "
            "2026-11-22T08:00:00-08:00 and complete"
        ),
        "  ready at  2026-11-22 08:00",
        (
            "  in line   2 runs come before it; its run starts at 2026-11-22 12:00: "
            f"starts when run 2 ends; {ASSUMED}"
        ),
    ]
    assert future.out.splitlines() == [
        HEADER.format("2026-11-21T14", "2026-11-21T16", "not stored yet"),
        (
            "  in line   6 runs come before it; its run starts at 2026-11-22 16:00: "
            f"starts when its data is stable; {ASSUMED}"
        ),
    ]


def test_why_of_one_window_says_what_will_never_be_passed_or_was(command, orders, runner):
    done, failed = (runner.pass_valid_record("orders", name).record for name in ("a", "b"))
    runner.complete_record("orders", done["claim_token"])
    runner.fail_record("orders", failed["claim_token"], "no disk", retry=False)

    assert command("why", "orders", "--window", "2026-11-21T02:00").out.splitlines() == [
        HEADER.format("2026-11-21T02", "2026-11-21T04", "COMPLETED"),
        "  in line   it is COMPLETED: `record-ledger history` shows its life",
    ]
    says = command("why", "orders", "--window", "2026-11-21T04:00").out.splitlines()
    assert says[-1] == "  in line   no run will be passed it as things stand"


def test_why_of_one_window_knows_what_is_lost_and_what_has_no_attempt_left(
    command, config_file, clock
):
    kept = {"source_retention": "34h", "max_attempts": 1}
    config_file.write_text(json.dumps({**json.loads(config_file.read_text()), **kept}))
    clock.set("2026-11-22T20:00:00Z")  # the window from midnight on is lost, the next one is passed
    assert command("run", "--config", config_file).code == 0
    clock.set("2026-11-23T00:00:00Z")
    for window, verdict in (("02:00", "LEASE_EXPIRED"), ("04:00", "LOST")):
        says = command("why", "orders", "--window", f"2026-11-21T{window}").out.splitlines()
        assert says[1].split() == ["verdict", verdict]
        assert says[-1] == "  in line   no run will be passed it as things stand"


def test_why_of_an_archived_window_says_what_it_was(command, orders, runner):
    again = runner.pass_valid_record("orders", "first").record
    runner.complete_record("orders", again["claim_token"])
    assert command("archive", "orders", "--before", "2026-11-21T02:00").json["record_count"] == 1
    assert command("why", "orders", "--window", "2026-11-21").out.splitlines() == [
        HEADER.format("2026-11-21T00", "2026-11-21T02", "COMPLETED"),
        "  in line   it is COMPLETED: `record-ledger history` shows its life",
    ]


def test_why_of_one_window_as_json(command, orders):
    found = command("why", "orders", "--window", "2026-11-21T04:00", "--json").json

    assert found["record"]["verdict"] == "READY"
    assert found["runs_before"] == 1
    assert found["run"]["starts_at"] == "2026-11-22T12:00:00-08:00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "2026-11-21"], "--window needs the PIPELINE"),
        (["orders", "--window", "noon"], "'noon' is no time"),
        (["orders", "--window", "2026-11-21T02:01"], "no record of pipeline orders starts at"),
        (["orders", "--window", "2031-01-01"], "nor does a window of its next 10,000 runs"),
        (["order", "--window", "2026-11-21T02:00"], 'unknown pipeline "order"'),
    ],
)
def test_a_window_that_is_not_there_is_one_clear_error(command, orders, arguments, message):
    done = command("why", *arguments)

    assert (done.code, done.out) == (1, "")
    assert message in done.err
