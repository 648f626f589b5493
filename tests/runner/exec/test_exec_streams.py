"""Streams of ours that cannot be written: lost output fails its record, and ends a drain."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.runner.processes import DEADLINE, NOON, until, waits_in_the_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell"),
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full"),
]

FULL = "its standard output could not be written: No space left on device"
GONE = "its standard output could not be written: Broken pipe"


@pytest.fixture
def start(ledger_dsn, config, clock, tmp_path):
    """Starts a shell text in which `$CLI` is record-ledger and config.json a config."""
    clock.set(NOON)
    orders = config("orders", granularity="1m", start_at="2026-11-21")
    (tmp_path / "config.json").write_text(json.dumps(orders))
    started = []

    def begin(text, **options):
        variables = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(
            ["sh", "-c", text],
            cwd=tmp_path,
            env={
                **variables,
                "RECORD_LEDGER_DSN": ledger_dsn,
                "CLI": f"{sys.executable} -m record_ledger",
            },
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def shell(start):
    """Runs such a text; returns its exit code, and what it printed on both streams."""

    def run(text):
        process = start(text)
        out, err = process.communicate(timeout=2 * DEADLINE)
        return process.returncode, out, err

    return run


def states(runner):
    """How many records of the pipeline are in which state."""
    found = {}
    for record in runner.pipeline_records("orders"):
        found[record["status"]] = found.get(record["status"], 0) + 1
    return found


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


# ---------------------------------------------------------------- standard output
def test_output_that_has_no_room_fails_its_record(shell, runner):
    code, _, err = shell("$CLI exec --config config.json -- seq 3000 > /dev/full")

    assert code == 1
    assert FULL in err and "Traceback" not in err
    assert first(runner)["last_event"] == "failed"
    assert FULL in first(runner)["last_detail"]["error"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk")
def test_a_disk_that_runs_full_within_the_output_fails_the_record(shell, runner, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "full", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk: {mounted.stderr.decode()}")
    try:
        code, _, err = shell("$CLI exec --config config.json -- seq 30000 > disk/out")
    finally:
        subprocess.run(["umount", disk], check=True)

    assert code == 1
    assert FULL in err
    assert FULL in first(runner)["last_detail"]["error"]


def test_a_last_line_without_a_line_break_that_has_no_room_fails_its_record(shell, runner):
    code, _, err = shell("$CLI exec --config config.json --jobs 2 -- printf abc > /dev/full")

    assert code == 1
    assert err.count(FULL) == 2
    assert {event["event"] for event in runner.record_events("orders")} == {"passed", "failed"}


def test_a_stream_that_is_not_open_for_writing_fails_the_record(shell, runner):
    code, _, err = shell("$CLI exec --config config.json -- echo done 1< /dev/null")

    assert code == 1
    assert "could not be written: Bad file descriptor" in err
    assert first(runner)["last_event"] == "failed"


def test_a_drain_ends_with_the_reader_of_its_output(shell, runner):
    code, out, err = shell(
        "($CLI exec --config config.json --drain -- seq 3000; echo $? >&2) | head -1"
    )

    assert (code, out) == (0, "1\n")
    assert err.endswith("\n1\n")
    found = states(runner)
    # A pipe holds a few outputs that nobody read; of 720 windows the others were not begun.
    assert found.get("COMPLETED", 0) < 20
    events = [event["event"] for event in runner.record_events("orders")]
    assert events.count("failed") == 1
    assert events.count("passed") == found.get("COMPLETED", 0) + 1


def test_a_reader_that_goes_before_the_command_writes_fails_its_record(start, runner, tmp_path):
    os.mkfifo(tmp_path / "go")
    process = start("$CLI exec --config config.json -- sh -c 'echo > on; read x < go; echo done'")
    until((tmp_path / "on").exists, "the command")
    process.stdout.close()
    (tmp_path / "go").write_text("on\n")

    assert process.wait(DEADLINE) == 1
    assert GONE in process.stderr.read()
    assert GONE in first(runner)["last_detail"]["error"]


def test_the_other_jobs_finish_and_no_turn_begins_once_output_is_lost(start, runner, tmp_path):
    # The second window's command is silent, and ends after the first one's output was lost.
    os.mkfifo(tmp_path / "go")
    script = """case $RECORD_LEDGER_WINDOW_START_TIME in
        *T00:00:*) until [ -e silent ]; do sleep 0.01; done; echo lost;;
        *) touch silent; read x < go;;
        esac"""
    (tmp_path / "script").write_text(script)
    process = start("$CLI exec --config config.json --drain --jobs 2 -- sh script > /dev/full")
    until(
        lambda: any(event["event"] == "failed" for event in runner.record_events("orders")),
        "the failure of the first one",
    )
    (tmp_path / "go").write_text("on\n")

    assert process.wait(DEADLINE) == 1
    events = [event["event"] for event in runner.record_events("orders")]
    assert sorted(events) == ["completed", "failed", "passed", "passed"]


def test_a_command_that_printed_nothing_has_lost_nothing(shell, runner):
    code, _, err = shell("$CLI exec --config config.json -- true > /dev/full")

    assert (code, err) == (1, "record-ledger: No space left on device\n")
    assert first(runner)["status"] == "COMPLETED"


def test_a_command_that_fails_says_so_and_that_its_output_was_lost(shell, runner):
    code, _, _ = shell("$CLI exec --config config.json -- sh -c 'echo x; exit 7' > /dev/full")

    assert code == 1
    noted = first(runner)["last_detail"]["error"]
    assert noted.startswith(("exit code 7, and " + FULL, "killed by SIGPIPE, and " + FULL))


def test_output_into_a_pipe_that_somebody_made_non_blocking_is_whole(start, runner):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start("$CLI exec --config config.json -- seq 100000", stdout=writer)
    os.close(writer)
    until(lambda: select.select([reader], [], [], 0)[0], "the first output")
    with os.fdopen(reader, encoding="ascii") as lines:
        *numbers, last = lines.read().splitlines()

    assert process.wait(DEADLINE) == 0
    assert numbers == [str(number) for number in range(1, 100_001)]
    assert json.loads(last)["outcome"] == "completed"


# ---------------------------------------------------------------- standard error
def test_messages_that_have_no_room_do_not_decide_about_the_work(shell, runner):
    code, out, _ = shell("$CLI exec --config config.json -- sh -c 'echo hm >&2' 2> /dev/full")

    assert code == 0
    assert json.loads(out)["outcome"] == "completed"
    assert first(runner)["last_detail"]["stderr_error"] == "No space left on device"


def test_a_command_that_fails_into_a_full_standard_error_keeps_its_history(shell, runner):
    code, out, _ = shell(
        "$CLI exec --config config.json -- sh -c 'echo hm >&2; exit 3' 2> /dev/full"
    )

    assert (code, json.loads(out)["outcome"]) == (1, "failed")
    assert first(runner)["last_detail"]["error"] == "exit code 3: hm"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("run -v --config config.json", 0),
        ("exec -v --config config.json -- true", 0),
        ("status -v", 0),
        ("no-such-command", 2),
        ("history -v orders 2026-11-21", 1),
    ],
)
def test_a_full_standard_error_changes_no_exit_code(shell, command, code):
    assert shell(f"$CLI {command} 2> /dev/full")[0] == code


def test_a_full_standard_error_stops_no_long_work(shell, runner):
    assert shell("$CLI run --config config.json")[0] == 0
    many = "waive orders --from 2026-09-01 --to 2026-11-21 --reason closed"
    assert shell("$CLI backfill orders --from 2026-09-01 2> /dev/full")[0] == 0

    code, out, _ = shell(f"$CLI {many} --json 2> /dev/full")

    assert code == 0
    assert json.loads(out)["changed_count"] > 20_000


# ---------------------------------------------------------------- other commands
@pytest.mark.parametrize(
    "command", ["--help", "exec --help", "--version", "deploy --print-sql", "status"]
)
def test_output_of_a_command_that_cannot_be_written_is_one_message(shell, command):
    code, _, err = shell(f"$CLI {command} > /dev/full")

    assert (code, err) == (1, "record-ledger: No space left on device\n")


@pytest.mark.parametrize("command", ["--help", "deploy --print-sql", "status"])
def test_a_reader_that_has_gone_is_no_message(start, command):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(f"$CLI {command}", stdout=writer)
    os.close(writer)

    assert process.wait(DEADLINE) == 1
    assert process.stderr.read() == ""


def test_a_run_without_standard_output_passes_no_record(shell, runner):
    code, _, err = shell("$CLI run --config config.json >&-")

    assert code == 1
    assert err.startswith("record-ledger: standard output is closed")
    assert runner.pipelines() == []


@pytest.mark.parametrize("to", ["> /dev/full", "1< /dev/null", "| true"])
def test_a_record_that_a_run_cannot_print_is_given_back(shell, runner, to):
    # The reader may be quicker or slower than the pass: it is gone when the JSON comes.
    text = f"$CLI run --config config.json {to}"
    shell(text if to != "| true" else "(sleep 0.1; $CLI run --config config.json) | true")

    assert [event["event"] for event in runner.record_events("orders")] == ["passed", "released"]


def test_a_run_that_is_stopped_while_it_prints_gives_its_record_back(start, runner):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while os.write(writer, b"x" * size):
                pass
    os.set_blocking(writer, True)
    process = start("exec $CLI run -v --config config.json", stdout=writer)
    os.close(writer)
    while "call=store_new_and_pass_valid_record" not in process.stderr.readline():
        assert process.poll() is None

    process.terminate()

    assert process.wait(DEADLINE) == 143
    os.close(reader)
    assert [event["event"] for event in runner.record_events("orders")] == ["passed", "released"]


def test_a_run_that_is_stopped_while_it_waits_for_the_ledger_leaves_nothing_claimed(
    start, runner, connect, config
):
    orders = config("orders", granularity="1m", start_at="2026-11-21")
    runner.register_pipeline(orders)
    blocker, observer = connect(autocommit=False), connect()
    blocker.execute("select from record_ledger.pipeline where pipeline_id = 'orders' for update")
    process = start("exec $CLI run --config config.json")
    waits_in_the_database(observer, "transactionid")

    process.terminate()

    assert process.wait(DEADLINE) == 143
    assert "Traceback" not in process.stderr.read()
    blocker.rollback()
    assert runner.record_events("orders") == []
