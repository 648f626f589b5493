"""The example DAGs through a real scheduler, DAG processor and triggerer, with LocalExecutor."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from record_ledger import RecordLedger
from tests.airflow.conftest import as_connection

DEADLINE = 180.0
TASKFLOW, WAITING, FOLLOWER = "example_taskflow", "example_waiting", "example_follower"


@pytest.fixture
def airflow(ledger_dsn, empty_dsn, tmp_path):
    from tests.airflow.installation import Installation

    home = tmp_path / "airflow"
    home.mkdir()
    connection = {"AIRFLOW_CONN_RECORD_LEDGER_DEFAULT": as_connection(ledger_dsn)}
    with Installation(home, empty_dsn, connection) as running:
        yield running


@pytest.fixture
def ledger(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def statuses(ledger, pipeline_id, limit):
    return [record["status"] for record in ledger.pipeline_records(pipeline_id, limit=limit)]


def test_runs_through_the_scheduler(airflow, ledger, clock, tmp_path):
    """One test for all, because an Airflow takes long to start."""
    clock.set("2026-11-22T00:14:58Z")
    deferred = airflow.trigger(WAITING)
    runs = [airflow.trigger(TASKFLOW) for _ in range(2)]

    two_simultaneous_runs_take_two_windows(airflow, ledger, runs)
    a_deferred_run_goes_on_when_its_window_is_stable(airflow, ledger, clock, deferred)
    a_dag_follows_by_the_asset(airflow)
    a_cleared_task_is_skipped_until_its_record_is_reopened(airflow, ledger, runs[0])
    a_task_that_is_killed_from_outside_fails_its_record(airflow, ledger, tmp_path)
    work_that_is_marked_as_done_while_it_runs_completes_its_record(airflow, ledger, tmp_path)


def two_simultaneous_runs_take_two_windows(airflow, ledger, runs):
    assert [airflow.wait_for_end(TASKFLOW, run) for run in runs] == ["success"] * 2
    for run in runs:
        assert set(airflow.tasks(TASKFLOW, run).values()) == {"success"}
    assert statuses(ledger, TASKFLOW, 3) == ["COMPLETED", "COMPLETED", "PENDING"]
    passed = [airflow.xcom(TASKFLOW, run, "store_new_and_pass_valid_record") for run in runs]
    for run, record in zip(runs, passed, strict=True):
        assert record["run_id"] == f"{TASKFLOW}/{run}/store_new_and_pass_valid_record/-1"
    assert {record["path"] for record in passed} == {
        "orders/2026-11-20/0000-0800.csv",
        "orders/2026-11-20/0200-0800.csv",
    }
    assert airflow.xcom(TASKFLOW, runs[0], "copy") == {"rows": 1200}


def a_deferred_run_goes_on_when_its_window_is_stable(airflow, ledger, clock, run):
    airflow.wait_for(
        lambda: airflow.tasks(WAITING, run)["wait_for_valid_record"] == "deferred",
        DEADLINE,
        "the sensor's deferral",
    )
    clock.set("2026-11-22T00:15:00Z")

    assert airflow.wait_for_end(WAITING, run) == "success"
    assert statuses(ledger, WAITING, 1) == ["COMPLETED"]


def a_dag_follows_by_the_asset(airflow):
    def runs():
        return airflow.api("GET", f"/api/v2/dags/{FOLLOWER}/dagRuns")["dag_runs"]

    airflow.wait_for(runs, DEADLINE, "the DAG that follows")
    (run,) = runs()
    assert airflow.wait_for_end(FOLLOWER, run["dag_run_id"]) == "success"
    started_at = airflow.xcom(FOLLOWER, run["dag_run_id"], "report")
    assert started_at == ["2026-11-22T00:00:00+01:00"]


def a_cleared_task_is_skipped_until_its_record_is_reopened(airflow, ledger, run):
    """Clearing the work also clears the task that passes the record, which is its setup."""

    def clear():
        airflow.api(
            "POST",
            f"/api/v2/dags/{TASKFLOW}/clearTaskInstances",
            {
                "dag_run_id": run,
                "task_ids": ["copy"],
                "dry_run": False,
                "only_failed": False,
                "include_downstream": True,
            },
        )

    clear()
    assert airflow.wait_for_end(TASKFLOW, run) == "success"
    assert set(airflow.tasks(TASKFLOW, run).values()) == {"skipped"}
    log = airflow.api(
        "GET",
        f"/api/v2/dags/{TASKFLOW}/dagRuns/{quote(run)}/taskInstances/"
        "store_new_and_pass_valid_record/logs/2?full_content=true",
    )
    assert "record-ledger reopen" in str(log)

    ledger.reopen_records(TASKFLOW, "2026-11-20", "2026-11-21", "rows were missing")
    clear()
    assert airflow.wait_for_end(TASKFLOW, run) == "success"
    assert set(airflow.tasks(TASKFLOW, run).values()) == {"success"}
    generations = [record["generation"] for record in ledger.pipeline_records(TASKFLOW, limit=2)]
    assert generations == [2, 2]


def a_task_that_is_killed_from_outside_fails_its_record(airflow, ledger, tmp_path):
    until = tmp_path / "never"
    run = airflow.trigger("held", until=str(until))
    airflow.wait_for((tmp_path / "never.begun").exists, DEADLINE, "the work's beginning")

    airflow.api(
        "PATCH",
        f"/api/v2/dags/held/dagRuns/{quote(run)}/taskInstances/work",
        {"new_state": "failed"},
    )

    assert airflow.wait_for_end("held", run) == "failed"
    (record,) = ledger.pipeline_records("held", limit=1)
    assert (record["status"], record["last_event"]) == ("PENDING", "failed")
    assert "TaskKilled" in record["last_detail"]["error"]


def work_that_is_marked_as_done_while_it_runs_completes_its_record(airflow, ledger, tmp_path):
    until = tmp_path / "marked"
    run = airflow.trigger("held", until=str(until))
    airflow.wait_for((tmp_path / "marked.begun").exists, DEADLINE, "the work's beginning")

    airflow.api(
        "PATCH",
        f"/api/v2/dags/held/dagRuns/{quote(run)}/taskInstances/work",
        {"new_state": "success"},
    )

    assert airflow.wait_for_end("held", run) == "success"
    record = airflow.xcom("held", run, "store_new_and_pass_valid_record")
    (ended,) = [r for r in ledger.pipeline_records("held") if r["run_id"] == record["run_id"]]
    assert (ended["status"], ended["last_event"]) == ("COMPLETED", "completed")
