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
    assert "starts at once" in lines[1]
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
        (["--run-duration", "20"], "'20' is no duration"),
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
