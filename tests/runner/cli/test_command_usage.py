"""Usage, logs, connections and signals of the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles


def start(*arguments, **options):
    """Starts `python -m record_ledger ARGUMENTS` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "record_ledger", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["no-such-command"],
        ["fail", "--pipeline", "p", "--claim-token", "1"],
        ["complete", "--claim-token", "one"],
        ["status", "--fail-on", "weather"],
        ["status", "--fail-on", "failed=2"],
        ["status", "--fail-on", "behind"],
        ["status", "--fail-on", ""],
        ["run", "--config", "x", "--run-id", ""],
        ["exec", "--config", "x", "--run-id", " ", "--", "true"],
        ["why", "--limit", "-1"],
        ["history", "orders"],
        ["archive", "orders"],
        ["archive", "--before", "2026-01-01"],
        ["as-of"],
        ["run", "--conf", "x"],
        ["status", "--retired", "--fail-on", "failed"],
        ["waive", "orders", "--from", "2026-11-01", "--to", "2026-11-02"],
        ["reopen", "orders", "--from", "2026-11-01", "--reason", "x"],
        ["backfill", "orders", "--reason", "x"],
        ["pause", "orders"],
    ],
)
def test_wrong_usage_exits_2(command, arguments):
    done = command(*arguments)

    assert done.code == 2
    assert "usage: record-ledger" in done.err


def test_help_and_version_exit_0(command):
    assert command("--help").code == 0
    assert "99" in command("--help").out
    assert command("--version").out.startswith("record-ledger ")
    listed = command("--help").out
    for name in (
        "demo", "deploy", "run", "exec", "complete", "fail", "release", "heartbeat", "status",
        "why", "plan", "history", "as-of", "waive", "reopen", "expire", "cancel", "backfill",
        "pause", "resume", "retire", "set-owner", "archive", "doctor",
    ):  # fmt: skip
        assert command(name, "--help").code == 0
        assert name in listed


def test_the_help_of_exec_says_that_a_run_has_one_record(command):
    said = command("exec", "--help").out

    assert "With a fixed --run-id one window is processed, ever" in said
    assert '--run-id "nightly-$(date +%F)"' in said
    assert "RECORD_LEDGER_RECORD_FILE" in said


def test_a_log_line_says_all_that_happened(command, config_file, clock):
    clock.set(NOON)

    done = command("run", "--config", config_file, "--run-id", "a run", "-v")

    line = done.err.strip().splitlines()[-1]
    assert "level=info" in line
    assert "call=store_new_and_pass_valid_record" in line
    assert 'run_id="a run"' in line
    assert "pipeline_id=orders" in line
    assert "window=2026-11-21T00:00:00-08:00" in line
    assert "verdict=READY" in line
    assert 'reason="' in line
    assert " ms=" in line


def test_global_options_may_stand_before_the_command(command, ledger_dsn, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_DSN", "host=/nowhere")

    assert command("--dsn", ledger_dsn, "status").code == 0
    assert command("status", "--dsn", ledger_dsn).code == 0


def test_a_database_that_is_not_there_is_one_message_without_the_password(command, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "0")  # what is not there is asked once
    done = command("status", "--dsn", "postgresql://me:s3cret@/nothing?host=/nowhere", "-q")

    assert done.code == 1
    assert "s3cret" not in done.err + done.out
    assert "Traceback" not in done.err
    assert "cannot be reached" in done.err


def test_two_databases_at_once_are_refused(command):
    done = command("status", "--dsn", "host=x", "--embedded", "y")

    assert done.code == 1
    assert "give one of them" in done.err


def test_colours_are_for_terminals_only(command, runner, config, clock, monkeypatch):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"))
    monkeypatch.setattr("record_ledger.cli.terminal.has_colours", lambda: True)

    assert "\x1b[32mREADY\x1b[0m" in command("status").out


# ---------------------------------------------------------------- as a process of its own
def test_python_dash_m_is_the_same_command(ledger_dsn):
    process = start("status", "--dsn", ledger_dsn, "--json")
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert json.loads(out) == {"pipelines": []}


def test_a_reader_that_has_seen_enough_causes_no_traceback(ledger_dsn, runner, config, clock):
    clock.set(NOON)
    runner.store_new_records(
        runner.register_pipeline(config("orders", granularity="1m", start_at="2026-11-15"))
    )
    process = start("why", "--limit", "0", "--dsn", ledger_dsn)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("PIPELINE")
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait(60)

    assert err == ""
    assert process.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_without_a_traceback(number, code, ledger_dsn, connect):
    blocker = connect(autocommit=False)
    blocker.execute("lock table record_ledger.pipeline in access exclusive mode")
    process = start("status", "--dsn", ledger_dsn)
    with connect() as observer:
        while not observer.execute(
            "select from pg_stat_activity where application_name = 'record-ledger' "
            "and wait_event_type = 'Lock' and datname = current_database()"
        ).fetchall():
            assert process.poll() is None

    process.send_signal(getattr(signal, number))
    _, err = process.communicate(timeout=60)

    assert process.returncode == code
    assert "Traceback" not in err
