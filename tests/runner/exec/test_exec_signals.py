"""exec passes signals on to its command, and leaves no claim behind whenever they come."""

from __future__ import annotations

import os
import signal

import pytest

from tests.runner.processes import (
    NOON,
    blocks_after_the_pass,
    content,
    is_alive,
    shell,
    until,
    waits_in_the_database,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

WAIT = "while :; do sleep 0.01; done"


@pytest.fixture
def run(started, config_file, clock):
    clock.set(NOON)
    return lambda *arguments: started("--config", config_file, *arguments)


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_reaches_the_whole_group_and_fails_the_record(run, runner, tmp_path, number, code):
    # The grandchild tidies up after its shell has gone.
    (tmp_path / "inner.sh").write_text(
        f"trap 'echo bye >&2; echo tidy > {tmp_path}/tidy; exit' {number.name[3:]}\n"
        f"echo > {tmp_path}/on\n{WAIT}\n"
    )
    done = run(*shell(f"sh {tmp_path}/inner.sh; exit 5"))
    content(tmp_path / "on")

    done.signal(number)

    assert done.ended() == code
    assert content(tmp_path / "tidy") == "tidy"
    assert (done.json["outcome"], done.json["reason"]) == ("failed", f"stopped by {number.name}")
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 1)
    noted = first(runner)["last_detail"]["error"]
    assert noted.startswith(f"stopped by {number.name}: ")
    assert noted.endswith("bye")
    assert f"record-ledger: {number.name}: stopping" in done.err
    assert "Traceback" not in done.err


def test_a_command_that_ends_with_0_after_a_signal_completes_its_record(run, runner, tmp_path):
    done = run(*shell(f"trap 'exit 0' TERM; echo > {tmp_path}/on; {WAIT}"))
    content(tmp_path / "on")

    done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert done.json["outcome"] == "completed"
    assert first(runner)["status"] == "COMPLETED"


def test_a_command_that_does_not_stop_is_killed_after_the_grace(run, runner, tmp_path):
    done = run("--grace", "0.1", *shell(f"trap '' TERM; echo $$ > {tmp_path}/on; {WAIT}"))
    pid = int(content(tmp_path / "on"))

    done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert not is_alive(pid)
    assert (done.json["exit_code"], done.json["reason"]) == (137, "stopped by SIGTERM")
    assert first(runner)["last_event"] == "failed"


def test_a_second_signal_kills_at_once(run, runner, tmp_path):
    done = run("--grace", "600", *shell(f"trap '' TERM INT; echo $$ > {tmp_path}/on; {WAIT}"))
    pid = int(content(tmp_path / "on"))

    done.signal(signal.SIGTERM)
    done.said("SIGTERM: stopping")
    assert is_alive(pid)
    done.signal(signal.SIGINT)

    assert done.ended() == 143
    assert not is_alive(pid)
    assert done.json["reason"] == "stopped by SIGTERM"
    assert first(runner)["last_event"] == "failed"


def test_a_stop_that_arrives_twice_at_once_is_one(run, runner, tmp_path):
    done = run(
        *shell(f"trap 'echo tidy > {tmp_path}/tidy; exit 0' TERM; echo > {tmp_path}/on; {WAIT}")
    )
    content(tmp_path / "on")

    # As timeout and service managers do it: to each of a group, of which one passes it on.
    for _ in range(3):
        done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert content(tmp_path / "tidy") == "tidy"
    assert done.json["outcome"] == "completed"
    assert "a third signal" not in done.err


def test_a_third_signal_leaves_a_record_that_cannot_be_ended(run, runner, connect, tmp_path):
    done = run("--grace", "600", *shell(f"trap '' TERM; echo $$ > {tmp_path}/on; {WAIT}"))
    pid = int(content(tmp_path / "on"))
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.record for update")

    for number, said in ((signal.SIGTERM, "a second signal"), (signal.SIGINT, "a third signal")):
        done.signal(number)
        done.said(said)
    done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert not is_alive(pid)
    blocker.rollback()


def test_a_signal_during_the_pass_takes_no_record(run, runner, connect, config, tmp_path):
    runner.register_pipeline(config("orders"))
    blocker, observer = connect(autocommit=False), connect()
    blocker.execute("select from record_ledger.pipeline where pipeline_id = 'orders' for update")
    done = run(*shell(f"touch {tmp_path}/ran"))
    waits_in_the_database(observer, "transactionid")

    done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert (done.json["outcome"], done.json["verdict"]) == ("nothing", None)
    assert done.json["reason"] == "stopped by SIGTERM before a record was passed"
    blocker.rollback()
    assert runner.record_events("orders") == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_between_the_pass_and_the_command_releases_the_record(
    run, runner, ledger, connect, tmp_path, number, code
):
    blocks_after_the_pass(ledger)
    blocker = connect()
    blocker.execute("select pg_advisory_lock(7)")
    done = run(*shell(f"touch {tmp_path}/ran"))
    waits_in_the_database(ledger, "advisory")
    (status,) = ledger.execute("select min(status) from record_ledger.record").fetchone()
    assert status == "IN_PROGRESS"

    done.signal(number)
    done.said("stopping")
    blocker.execute("select pg_advisory_unlock(7)")

    assert done.ended() == code
    assert done.json["outcome"] == "released"
    assert done.json["reason"] == f"stopped by {number.name} before the command was started"
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 0)
    assert not (tmp_path / "ran").exists()


def test_a_signal_stops_all_parallel_commands_and_begins_no_other(run, runner, tmp_path):
    script = f"echo $$ > {tmp_path}/on-$RECORD_LEDGER_ATTEMPT-$$; {WAIT}"
    done = run("--drain", "--jobs", "2", *shell(script))
    until(lambda: len(list(tmp_path.glob("on-*"))) == 2, "two commands")
    pids = [int(content(path)) for path in tmp_path.glob("on-*")]

    done.signal(signal.SIGTERM)

    assert done.ended() == 143
    assert not any(map(is_alive, pids))
    assert (done.json["outcome"], done.json["failed"]) == ("failed", 2)
    errors = [event["detail"].get("error") for event in runner.record_events("orders")]
    assert sorted(errors, key=str) == [None, None] + ["stopped by SIGTERM"] * 2


def test_a_signal_that_our_caller_wants_ignored_stays_ignored(
    config_file, clock, ledger_dsn, tmp_path, started
):
    clock.set(NOON)
    os.mkfifo(tmp_path / "go")
    done = started(
        "--config",
        config_file,
        *shell(f"echo > {tmp_path}/on; read x < {tmp_path}/go"),
        ignored=signal.SIGHUP,
    )
    content(tmp_path / "on")

    done.signal(signal.SIGHUP)
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
