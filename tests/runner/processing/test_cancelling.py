"""A cancelled claim: its work is told to stop, keeps the claim until it has, and fails for good."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading

import psycopg
import pytest

from record_ledger import ClaimCancelled, ClaimLost, LedgerError, RecordLedger
from record_ledger.heartbeat import Heartbeat
from tests.runner.processes import NOON, content, is_alive, shell, until

pytestmark = pytest.mark.slow

WHY = "wrong input"
DAY = "2026-11-01", "2026-12-01"


@pytest.fixture
def orders(config, clock):
    clock.set("2026-11-22T20:00:00Z")
    # A beat each second.
    return config("orders", lease="3s")


@pytest.fixture
def user(runner, orders, ledger):
    return ledger.execute("select session_user::text").fetchone()[0]


@pytest.fixture
def cancel(ledger_dsn):
    """Cancels all that runs hold of the pipeline, as an operator elsewhere."""

    def cancel_all(reason=WHY):
        with RecordLedger(ledger_dsn) as operator:
            assert operator.cancel_records("orders", *DAY, reason) >= 1

    return cancel_all


def stored(runner, record):
    return runner.pipeline_records("orders", record["window_start_time"])[0]


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


def is_failed_as_cancelled(found, user, why=WHY):
    """Asserts that a record has failed for good, and says who wanted it to."""
    assert (found["status"], found["last_event"]) == ("FAILED", "failed")
    assert found["retry_at"] is None
    detail = found["last_detail"]
    assert detail["error"].startswith(f"cancelled by {user}: {why}")
    assert (detail["retry"], detail["cancelled_by"], detail["cancel_reason"]) == (False, user, why)


# ---------------------------------------------------------------- the heartbeat
def test_a_heartbeat_tells_of_a_cancellation_once_and_keeps_the_claim(
    runner, orders, cancel, clock, user
):
    record = runner.store_new_and_pass_valid_record(orders).record
    told = []
    heartbeat = Heartbeat(runner, record)
    heartbeat.start(on_cancelled=lambda: told.append(heartbeat.cancellation))
    assert heartbeat.cancellation is None
    cancel()
    try:
        assert heartbeat.cancelled.wait(20)
        for _ in range(2):  # it beats on
            before = stored(runner, record)["lease_expires_at"]
            clock.advance("100ms")
            until(
                lambda before=before: stored(runner, record)["lease_expires_at"] > before, "a beat"
            )
    finally:
        assert heartbeat.stop() is None

    assert len(told) == 1
    assert isinstance(told[0], ClaimCancelled) and not isinstance(told[0], ClaimLost)
    assert (told[0].cancelled_by, told[0].reason) == (user, WHY)
    assert told[0].message == f"cancelled by {user}: {WHY}"
    assert not heartbeat.lost.is_set()
    assert stored(runner, record)["status"] == "IN_PROGRESS"


def test_a_beat_is_one_statement(runner, orders, cancel, user):
    record = runner.store_new_and_pass_valid_record(orders).record
    claim = "orders", record["claim_token"]
    sent = []
    with runner.another() as other:
        run = other._session.run
        other._session.run = lambda name, *rest, **more: (
            sent.append(name),
            run(name, *rest, **more),
        )[1]
        expires, state = other.beat(*claim, record["window_start_time"])
        assert (state.state, state.reason, state.cancelled_by) == ("current", None, None)
        cancel()
        _, state = other.beat(*claim)
        assert (state.state, state.reason, state.cancelled_by) == ("cancelled", WHY, user)
        assert expires == other.extend_lease(*claim)
    assert sent == ["extend_lease"] * 3
    runner.fail_record(*claim, "stopped")
    with pytest.raises(ClaimLost):
        runner.beat(*claim)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_beat_works_whatever_isolation_is_the_default(
    runner, orders, cancel, ledger_dsn, isolation
):
    record = runner.store_new_and_pass_valid_record(orders).record
    cancel()
    options = f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
    with RecordLedger(psycopg.conninfo.make_conninfo(ledger_dsn, options=options)) as other:
        assert other.beat("orders", record["claim_token"])[1].state == "cancelled"


def test_the_error_says_who_and_why_also_after_it_was_pickled():
    error = ClaimCancelled.by("eve", "password=s3cret in the input")
    again = pickle.loads(pickle.dumps(error))
    assert (again.cancelled_by, again.message, again.hint) == ("eve", error.message, error.hint)
    assert "s3cret" not in f"{error} {error.reason} {again.reason}"
    assert str(error).startswith("cancelled by eve: ")


# ---------------------------------------------------------------- processing
def process(work, block, error, match=None):
    """Has a block end with an error; returns the record and the error."""
    with pytest.raises(error, match=match) as raised, work as record:
        block()
    return record, raised.value


def test_a_block_that_checks_is_stopped_and_its_record_has_failed(runner, orders, cancel, user):
    work = runner.processing(orders)

    def block():
        work.check()
        cancel()
        while True:
            work.check()

    record, error = process(work, block, ClaimCancelled, WHY)

    assert error.cancelled_by == user
    assert work.cancelled.is_set() and not work.claim_lost.is_set()
    is_failed_as_cancelled(stored(runner, record), user)
    assert (
        runner.store_new_and_pass_valid_record(orders).record["window_start_time"]
        > record["window_start_time"]
    )


def test_a_block_that_has_seen_it_and_returns_has_not_done_its_work(runner, orders, cancel, user):
    work = runner.processing(orders)

    def block():
        cancel()
        until(work.cancelled.is_set, "a beat that tells of it")

    record, _ = process(work, block, ClaimCancelled, WHY)

    is_failed_as_cancelled(stored(runner, record), user)


def test_a_block_that_waits_for_it_in_a_thread_has_seen_it_as_well(runner, orders, cancel, user):
    work = runner.processing(orders)

    def block():
        thread = threading.Thread(target=work.cancelled.wait, args=[20])
        thread.start()
        cancel()
        thread.join()

    record, _ = process(work, block, ClaimCancelled, WHY)

    is_failed_as_cancelled(stored(runner, record), user)


def test_a_block_that_returns_before_it_looked_has_done_its_work(runner, orders, cancel):
    work = runner.processing(orders)
    with work as record:
        assert not work.cancelled.is_set()
        cancel()
        until(lambda: work._heartbeat.cancellation, "a beat that tells of it")
        work.detail["rows"] = 7

    found = stored(runner, record)
    assert (found["status"], found["last_detail"]) == ("COMPLETED", {"rows": 7})


def test_a_cancellation_that_no_beat_has_seen_leaves_the_block_its_end(runner, orders, cancel):
    with runner.processing({**orders, "lease": "1h"}) as record:
        cancel()
    assert stored(runner, record)["status"] == "COMPLETED"

    def block():
        cancel()
        raise ValueError("boom")

    record, _ = process(runner.processing({**orders, "lease": "1h"}), block, ValueError, "boom")
    found = stored(runner, record)
    assert (found["status"], found["last_detail"]["error"]) == ("FAILED", "ValueError: boom")


def test_the_blocks_own_exception_goes_on_and_is_kept(runner, orders, cancel, user):
    work = runner.processing(orders)

    def block():
        cancel()
        assert work.cancelled.wait(20)
        raise OSError("disk full")

    record, _ = process(work, block, OSError, "disk full")

    found = stored(runner, record)
    is_failed_as_cancelled(found, user)
    assert found["last_detail"]["error"] == f"cancelled by {user}: {WHY} (OSError: disk full)"


def test_no_second_run_begins_beside_a_cancelled_block(runner, orders, cancel, clock, ledger_dsn):
    work = runner.processing(orders, "a")

    def block():
        record = first(other)
        cancel()
        assert work.cancelled.wait(20)
        for _ in range(3):
            before = stored(other, record)["lease_expires_at"]
            clock.advance("2s")
            until(
                lambda before=before: stored(other, record)["lease_expires_at"] > before, "a beat"
            )
            assert other.store_new_and_pass_valid_record(orders, "a").verdict == "LEASED"
            taken = other.store_new_and_pass_valid_record(orders).record
            assert taken is None or taken["window_start_time"] > record["window_start_time"]

    with RecordLedger(ledger_dsn) as other:
        record, _ = process(work, block, ClaimCancelled)

    assert stored(runner, record)["status"] == "FAILED"


def test_check_raises_what_became_of_a_lost_claim(runner, orders, ledger_dsn):
    work = runner.processing(orders, "a")

    def block():
        with RecordLedger(ledger_dsn) as other:
            other.store_new_and_pass_valid_record(orders, "a")
        assert work.claim_lost.wait(20)
        work.check()
        pytest.fail("it must not go on")

    process(work, block, ClaimLost, "newer token")


def test_a_cancelled_block_whose_process_dies_has_failed_once_its_lease_is_over(
    runner, orders, cancel, clock
):
    record = runner.store_new_and_pass_valid_record(orders, "a").record
    cancel()
    clock.advance("4s")
    runner.store_new_and_pass_valid_record(orders, "b")
    found = stored(runner, record)
    assert (found["status"], found["last_event"]) == ("FAILED", "lease_expired")
    assert found["last_detail"]["cancel_reason"] == WHY


# ---------------------------------------------------------------- a source that is not ready
def test_a_block_gives_its_record_back(runner, orders):
    work = runner.processing(orders)
    with work as record:
        work.release()

    found = stored(runner, record)
    assert (found["status"], found["attempt"], found["last_event"]) == ("PENDING", 0, "released")
    with runner.processing(orders) as again:
        assert again["window_start_time"] == record["window_start_time"]


def test_a_block_gives_its_record_back_until_its_source_is_ready(runner, orders, clock):
    work = runner.processing(orders, "a")
    with work as record:
        work.release(not_before="2026-11-22T20:30:00Z")

    found = stored(runner, record)
    assert (found["status"], found["attempt"]) == ("PENDING", 0)
    assert found["retry_at"].minute == 30
    taken = runner.store_new_and_pass_valid_record(orders, "a").record
    assert taken is None or taken["window_start_time"] > record["window_start_time"]


def test_a_block_that_raises_after_it_gave_the_record_back_has_failed(runner, orders):
    work = runner.processing(orders)

    def block():
        work.release()
        raise ValueError("boom")

    record, _ = process(work, block, ValueError, "boom")

    assert stored(runner, record)["last_event"] == "failed"


def test_a_wrong_time_to_give_it_back_until_fails_the_record_and_is_raised(runner, orders):
    work = runner.processing(orders)
    with pytest.raises(LedgerError, match="not_before"), work as record:
        work.release(not_before="infinity")

    assert stored(runner, record)["last_event"] == "failed"


def test_a_cancelled_block_that_gives_its_record_back_has_failed_for_good(runner, orders, cancel):
    work = runner.processing(orders)
    with work as record:
        cancel()
        until(lambda: work._heartbeat.cancellation, "a beat that tells of it")
        work.release()

    found = stored(runner, record)
    assert (found["status"], found["last_detail"]["cancel_reason"]) == ("FAILED", WHY)


def test_without_a_record_there_is_nothing_to_give_back(runner, orders, clock):
    clock.set("2026-11-22T08:30:00Z")
    work = runner.processing(orders)
    with work as record:
        assert record is None
        work.check()
        with pytest.raises(LedgerError, match="no record"):
            work.release()


# ---------------------------------------------------------------- exec
posix = pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts")


@pytest.fixture
def file(orders, clock, tmp_path, config):
    clock.set(NOON)
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(config("orders", lease="3s", granularity="4h")))
    return path


@posix
def test_the_command_of_a_cancelled_record_is_stopped(
    started, file, runner, cancel, user, tmp_path
):
    script = f"echo half done >&2; echo > {tmp_path}/on; exec sleep 600"
    done = started("--config", file, *shell(script))
    content(tmp_path / "on")
    cancel()

    assert done.ended() == 1
    assert (done.json["outcome"], done.json["exit_code"]) == ("cancelled", 128 + signal.SIGTERM)
    assert done.json["reason"] == f"cancelled by {user}: {WHY}"
    assert f"the command was stopped: cancelled by {user}: {WHY}" in done.err
    assert "Traceback" not in done.err
    found = first(runner)
    is_failed_as_cancelled(found, user)
    assert found["last_detail"]["error"] == f"cancelled by {user}: {WHY}: half done"
    assert (
        runner.store_new_and_pass_valid_record(json.loads(file.read_text())).record[
            "window_start_time"
        ]
        > (found["window_start_time"])
    )


@posix
def test_a_cancelled_command_that_does_not_stop_is_killed_with_all_it_started(
    started, file, runner, cancel, user, tmp_path
):
    script = (
        f"trap '' TERM; (trap '' TERM; while :; do sleep 0.01; done) & "
        f"echo $$ $! > {tmp_path}/on; while :; do sleep 0.01; done"
    )
    done = started("--config", file, "--grace", "0.2", *shell(script))
    pids = [int(pid) for pid in content(tmp_path / "on").split()]
    cancel()

    assert done.ended() == 1
    assert not any(map(is_alive, pids))
    assert (done.json["outcome"], done.json["exit_code"]) == ("cancelled", 128 + signal.SIGKILL)
    is_failed_as_cancelled(first(runner), user)


@posix
def test_the_claim_is_kept_until_a_cancelled_command_has_stopped(
    started, file, runner, cancel, clock, tmp_path
):
    os.mkfifo(tmp_path / "go")
    script = (
        f"trap 'echo > {tmp_path}/told; read x <{tmp_path}/go; exit 3' TERM; "
        f"echo > {tmp_path}/on; while :; do sleep 0.01; done"
    )
    done = started("--config", file, "--run-id", "r", "--grace", "60", *shell(script))
    content(tmp_path / "on")
    cancel()
    until((tmp_path / "told").exists, "a signal")
    wanted = json.loads(file.read_text())
    for _ in range(3):
        before = first(runner)["lease_expires_at"]
        clock.advance("2s")
        until(lambda before=before: first(runner)["lease_expires_at"] > before, "a beat")
        # No second command begins on it, nor one of the same run.
        assert runner.store_new_and_pass_valid_record(wanted, "r").verdict == "LEASED"
        taken = runner.store_new_and_pass_valid_record(wanted).record
        assert taken is None or taken["window_start_time"] > first(runner)["window_start_time"]
        assert first(runner)["status"] == "IN_PROGRESS"
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 1
    assert (done.json["outcome"], done.json["exit_code"]) == ("cancelled", 3)
    assert first(runner)["status"] == "FAILED"


@posix
def test_a_command_that_ends_with_0_all_the_same_has_done_its_work(
    started, file, runner, cancel, tmp_path
):
    script = (
        f"trap 'echo > {tmp_path}/told' TERM; echo > {tmp_path}/on; "
        f"until [ -e {tmp_path}/told ]; do sleep 0.01; done; exit 0"
    )
    done = started("--config", file, *shell(script))
    content(tmp_path / "on")
    cancel()

    assert done.ended() == 0
    assert done.json["outcome"] == "completed"
    assert first(runner)["status"] == "COMPLETED"


@posix
def test_a_drain_goes_on_behind_a_cancelled_record(started, file, runner, cancel, user, tmp_path):
    script = f"[ -e {tmp_path}/on ] && exit 0; echo > {tmp_path}/on; exec sleep 600"
    done = started("--config", file, "--drain", *shell(script))
    content(tmp_path / "on")
    cancel()

    assert done.ended() == 1
    counts = {name: done.json[name] for name in ("completed", "failed", "cancelled", "lost")}
    assert counts == {"completed": 2, "failed": 0, "cancelled": 1, "lost": 0}
    assert done.json["outcome"] == "failed"
    statuses = [one["status"] for one in runner.pipeline_records("orders", limit=3)]
    assert statuses == ["FAILED", "COMPLETED", "COMPLETED"]
    is_failed_as_cancelled(first(runner), user)


@posix
def test_of_commands_side_by_side_only_the_cancelled_one_is_stopped(
    started, file, runner, user, tmp_path
):
    os.mkfifo(tmp_path / "go")
    script = f"echo $$ > {tmp_path}/{{{{ window_start_time.hour }}}}; read x <{tmp_path}/go"
    done = started("--config", file, "--jobs", "2", *shell(script))
    pids = [int(content(tmp_path / hour)) for hour in ("0", "4")]
    start = first(runner)["window_start_time"]
    assert runner.cancel_records("orders", start, first(runner)["window_end_time"], WHY) == 1
    until(lambda: first(runner)["status"] == "FAILED", "the end of the cancelled one")
    assert list(map(is_alive, pids)) == [False, True]
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 1
    assert (done.json["completed"], done.json["cancelled"]) == (1, 1)
    is_failed_as_cancelled(first(runner), user)


@posix
def test_a_signal_while_a_cancelled_command_stops_is_as_ever(
    started, file, runner, cancel, user, tmp_path
):
    script = (
        f"trap 'echo > {tmp_path}/told' TERM; echo $$ > {tmp_path}/on; while :; do sleep 0.01; done"
    )
    done = started("--config", file, "--grace", "60", *shell(script))
    pid = int(content(tmp_path / "on"))
    cancel()
    until((tmp_path / "told").exists, "a signal")
    done.signal(signal.SIGINT)
    done.said("SIGINT: stopping")
    done.signal(signal.SIGTERM)  # the second one kills

    assert done.ended() == 128 + signal.SIGINT
    assert not is_alive(pid)
    assert done.json["outcome"] == "cancelled"
    is_failed_as_cancelled(first(runner), user)


@posix
def test_kill_9_of_exec_leaves_a_cancelled_record_to_its_lease(
    started, file, runner, cancel, clock, tmp_path
):
    script = f"trap '' TERM; echo $$ > {tmp_path}/on; while :; do sleep 0.01; done"
    done = started("--config", file, "--grace", "60", *shell(script))
    pid = int(content(tmp_path / "on"))
    cancel()
    done.signal(signal.SIGKILL)
    done.ended()
    until(lambda: not is_alive(pid), "the command's end")

    clock.advance("4s")
    final_config = json.loads(file.read_text())
    taken = runner.store_new_and_pass_valid_record(final_config).record
    found = first(runner)
    assert taken["window_start_time"] > found["window_start_time"]
    assert (found["status"], found["last_event"]) == ("FAILED", "lease_expired")
    assert found["last_detail"]["cancel_reason"] == WHY


@posix
def test_a_command_that_fails_before_it_was_told_fails_for_good_and_says_so(
    started, file, runner, cancel, tmp_path
):
    os.mkfifo(tmp_path / "go")
    file.write_text(json.dumps({**json.loads(file.read_text()), "lease": "1h"}))
    script = f"echo > {tmp_path}/on; read x <{tmp_path}/go; exit 4"
    done = started("--config", file, *shell(script))
    content(tmp_path / "on")
    cancel()
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 1
    assert (done.json["outcome"], done.json["reason"]) == ("failed", "exit code 4")
    found = first(runner)
    assert (found["status"], found["last_detail"]["cancel_reason"]) == ("FAILED", WHY)


# ---------------------------------------------------------------- two sessions
def test_a_beat_that_waits_for_the_cancellation_extends_the_lease(
    runner, orders, connect, ledger, ledger_dsn
):
    """The beat began before: it tells of it the next time, and loses nothing."""
    record = runner.store_new_and_pass_valid_record(orders).record
    operator = connect(autocommit=False)
    operator.execute(
        "select record_ledger.cancel_records('orders', %s, %s, 'why')",
        [record["window_start_time"], record["window_end_time"]],
    )
    answers = []
    with RecordLedger(ledger_dsn) as other:
        beating = threading.Thread(
            target=lambda: answers.append(other.beat("orders", record["claim_token"]))
        )
        beating.start()
        until(
            lambda: ledger.execute(
                "select from pg_stat_activity where wait_event_type = 'Lock' "
                "and query like '%%extend_lease%%' and pid <> pg_backend_pid()"
            ).fetchall(),
            "a beat that waits",
        )
        operator.commit()
        beating.join()
        assert answers[0][0] == stored(runner, record)["lease_expires_at"]
        assert answers[0][1].state in ("current", "cancelled")
        assert other.beat("orders", record["claim_token"])[1].state == "cancelled"


# ---------------------------------------------------------------- the shell
def test_the_shell_says_when_runs_learn_of_it_and_its_heartbeat_tells(
    command, orders, runner, tmp_path, user
):
    record = runner.store_new_and_pass_valid_record(orders).record
    claim = "--pipeline", "orders", "--claim-token", record["claim_token"]
    assert "cancelled_by" not in command("heartbeat", *claim).json
    where = ["orders", "--from", DAY[0], "--to", DAY[1], "--reason", WHY]
    assert "30 s" not in command("cancel", *where, "--dry-run").out
    done = command("cancel", *where)
    assert "heartbeats learn of it within 30 s and stop" in done.out
    beat = command("heartbeat", *claim)
    assert beat.code == 0
    assert (beat.json["outcome"], beat.json["cancelled_by"], beat.json["reason"]) == (
        "extended",
        user,
        WHY,
    )
    assert f"cancelled by {user}: {WHY}" in beat.err
    assert "30 s" not in command("cancel", *where).out
