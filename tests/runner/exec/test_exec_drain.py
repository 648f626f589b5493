"""exec --drain and --jobs: one record after another, side by side, and all of it once more."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import pytest

from record_ledger import RecordLedger
from record_ledger.exec import pool as pool_module
from record_ledger.exec.signals import Stop
from record_ledger.exec.turn import complete_and_pass
from tests.runner.processes import NOON, shell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts")


@pytest.fixture
def run(command, config, clock, tmp_path):
    """Runs exec in this process, at noon, on a pipeline with three valid windows."""
    clock.set(NOON)

    def run_exec(*arguments, **changes):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config("orders", **{"granularity": "4h", **changes})))
        return command("exec", "--config", path, *arguments)

    return run_exec


def fails_in(*hours):
    """A command that fails in the windows that start at these hours."""
    return shell(
        f"case {{{{ window_start_time.hour }}}} in {'|'.join(map(str, hours))}) exit 4; esac"
    )


def states(runner):
    return [(r["status"], r["run_id"]) for r in runner.pipeline_records("orders", limit=3)]


def attempts(runner):
    return [r["attempt"] for r in runner.pipeline_records("orders", limit=3)]


def test_a_drain_goes_on_until_nothing_is_valid(run, runner):
    done = run("--drain", *shell("echo {{ window_start_time.hour }}"))

    assert done.code == 0, done.err
    assert done.out.splitlines()[:-1] == ["0", "4", "8"]
    assert done.json == {
        "outcome": "completed",
        "pipeline_id": "orders",
        "completed": 3,
        "failed": 0,
        "cancelled": 0,
        "lost": 0,
        "released": 0,
        "verdict": "NO_RECORDS",
        "reason": done.json["reason"],
    }
    assert "2026-11-21T12:00:00-08:00" in done.json["reason"]
    assert [status for status, _ in states(runner)] == ["COMPLETED"] * 3


def test_the_commit_that_completes_a_record_passes_the_next_one(run, runner, ledger):
    run("--drain", "--", "true")

    commits = ledger.execute(
        "select array_agg(event order by window_start_time) from record_ledger.record_event "
        "group by xmin::text order by min(window_start_time), count(*)"
    ).fetchall()
    both = (["completed", "passed"],)
    assert commits == [(["passed"],), both, both, (["completed"],)]


def test_what_falls_due_while_a_backlog_is_drained_is_stored_within_a_minute(
    run, runner, ledger, monkeypatch
):
    monkeypatch.setattr(pool_module, "STORE_EVERY", 0.0)
    run("--drain", "--", "true")

    commits = ledger.execute("select count(distinct xmin::text) from record_ledger.record_event")
    assert commits.fetchone() == (6,)


def test_a_command_that_fails_does_not_stop_a_drain(run, runner):
    done = run("--drain", *fails_in(4))

    assert done.code == 1
    assert (done.json["outcome"], done.json["completed"], done.json["failed"]) == ("failed", 2, 1)
    assert done.err.count("the command failed: exit code 4") == 1
    assert [status for status, _ in states(runner)] == ["COMPLETED", "PENDING", "COMPLETED"]


def test_a_drain_that_was_passed_nothing_exits_99(run, clock):
    clock.set("2026-11-22T08:30:00Z")

    done = run("--drain", "--jobs", "3", "--", "false")

    assert done.code == 99
    assert (done.json["outcome"], done.json["verdict"]) == ("nothing", "UNSTABLE")


def test_a_drain_ends_when_a_record_has_no_attempt_left(run, runner):
    done = run("--drain", "--", "false", retry_delay="0s", max_attempts=2)

    assert (done.code, done.json["failed"], done.json["verdict"]) == (1, 6, "FAILED")
    assert [status for status, _ in states(runner)] == ["FAILED"] * 3


@pytest.mark.parametrize("arguments", [["no-such-command"], ["echo", "{{ windw }}"]])
def test_a_command_that_cannot_run_stops_a_drain_at_its_first_record(run, runner, arguments):
    done = run("--drain", "--jobs", "1", "--", *arguments)

    assert (done.code, done.json["outcome"], done.json["released"]) == (1, "failed", 1)
    assert done.err.count("\n") == 1
    assert states(runner) == [("PENDING", None)] * 3


def test_a_bad_config_is_one_message(run):
    done = run("--drain", "--jobs", "2", "--", "true", timezone="Nowhere/At_All")

    assert (done.code, done.out) == (1, "")
    assert done.err.count("record-ledger: ") == 1


def test_commands_of_a_drain_get_no_standard_input(run):
    done = run("--drain", *shell("cat; echo end"))

    assert done.out.splitlines()[:-1] == ["end"] * 3


# ---------------------------------------------------------------- run ids
def test_the_records_of_a_drain_are_passed_under_numbered_runs(run, runner):
    run("--drain", "--run-id", "R", "--", "true")

    assert [run_id for _, run_id in states(runner)] == ["R/1", "R/2", "R/3"]


def test_a_repeated_drain_takes_up_what_failed_and_skips_what_is_done(run, runner):
    assert run("--drain", "--run-id", "R", *fails_in(0, 4)).json["failed"] == 2
    assert attempts(runner) == [1, 1, 1]

    # Their backoff is their own: the same runs try again at once, and other runs do not.
    assert run("--drain", "--run-id", "S", "--", "true").code == 99
    again = run("--drain", "--run-id", "R", *fails_in(4))
    assert (again.code, again.json["completed"], again.json["failed"]) == (1, 1, 1)
    assert attempts(runner) == [2, 2, 1]

    last = run("--drain", "--run-id", "R", "--", "true")
    assert (last.code, last.json["completed"]) == (0, 1)
    assert states(runner) == [("COMPLETED", f"R/{number}") for number in (1, 2, 3)]
    assert run("--drain", "--run-id", "R", "--", "true").code == 99


def test_a_repeated_drain_goes_past_a_run_whose_record_failed_for_good(run, runner):
    run("--drain", "--run-id", "R", *fails_in(0, 4))
    passed = runner.pass_valid_record("orders", "R/1").record
    runner.fail_record("orders", passed["claim_token"], "for good", retry=False)

    again = run("--drain", "--run-id", "R", "--", "true")

    assert (again.code, again.json["completed"]) == (0, 1)
    assert [status for status, _ in states(runner)] == ["FAILED", "COMPLETED", "COMPLETED"]


def test_a_repeated_drain_takes_new_windows_under_the_next_numbers(run, runner, clock):
    run("--drain", "--run-id", "R", "--", "true")
    clock.advance("4h")

    again = run("--drain", "--run-id", "R", "--jobs", "2", "--", "true")

    assert (again.code, again.json["completed"]) == (0, 1)
    assert runner.pipeline_records("orders", limit=4)[3]["run_id"] == "R/4"


def test_a_drain_takes_over_what_a_dead_one_of_the_same_run_held(run, runner, config):
    orders = config("orders", granularity="4h")
    for number in (1, 2):
        runner.store_new_and_pass_valid_record(orders, f"R/{number}")

    done = run("--drain", "--run-id", "R", "--", "true")

    assert (done.code, done.json["completed"]) == (0, 3)
    assert attempts(runner) == [1, 1, 1]


def test_numbers_of_runs_are_read_from_the_history(runner, config, clock):
    clock.set(NOON)
    orders = config("orders")
    for run_id in ("R/2", "R/10", "R/x", "R/03", "R_/99", "RR/77"):
        assert runner.store_new_and_pass_valid_record(orders, run_id).record is not None

    assert runner._last_run_number("orders", "R") == 10
    assert runner._last_run_number("orders", "R_") == 99
    assert runner._last_run_number("orders", "%") == 0
    assert runner._last_run_number("others", "R") == 0


# ---------------------------------------------------------------- jobs
def test_jobs_without_a_drain_take_one_record_each(run, runner):
    done = run("--jobs", "2", "--run-id", "R", "--", "true")

    assert (done.code, done.json["completed"]) == (0, 2)
    assert sorted(states(runner), key=str) == [
        ("COMPLETED", "R/1"),
        ("COMPLETED", "R/2"),
        ("PENDING", None),
    ]
    assert run("--jobs", "2", "--run-id", "R", "--", "true").code == 99


def test_jobs_of_a_drain_run_at_the_same_time(run, runner, tmp_path):
    # Each of the first two waits until the other is there.
    script = f"""
        touch {tmp_path}/$RECORD_LEDGER_CLAIM_TOKEN.on
        until [ $(ls {tmp_path}/*.on | wc -l) -gt 1 ]; do sleep 0.01; done"""

    done = run("--drain", "--jobs", "2", "--run-id", "R", *shell(script))

    assert (done.code, done.json["completed"]) == (0, 3), done.err
    assert {run_id for _, run_id in states(runner)} == {"R/1", "R/2", "R/3"}


def test_a_job_that_finds_nothing_waits_for_what_the_others_make_valid(run, runner):
    done = run("--drain", "--jobs", "3", "--run-id", "R", "--", "true", depends_on_past=True)

    assert (done.code, done.json["completed"]) == (0, 3)
    assert {run_id for _, run_id in states(runner)} == {"R/1", "R/2", "R/3"}


def test_a_ledger_that_is_not_told_how_a_command_ended_ends_the_drain(
    run, runner, ledger, role_dsn
):
    run("--drain", "--", "true", start_at="2026-12-01")  # registers it
    for routine in ("complete_record", "complete_and_pass"):
        ledger.execute(
            f"revoke execute on function record_ledger.{routine} from record_ledger_runner, public"
        )

    done = run("--drain", "--dsn", role_dsn("runner"), "--", "true")

    assert (done.code, done.json["lost"], done.json["completed"]) == (1, 1, 0)
    assert "exit code 0, which the ledger was not told: permission denied" in done.err


def test_a_signal_while_the_next_record_is_passed_leaves_the_record_completed(
    ledger_dsn, runner, config, clock, connect, in_background
):
    clock.set(NOON)
    held = runner.store_new_and_pass_valid_record(config("orders"), "R/1").record
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.pipeline where pipeline_id = 'orders' for update")
    work = SimpleNamespace(stop=Stop())
    with RecordLedger(ledger_dsn) as other:
        other.pipelines()
        call = in_background(
            other._session._connection,
            lambda: complete_and_pass(work, other, held, {"exit_code": 0}, "R/2"),
        )
        call.wait_until_blocked()

        work.stop.request(signal.SIGTERM)

        assert call.result() is None
    blocker.rollback()
    assert [event["event"] for event in runner.record_events("orders")] == ["passed", "completed"]


def test_a_run_id_that_becomes_too_long_leaves_the_record_completed(run, runner):
    done = run("--drain", "--run-id", "x" * 1022, "--", "true", granularity="1h")

    assert done.code == 1 and "run_id" in done.err
    finished = [record["status"] for record in runner.pipeline_records("orders")]
    assert finished[:10] == ["COMPLETED"] * 9 + ["PENDING"]


def test_calls_that_another_thread_interrupts_end_and_change_nothing(
    ledger_dsn, runner, config, clock, connect, in_background
):
    clock.set(NOON)
    runner.register_pipeline(config("orders"))
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.pipeline where pipeline_id = 'orders' for update")
    with RecordLedger(ledger_dsn) as other:
        other.pipelines()
        call = in_background(
            other._session._connection,
            lambda: other.store_new_and_pass_valid_record(config("orders")),
        )
        call.wait_until_blocked()

        other.interrupt()

        with pytest.raises(Exception, match="cancel"):
            call.result()
        with pytest.raises(Exception, match="interrupted"):
            other.pipelines()
    blocker.rollback()
    assert runner.record_events("orders") == []
