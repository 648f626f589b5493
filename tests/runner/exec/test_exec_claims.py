"""exec keeps the claim while its command runs, and ends the command when the claim is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress

import psutil
import pytest

from record_ledger import RecordLedger
from record_ledger.server.deploy import deploy
from tests.runner.processes import NOON, Exec, content, is_alive, shell, until

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts"),
    pytest.mark.slow,
]


@pytest.fixture
def orders(config, clock, tmp_path):
    """A config file whose lease is as short as the test likes."""
    clock.set(NOON)

    def with_lease(lease):
        path = tmp_path / "orders.toml"
        path.write_text(
            f'timezone = "UTC"\nx_time_back = "1d"\ngranularity = "4h"\nlease = "{lease}"\n'
            '[default_record]\npipeline_id = "orders"\n'
        )
        return path

    return with_lease


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


def test_the_lease_is_extended_at_every_third_while_the_command_runs(
    started, orders, runner, clock, tmp_path
):
    os.mkfifo(tmp_path / "go")
    done = started("--config", orders("3s"), *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go"))
    content(tmp_path / "on")

    passed = first(runner)["lease_expires_at"]
    clock.advance("2s")
    until(lambda: first(runner)["lease_expires_at"] == passed.add(seconds=2), "a heartbeat")
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
    assert first(runner)["status"] == "COMPLETED"


def test_a_claim_that_another_took_ends_the_command_and_changes_nothing(
    started, orders, ledger_dsn, runner, tmp_path
):
    script = f"trap 'echo told > {tmp_path}/told; exit 0' TERM; echo $$ > {tmp_path}/on; "
    config = orders("2s")
    done = started(
        "--config", config, "--run-id", "r", *shell(script + "while :; do sleep 0.01; done")
    )
    content(tmp_path / "on")

    with RecordLedger(ledger_dsn) as other:
        taken = other.pass_valid_record("orders", "r").record

    assert done.ended() == 1
    assert content(tmp_path / "told") == "told"
    assert done.json["outcome"] == "lost"
    assert done.json["claim_token"] < taken["claim_token"]
    assert done.json["reason"].startswith("claim lost")
    assert "neither completed nor failed: claim lost" in done.err
    assert "Traceback" not in done.err
    assert (first(runner)["status"], first(runner)["claim_token"]) == (
        "IN_PROGRESS",
        taken["claim_token"],
    )


def test_a_lost_command_that_does_not_stop_is_killed_after_the_grace(
    started, orders, ledger_dsn, tmp_path
):
    script = f"trap '' TERM; echo $$ > {tmp_path}/on; while :; do sleep 0.01; done"
    done = started("--config", orders("2s"), "--run-id", "r", "--grace", "0.1", *shell(script))
    pid = int(content(tmp_path / "on"))

    with RecordLedger(ledger_dsn) as other:
        other.pass_valid_record("orders", "r")

    assert done.ended() == 1
    assert not is_alive(pid)
    assert (done.json["outcome"], done.json["exit_code"]) == ("lost", 128 + signal.SIGKILL)


def test_a_lease_that_expired_and_was_collected_ends_the_command(
    started, orders, ledger_dsn, runner, clock, tmp_path
):
    done = started("--config", orders("2s"), *shell(f"echo > {tmp_path}/on; exec sleep 600"))
    content(tmp_path / "on")

    clock.advance("3s")
    with RecordLedger(ledger_dsn) as other:
        # A heartbeat may have come first; the next one is two thirds of a second away.
        until(
            lambda: (
                other.pass_valid_record("orders").record is not None
                and clock.advance("3s")
                and first(runner)["last_event"] == "lease_expired"
            ),
            "the lease to be collected",
        )

    assert done.ended() == 1
    assert done.json["outcome"] == "lost"
    assert first(runner)["last_event"] == "lease_expired"


def test_heartbeats_that_reach_nobody_for_a_lease_end_the_command(
    started, orders, runner, connect, tmp_path
):
    done = started("--config", orders("1s"), *shell(f"echo > {tmp_path}/on; exec sleep 600"))
    content(tmp_path / "on")

    # The heartbeat hangs: what counts is this machine's clock.
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.record for update")
    done.said("claim lost")
    blocker.rollback()

    assert done.ended() == 1
    assert done.json["outcome"] == "lost"
    assert "no heartbeat reached the ledger for 1 s" in done.json["reason"]
    assert first(runner)["status"] == "IN_PROGRESS"


@pytest.mark.kills_server
@pytest.mark.own_server
def test_finished_work_is_told_to_a_server_that_was_away_while_the_lease_lasts(
    own_server, config_file, tmp_path
):
    deploy(own_server.dsn())
    os.mkfifo(tmp_path / "go")
    folder = tmp_path / "exec"
    folder.mkdir()
    done = Exec(
        folder,
        own_server.dsn(),
        *("--config", config_file, *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go")),
        RECORD_LEDGER_RETRY_WITHIN="0",  # all patience is the lease's
    )
    content(tmp_path / "on")
    own_server.kill()
    (tmp_path / "go").write_text("on\n")
    done.said("call=complete_record event=retry tried=4")
    own_server.start()

    assert done.ended() == 0
    assert done.json["outcome"] == "completed"
    with RecordLedger(own_server.dsn()) as ledger:
        assert ledger.pipeline_records("orders", limit=1)[0]["status"] == "COMPLETED"


@pytest.mark.kills_server
@pytest.mark.own_server
def test_a_signal_ends_the_wait_for_a_server_that_is_away(own_server, config_file, tmp_path):
    deploy(own_server.dsn())
    os.mkfifo(tmp_path / "go")
    folder = tmp_path / "exec"
    folder.mkdir()
    done = Exec(
        folder,
        own_server.dsn(),
        *("--config", config_file, *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go")),
        RECORD_LEDGER_RETRY_WITHIN="1",
    )
    content(tmp_path / "on")
    own_server.kill()
    (tmp_path / "go").write_text("on\n")
    done.said("call=complete_record event=retry tried=4")
    done.signal(signal.SIGTERM)

    assert done.ended() == 128 + signal.SIGTERM
    assert done.json["outcome"] == "lost"
    assert "the ledger was not told" in done.json["reason"]


def test_a_claim_that_was_ended_by_hand_is_lost_when_the_command_ends(
    started, orders, runner, tmp_path
):
    os.mkfifo(tmp_path / "go")
    done = started("--config", orders("1h"), *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go"))
    content(tmp_path / "on")

    runner.fail_record("orders", first(runner)["claim_token"], "by hand")
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 1
    assert done.json["outcome"] == "lost"
    assert done.json["reason"].startswith("exit code 0, but claim lost")
    assert first(runner)["last_detail"]["error"] == "by hand"


def test_kill_9_of_exec_ends_the_command_and_what_it_started(started, orders, runner, tmp_path):
    script = f"sleep 600 & echo $$ $! > {tmp_path}/on; wait"
    done = started("--config", orders("1h"), *shell(script))
    pids = [int(pid) for pid in content(tmp_path / "on").split()]
    assert all(map(is_alive, pids))

    done.signal(signal.SIGKILL)
    done.ended()

    until(lambda: not any(map(is_alive, pids)), "the command's end")
    assert first(runner)["status"] == "IN_PROGRESS"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_without_a_shell_kill_9_of_exec_still_ends_the_command(started, orders, tmp_path):
    program = (
        "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w'))\ntime.sleep(600)"
    )
    done = started(
        "--config", orders("1h"), "--", sys.executable, "-c", program, tmp_path / "on", PATH="/none"
    )
    pid = int(content(tmp_path / "on"))

    done.signal(signal.SIGKILL)
    done.ended()

    until(lambda: not is_alive(pid), "the command's end")


# ---------------------------------------------------------------- an exec that stands still
@pytest.mark.parametrize("shell_name", ["sh", "bash", "dash"])
def test_a_frozen_exec_loses_its_command_when_the_lease_is_over(
    started, orders, runner, tmp_path, shell_name
):
    found = shutil.which(shell_name)
    if found is None:
        pytest.skip(f"there is no {shell_name}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(found)
    script = f"sleep 600 & echo $$ $! > {tmp_path}/on; wait"
    done = started(
        "--config", orders("2s"), "--", "/bin/sh", "-c", script,
        PATH=f"{tmp_path}/bin:{os.environ['PATH']}",
    )  # fmt: skip
    pids = [int(pid) for pid in content(tmp_path / "on").split()]

    done.signal(signal.SIGSTOP)
    until(lambda: not any(map(is_alive, pids)), "the command's end")

    assert first(runner)["status"] == "IN_PROGRESS"
    done.signal(signal.SIGCONT)
    assert done.ended() == 1
    assert "Traceback" not in done.err


def heartbeats(count, runner, clock, meanwhile=lambda: None):
    """Returns after so many heartbeats; each is seen by the ledger's clock, which stands."""
    for _ in range(count):
        before = first(runner)["lease_expires_at"]
        clock.advance("10ms")
        meanwhile()
        until(lambda before=before: first(runner)["lease_expires_at"] > before, "a heartbeat")


def test_nothing_is_ended_while_heartbeats_come_through(started, orders, runner, clock, tmp_path):
    os.mkfifo(tmp_path / "go")
    done = started("--config", orders("2s"), *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go"))
    content(tmp_path / "on")

    heartbeats(6, runner, clock)  # two leases long
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
    assert first(runner)["status"] == "COMPLETED"


def test_an_exec_that_goes_on_in_time_keeps_its_command(started, orders, runner, clock, tmp_path):
    os.mkfifo(tmp_path / "go")
    done = started("--config", orders("5s"), *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go"))
    content(tmp_path / "on")

    def freeze():
        done.signal(signal.SIGSTOP)
        until(lambda: psutil.Process(done.process.pid).status() == psutil.STATUS_STOPPED, "a stop")
        done.signal(signal.SIGCONT)

    heartbeats(4, runner, clock, freeze)
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
    assert first(runner)["status"] == "COMPLETED"


def test_a_guard_that_is_stopped_itself_holds_nothing_up(started, orders, runner, clock, tmp_path):
    os.mkfifo(tmp_path / "go")
    done = started("--config", orders("3s"), *shell(f"echo > {tmp_path}/on; read x <{tmp_path}/go"))
    content(tmp_path / "on")
    (guard,) = [
        child
        for child in psutil.Process(done.process.pid).children()
        if any("watcher" in argument for argument in child.cmdline())
    ]
    guard.suspend()

    heartbeats(2, runner, clock)
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
    assert first(runner)["status"] == "COMPLETED"


def test_the_guard_leaves_no_process_behind(started, orders, tmp_path):
    done = started("--config", orders("1h"), "--drain", "--jobs", "2", "--", "true")
    own = psutil.Process(done.process.pid)
    seen = set()

    def has_ended():
        with suppress(psutil.NoSuchProcess):
            seen.update(own.children(recursive=True))
        return done.process.poll() is not None

    until(has_ended, "the drain")

    assert done.process.returncode == 0
    until(
        lambda: not any(map(is_alive, [process.pid for process in seen])), "the end of all of them"
    )
