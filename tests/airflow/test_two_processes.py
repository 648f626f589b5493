"""Two simultaneous DAG runs, and a worker that is killed: each run in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import pytest

from record_ledger import RecordLedger
from tests.support.repository import ROOT

DEADLINE = 240.0


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set("2026-11-22T12:00:00Z")
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def elsewhere(airflow_home, connection, tmp_path):
    """Starts the DAG `held` in another process with a home of its own, once its work has begun."""
    import json

    from tests.airflow.support import settings

    home = tmp_path / "home"
    shutil.copytree(airflow_home, home)
    started = []

    def start(until):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.airflow.run_dag", "held", json.dumps({"until": until})],
            cwd=ROOT, env={**os.environ, **settings(home), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        watchdog = threading.Timer(DEADLINE, process.kill)
        watchdog.daemon = True
        watchdog.start()
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("working on "):
                return process, line.split()[-1]
        raise AssertionError("the work never began:\n" + "".join(said[-50:]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def statuses(ledger):
    return [record["status"] for record in ledger.pipeline_records("held", limit=3)]


def test_two_simultaneous_runs_work_on_two_windows(elsewhere, run_dag, ledger, tmp_path):
    until = tmp_path / "now"
    process, window = elsewhere(str(until))

    run = run_dag("held")

    assert run.state == "success"
    assert window == "2026-11-22T00:00:00+00:00"
    assert statuses(ledger) == ["IN_PROGRESS", "COMPLETED", "PENDING"]
    until.touch()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert statuses(ledger) == ["COMPLETED", "COMPLETED", "PENDING"]


def test_the_record_of_a_killed_worker_is_passed_again_when_its_lease_has_run_out(
    elsewhere, run_dag, ledger, clock, tmp_path
):
    process, window = elsewhere(str(tmp_path / "never"))
    process.kill()
    process.wait(DEADLINE)

    assert statuses(ledger) == ["IN_PROGRESS", "PENDING", "PENDING"]
    clock.advance("2s")  # the lease is over, the record waits for its backoff of 5 minutes
    assert run_dag("held").state == "success"
    assert statuses(ledger) == ["PENDING", "COMPLETED", "PENDING"]
    clock.advance("5m")
    assert run_dag("held").state == "success"

    (record, *_) = ledger.pipeline_records("held")
    assert record["window_start_time"].isoformat() == window
    assert (record["status"], record["attempt"]) == ("COMPLETED", 2)
    events = ledger.record_events("held", record["window_start_time"])
    assert [e["event"] for e in events] == ["passed", "lease_expired", "passed", "completed"]
