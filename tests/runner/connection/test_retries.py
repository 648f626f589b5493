"""Calls survive dropped connections, restarts and deadlocks, and give up on what is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from record_ledger import LedgerError, LedgerUnavailable, RecordLedger, RetryPolicy
from record_ledger.connection import Session, connect

QUICK = RetryPolicy(tries=3, within=10.0, first_wait=0.001, longest_wait=0.002)
PATIENT = RetryPolicy(tries=1000, within=60.0, first_wait=0.01, longest_wait=0.05)


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn, retry=QUICK) as opened:
        yield opened


def retries(caplog):
    return [r.getMessage() for r in caplog.records if "event=retry" in r.getMessage()]


def test_a_call_whose_backend_is_ended_half_way_is_tried_again_and_passes_once(
    runner, config, clock, connect, in_background, caplog, ledger
):
    clock.set("2026-11-22T20:00:00Z")
    runner.register_pipeline(config("orders"))
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.pipeline where pipeline_id = 'orders' for update")
    call = in_background(
        runner._session._connection,
        lambda: runner.store_new_and_pass_valid_record(config("orders"), "run-1"),
    )
    call.wait_until_blocked()

    ledger.execute("select pg_terminate_backend(%s)", [call._pid])
    blocker.commit()
    record = call.result().record

    assert record["attempt"] == 1
    assert len(retries(caplog)) == 1
    events = runner.record_events("orders")
    assert [event["event"] for event in events] == ["passed"]


def test_an_idle_connection_that_was_ended_is_opened_again(runner, ledger, caplog):
    runner.pipelines()
    ledger.execute(
        "select pg_terminate_backend(%s)", [runner._session._connection.info.backend_pid]
    )

    assert runner.pipelines() == []
    assert len(retries(caplog)) == 1


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03", "57P01", "08006"])
def test_a_passing_failure_of_the_server_is_tried_again(ledger_dsn, ledger, sqlstate, caplog):
    ledger.execute("create sequence tries")
    session = Session(ledger_dsn, QUICK)

    def work(connection):
        connection.execute(
            "do $$ begin if nextval('tries') < 3 then "
            f"raise exception 'not now' using errcode = '{sqlstate}'; end if; end $$"
        )
        return "done"

    assert session.run("work", work) == "done"
    assert len(retries(caplog)) == 2
    session.close()


def test_another_failure_is_not_tried_again(ledger_dsn, caplog):
    session = Session(ledger_dsn, QUICK)

    with pytest.raises(LedgerError, match="division by zero"):
        session.run("work", lambda connection: connection.execute("select 1/0"))

    assert retries(caplog) == []
    session.close()


def test_tries_are_bounded_in_number(ledger_dsn, caplog):
    session = Session(ledger_dsn, QUICK)

    with pytest.raises(LedgerError) as caught:
        session.run(
            "work",
            lambda connection: connection.execute(
                "do $$ begin raise exception 'never' using errcode = '40P01'; end $$"
            ),
        )

    assert caught.value.sqlstate == "40P01"
    assert len(retries(caplog)) == QUICK.tries - 1
    session.close()


def test_a_server_that_is_not_there_is_one_clear_error(tmp_path, caplog):
    nowhere = f"host={tmp_path} user=me password=s3cret dbname=x"

    with pytest.raises(LedgerUnavailable) as caught, RecordLedger(nowhere, retry=QUICK) as opened:
        opened.pipelines()

    assert "cannot be reached after 3 tries" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in caplog.text


def test_tries_are_bounded_in_time(tmp_path, caplog):
    never = RetryPolicy(tries=1000, within=0.0, first_wait=1.0)

    with pytest.raises(LedgerUnavailable), RecordLedger(f"host={tmp_path}", retry=never) as opened:
        opened.pipelines()

    assert retries(caplog) == []


@pytest.mark.parametrize("wrong", [{"dbname": "no_such_database"}, {"user": "nobody_by_that_name"}])
def test_an_unknown_database_or_user_is_not_tried_again(ledger_dsn, wrong, caplog):
    with (
        pytest.raises(LedgerUnavailable, match="does not exist"),
        RecordLedger(make_conninfo(ledger_dsn, **wrong)) as opened,
    ):
        opened.pipelines()

    assert retries(caplog) == []


@pytest.mark.kills_server
@pytest.mark.own_server
def test_a_call_outlives_a_killed_server(own_server, config, retried):
    from record_ledger.server.deploy import deploy

    deploy(own_server.dsn())
    answers = []
    with RecordLedger(own_server.dsn(), retry=PATIENT) as opened:
        opened.register_pipeline(config("orders"))
        own_server.kill()
        thread = threading.Thread(
            target=lambda: answers.append(
                opened.store_new_and_pass_valid_record(config("orders"), "run-1")
            )
        )
        thread.start()
        assert retried.wait(20)
        own_server.start()
        thread.join(60)

    assert len(answers) == 1
    assert answers[0].verdict in ("READY", "UNSTABLE")


def test_threads_share_one_ledger(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    many = config("orders", granularity="30m")
    records = []

    def work():
        records.extend(runner.store_new_and_pass_valid_record(many).record for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    starts = [record["window_start_time"] for record in records]
    assert len(set(starts)) == 18


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_leaves_its_parents_connection_alone(ledger_dsn):
    code = (
        "import os, sys\n"
        "from record_ledger import RecordLedger\n"
        "ledger = RecordLedger(sys.argv[1])\n"
        "def backend():\n"
        "    return ledger._session.run('b', lambda c: c.info.backend_pid)\n"
        "parents = backend()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ledger.close()\n"
        "    same = backend() == parents\n"
        "    ledger.pipelines()\n"
        "    ledger.close()\n"
        "    os._exit(1 if same else 0)\n"
        "_, status = os.waitpid(child, 0)\n"
        "assert os.waitstatus_to_exitcode(status) == 0\n"
        "ledger.pipelines()\n"
        "assert backend() == parents\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ledger_dsn], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_closed_ledger_opens_again_when_used(runner):
    runner.close()
    runner.close()
    assert runner.pipelines() == []


@given(st.integers(2, 50), st.floats(0, 10), st.floats(0, 10))
def test_waits_are_never_longer_than_allowed(next_try, first, longest):
    policy = RetryPolicy(first_wait=first, longest_wait=longest)

    assert 0 <= policy.wait_before(next_try) <= longest


def test_no_server_side_state_is_used_that_a_pooler_would_lose(ledger_dsn):
    with connect(ledger_dsn) as connection:
        assert connection.prepare_threshold is None
        assert connection.autocommit


def test_an_application_name_of_the_users_own_stays(ledger_dsn, monkeypatch):
    with connect(make_conninfo(ledger_dsn, application_name="nightly")) as connection:
        assert connection.info.parameter_status("application_name") == "nightly"
    monkeypatch.setenv("PGAPPNAME", "from_env")
    with connect(ledger_dsn) as connection:
        assert connection.info.parameter_status("application_name") == "from_env"


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://me:s3cret s3cret@host/db",
        "host=h password=a s3cret",
        "pasword=s3cret",
        "host=h 's3cret",
    ],
)
def test_an_unreadable_connection_string_is_an_error_without_its_pieces(conninfo):
    with pytest.raises(LedgerError) as caught, RecordLedger(conninfo) as opened:
        opened.pipelines()

    shown = "".join(traceback.format_exception(caught.value))
    assert "cannot be read" in shown
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in shown.replace(repr(conninfo), "")
