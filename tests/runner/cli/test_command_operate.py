"""What each command of an operator prints, changes and leaves alone: waive, cancel, pause ..."""

from __future__ import annotations

import pytest

from tests.sql.support import snapshot

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles
DAY = ("--from", "2026-11-21", "--to", "2026-11-22", "--reason", "the shop's closed")


@pytest.fixture
def orders(runner, config, clock):
    """Six records from midnight on: the first completed, the second in progress."""
    clock.set(NOON)
    given = config("orders")
    record = runner.store_new_and_pass_valid_record(given, "run-1").record
    runner.complete_record("orders", record["claim_token"])
    runner.store_new_and_pass_valid_record(given, "run-2")
    return "orders"


@pytest.fixture
def statuses(ledger):
    def read():
        query = "select status from record_ledger.pipeline_records order by window_start_time"
        return [status for (status,) in ledger.execute(query)]

    return read


STORED = ["COMPLETED", "IN_PROGRESS", *["PENDING"] * 4]


def test_waive_shows_what_changed_and_what_was_left_alone_and_why(command, orders, statuses):
    done = command("waive", orders, *DAY)

    assert (done.code, done.err) == (0, "")
    assert [line.replace("2026-11-21 ", "") for line in done.out.splitlines()[:-1]] == [
        "EFFECT      STATUS       RECORDS  FROM              TO                WHY",
        "changed     PENDING            4  04:00  12:00  becomes WAIVED",
        "left alone  COMPLETED          1  00:00  02:00  is COMPLETED already",
        "left alone  IN_PROGRESS        1  02:00  04:00  a run holds it",
        "Changed: 4 records.",
    ]
    assert {key: done.json[key] for key in done.json if key != "effects"} == {
        "operation": "waive",
        "pipeline_id": orders,
        "dry_run": False,
        "changed_count": 4,
        "left_alone_count": 2,
    }
    assert done.json["effects"][0] == {
        "effect": "changed",
        "status": "PENDING",
        "reason": "becomes WAIVED",
        "record_count": 4,
        "first_window_start_time": "2026-11-21T04:00:00-08:00",
        "last_window_end_time": "2026-11-21T12:00:00-08:00",
    }
    assert statuses() == ["COMPLETED", "IN_PROGRESS", *["WAIVED"] * 4]


def test_the_others_do_what_they_say(command, orders, statuses, runner):
    expired = command("expire-leases", orders, *DAY, "--json")
    assert expired.json["changed_count"] == 1
    assert expired.out.count("\n") == 1
    assert statuses() == ["COMPLETED", *["PENDING"] * 5]
    reopened = command("reopen", orders, *DAY)
    assert "becomes PENDING, one generation later" in reopened.out
    assert statuses() == ["PENDING"] * 6
    assert command("backfill", orders, "--from", "2026-11-20T13:00").json["changed_count"] == 12
    assert len(statuses()) == 18
    again = command("backfill", orders, "--from", "2026-11-20", "--reason", "again")
    assert (again.code, again.json["changed_count"]) == (0, 0)
    events = runner.record_events(orders, runner.pipeline_records(orders)[13]["window_start_time"])
    assert [e["event"] for e in events] == ["passed", "lease_expired"]
    assert events[1]["detail"]["reason"] == "the shop's closed"


def test_a_dry_run_writes_nothing_and_says_so(command, orders, ledger):
    before = snapshot(ledger)
    for arguments in (
        ("waive", orders, *DAY),
        ("reopen", orders, *DAY),
        ("expire", orders, *DAY),
        ("backfill", orders, "--from", "2026-11-01"),
        ("pause", orders, "--reason", "x"),
        ("retire", orders, "--reason", "x"),
        ("resume", orders),
    ):
        done = command(*arguments, "--dry-run")

        assert done.code == 0
        assert "Dry run: nothing was written." in done.out
        assert done.json["dry_run"] is True
        assert done.json.get("changed_count") != 0
    assert snapshot(ledger) == before


def test_a_dry_run_says_what_a_pipeline_would_be(command, orders):
    for state in ("active", "paused", "retired"):
        for operation in ("pause", "retire", "resume"):
            reason = ("--reason", "maintenance")
            foretold = command(operation, orders, *reason, "--dry-run", "--json").json
            assert foretold["was"] == state
            done = command(operation, orders, *reason, "--json").json
            reported = ("was", "is", "pause_reason")
            assert [foretold[key] for key in reported] == [done[key] for key in reported]
            command("resume", orders)
            if state != "active":
                command({"paused": "pause", "retired": "retire"}[state], orders, "--reason", "x")
        command({"active": "pause"}.get(state, "retire"), orders, "--reason", "x")


def test_a_dry_run_refuses_the_reason_that_would_be_refused(command, orders):
    for arguments in (
        *((name, orders, *DAY) for name in ("waive", "reopen", "expire")),
        ("pause", orders),
        ("retire", orders),
    ):
        for how in ((), ("--dry-run",)):
            done = command(*arguments, "--reason", " ", *how)
            assert (done.code, done.out) == (1, "")
            assert "reason: must not be blank" in done.err


def test_a_time_without_an_offset_is_the_pipelines_local_time(command, orders):
    for time, counted in (
        ("2026-11-21T04:00", 3),
        ("2026-11-21T12:00Z", 3),
        ("2026-11-21T04:00:00.000001", 2),
        ("2026-11-21 04:00:00-08:00", 3),
    ):
        day = ("--from", time, "--to", "2026-11-21T10:00", "--reason", "x")

        assert command("waive", orders, *day, "--dry-run").json["changed_count"] == counted


def test_what_is_refused_exits_1_with_one_message(command, runner, config, orders):
    runner.register_pipeline(config("fresh"))
    runner.retire_pipeline(runner.register_pipeline(config("gone")), "no reader is left")
    for arguments, says in [
        (["waive", "ordrs", *DAY], 'Did you mean "orders"'),
        (["waive", "orders", *DAY, "--reason", " "], "reason: must not be blank"),
        (["waive", "orders", *DAY, "--to", "2026-11-21"], "the range is empty"),
        (["waive", "orders", *DAY, "--from", "last week"], "ISO 8601"),
        (["backfill", "orders", "--from", "1969-01-01"], "out of range"),
        (["backfill", "fresh", "--from", "2026-01-01"], "start_at"),
        (["pause", "ordrs", "--reason", "x"], 'Did you mean "orders"'),
        (["pause", "ordrs", "--reason", "x", "--dry-run"], "not registered"),
        (["resume", "'; drop schema record_ledger; --"], "unknown pipeline"),
        (["status", "gone"], "was retired by"),
    ]:
        done = command(*arguments)

        assert done.code == 1
        assert says in done.err
        assert done.out == ""


def test_pause_resume_and_retire_show_what_the_pipeline_was_and_is(command, orders, runner):
    paused = command("pause", orders, "--reason", "the source moves")
    header, row, last = paused.out.splitlines()
    assert header.split() == ["PIPELINE", "WAS", "IS", "SINCE", "BY", "REASON"]
    assert row.split()[:5] == [orders, "active", "paused", "2026-11-22", "12:00"]
    assert row.endswith("the source moves")
    assert '"is": "paused"' in last
    retired = command("retire", orders, "--reason", "no reader is left", "--json").json
    assert (retired["was"], retired["is"]) == ("paused", "retired")
    assert retired["pause_reason"] == "no reader is left"
    resumed = command("resume", orders, "--json").json
    assert (resumed["was"], resumed["is"], resumed["paused_by"]) == ("retired", "active", None)
    assert command("resume", orders, "--json").json["was"] == "active"
    assert len(runner.pipeline_events(orders)) == 4


def test_retired_pipelines_are_shown_when_they_are_asked_for(command, orders, runner, config):
    held = runner.pipeline_records(orders)[1]["claim_token"]
    runner.fail_record(orders, held, "no disk", retry=False)
    assert command("status", "--fail-on", "failed").code == 1
    runner.register_pipeline(config("living"))
    assert command("status", "--retired").out == "No pipeline is retired.\n"
    runner.retire_pipeline(orders, "no reader is left")

    assert [row["pipeline_id"] for row in command("status", "--json").json["pipelines"]] == [
        "living"
    ]
    assert "orders" not in command("status").out
    assert command("status", "--fail-on", "failed").code == 0
    shown = command("status", "--retired").out.splitlines()
    assert shown[1].split()[:3] == ["orders", "2026-11-22", "12:00"]
    assert shown[1].endswith("no reader is left")
    (row,) = command("status", "--retired", "--json").json["pipelines"]
    assert (row["pipeline_id"], row["pause_reason"]) == ("orders", "no reader is left")
    assert "PAUSED" in command("why", orders).out


def test_cancel_asks_the_run_to_stop_and_changes_nothing_else(command, orders, statuses, runner):
    held = runner.pipeline_records("orders")[1]
    token = held["claim_token"]
    foretold = command("cancel", orders, *DAY, "--dry-run")
    assert runner.claim_state(orders, token).state == "current"
    done = command("cancel", orders, *DAY)

    assert (done.code, done.err) == (0, "")
    assert foretold.json == {**done.json, "dry_run": True}
    assert done.out.splitlines()[1].split()[:3] == ["changed", "IN_PROGRESS", "1"]
    assert "the record fails when its run stops or its lease ends" in done.out
    assert statuses() == STORED
    state = runner.claim_state(orders, token)
    assert (state.state, state.reason) == ("cancelled", "the shop's closed")
    assert (
        state.cancelled_by == runner.record_events(orders, held["window_start_time"])[-1]["actor"]
    )
    assert runner.extend_lease(orders, token) is not None

    again = command("cancel", orders, *DAY)
    assert (again.json["changed_count"], "is cancelled already" in again.out) == (0, True)
    why = command("why", orders).out
    assert "it was cancelled by" in why and "so its run is to stop" in why
    runner.release_record(orders, token)
    assert statuses() == ["COMPLETED", "FAILED", *["PENDING"] * 4]
    lost = runner.claim_state(orders, token)
    assert (lost.state, lost.cancelled_by) == ("lost", None)
    assert "the record was released" in lost.reason
