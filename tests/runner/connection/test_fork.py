"""Fork, pickle and copy: another process has a ledger of its own, and the parent keeps its own."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import psycopg
import pytest

from record_ledger import RecordLedger, RetryPolicy
from tests.runner.processes import until, waits_in_the_database

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# Sent to a fresh interpreter, so that the tests' own threads and fixtures are not forked.
WHILE_A_THREAD_IS_IN_A_CALL = """
import os, sys, threading, time, psycopg
from record_ledger import RecordLedger
dsn = sys.argv[1]
ledger = RecordLedger(dsn)
pids = lambda one: one._session.run("b", lambda c: c.info.backend_pid)
parents = pids(ledger)
with psycopg.connect(dsn) as blocker, psycopg.connect(dsn, autocommit=True) as observer:
    blocker.execute("select from record_ledger.pipeline for update")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ledger.pause_pipeline("orders", "why")))
    thread.start()
    query = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while not observer.execute(query, [parents]).fetchall():
        assert time.monotonic() < deadline
    child = os.fork()
    if child == 0:
        try:
            assert pids(ledger) != parents
            assert len(ledger.pipelines()) == 1
            ledger.close()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    blocker.rollback()
    thread.join(20)
    assert answers == [None], answers
    assert pids(ledger) == parents
"""

A_CHILD_OF_A_BLOCK = """
import json, os, sys
from record_ledger import RecordLedger
dsn, config = sys.argv[1], json.loads(sys.argv[2])
with RecordLedger(dsn) as ledger:
    with ledger.processing(config) as record:
        child = os.fork()
        if child == 0:
            sys.exit(3)  # leaves the block, and the ledger's, as an exception does
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3
        stored = ledger.pipeline_records("orders", record["window_start_time"])[0]
        assert stored["status"] == "IN_PROGRESS", stored["status"]
    stored = ledger.pipeline_records("orders", record["window_start_time"])[0]
    assert stored["status"] == "COMPLETED", stored["status"]
"""


def run_python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_child_that_is_forked_during_a_call_makes_its_own(runner, config, ledger_dsn):
    runner.register_pipeline(config("orders"))
    run_python(WHILE_A_THREAD_IS_IN_A_CALL, ledger_dsn)


def test_a_child_that_leaves_the_block_ends_nothing(ledger_dsn, config, clock):
    import json

    clock.set("2026-11-22T20:00:00Z")
    run_python(A_CHILD_OF_A_BLOCK, ledger_dsn, json.dumps(config("orders")))


def test_the_server_sees_the_parents_end_though_a_child_lives_on(ledger_dsn, ledger):
    """A child that kept its copy of the socket open would keep the parent's session alive."""
    code = (
        "import os, sys\n"
        "from record_ledger import RecordLedger\n"
        "ledger = RecordLedger(sys.argv[1])\n"
        "print(ledger._session.run('b', lambda c: c.info.backend_pid), flush=True)\n"
        "if os.fork() == 0:\n"
        "    sys.stdin.read()\n"
        "    os._exit(0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, ledger_dsn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    parent.wait(20)
    query = "select from pg_stat_activity where pid = %s"
    until(lambda: not ledger.execute(query, [pid]).fetchall(), "the session's end")
    parent.stdin.close()
    parent.stdout.close()


def names_of(ledger):
    with ledger:
        return [row["pipeline_id"] for row in ledger.pipelines()]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_ledger_is_given_to_workers_of_multiprocessing(runner, config, method):
    runner.register_pipeline(config("orders"))
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(names_of, (runner,)) == ["orders"]
    assert names_of(runner) == ["orders"]


def test_what_is_pickled_is_a_ledger_of_the_same_database(ledger_dsn, config):
    policy = RetryPolicy(tries=3, within=2.0)
    with RecordLedger(ledger_dsn, retry=policy) as runner:
        runner.register_pipeline(config("orders"))
        thawed = pickle.loads(pickle.dumps(runner))
        assert type(thawed) is RecordLedger
        assert thawed._retry == policy
        assert thawed._session is not runner._session
        assert names_of(thawed) == ["orders"]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_has_a_connection_of_its_own(runner, config, make):
    runner.register_pipeline(config("orders"))
    made = make(runner)
    assert names_of(made) == ["orders"]
    assert made._session is not runner._session
    assert not runner._session._connection.closed


def test_a_ledger_of_the_environment_is_pickled_without_a_secret(monkeypatch, ledger_dsn):
    dsn = psycopg.conninfo.make_conninfo(ledger_dsn, password="s3cret")
    monkeypatch.setenv("RECORD_LEDGER_DSN", dsn)
    with RecordLedger() as runner:
        runner.pipelines()
        assert b"s3cret" not in pickle.dumps(runner)


def test_a_child_forked_while_a_block_runs_may_call_the_ledger(
    runner, ledger, config, clock, connect
):
    clock.set("2026-11-22T20:00:00Z")
    with runner.processing(config("orders")) as record:
        context = multiprocessing.get_context("fork")
        with context.Pool(1) as pool:
            assert pool.apply(names_of, (runner,)) == ["orders"]
        blocker = connect(autocommit=False)
        blocker.execute("select from record_ledger.pipeline for update")
        thread = threading.Thread(target=runner.pause_pipeline, args=("orders", "why"))
        thread.start()
        waits_in_the_database(ledger, "transactionid")
        with context.Pool(1) as pool:
            assert pool.apply(names_of, (runner,)) == ["orders"]
        blocker.rollback()
        thread.join(20)
    assert runner.pipeline_records("orders", record["window_start_time"])[0]["status"] == (
        "COMPLETED"
    )
