"""Tasks that Airflow kills, and tasks that it tries again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from record_ledger import RecordLedger


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set("2026-11-22T12:00:00Z")
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def orders(config):
    return config("orders", timezone="UTC", x_time_back="1h", granularity="1h")


def test_killed_work_fails_its_record_when_there_is_no_retry(run_dag, ledger):
    run = run_dag("killed_0")

    assert run.tasks["work"] == "failed"
    (first, *_) = ledger.pipeline_records("killed_0")
    assert (first["status"], first["attempt"]) == ("PENDING", 1)
    events = ledger.record_events("killed_0", first["window_start_time"])
    assert [event["event"] for event in events] == ["passed", "failed"]
    assert "TaskKilled" in first["last_detail"]["error"]


def test_killed_work_keeps_its_claim_for_the_retry(run_dag, ledger):
    run = run_dag("killed_1")

    assert (run.state, run.tries["work"]) == ("success", 2)
    (first, *_) = ledger.pipeline_records("killed_1")
    assert (first["status"], first["attempt"]) == ("COMPLETED", 1)


@pytest.mark.parametrize(
    ("retries", "followers", "run_state", "status"),
    [
        (0, [], "running", "PENDING"),
        (1, [], "running", "IN_PROGRESS"),
        (0, [SimpleNamespace(task_type="CompleteRecordOperator")], "running", "IN_PROGRESS"),
        (0, [SimpleNamespace(task_type="BashOperator")], "running", "PENDING"),
        (1, [SimpleNamespace(task_type="CompleteRecordOperator")], "failed", "PENDING"),
    ],
)
def test_killed_work_ends_its_claim_when_nobody_else_would(
    in_task, ledger, orders, retries, followers, run_state, status
):
    from record_ledger.airflow import keeping_claim
    from record_ledger.airflow.decorators import TaskKilled

    record = ledger.store_new_and_pass_valid_record(orders, "run").record
    entered = in_task(max_tries=retries, followers=followers, run_state=run_state)

    with entered, pytest.raises(TaskKilled), keeping_claim(record):
        entered.task.on_kill()

    assert ledger.pipeline_records("orders")[0]["status"] == status


@pytest.mark.parametrize("many", [False, True])
def test_a_killed_passing_task_releases_what_it_has_passed(
    airflow_home, connection, context, ledger, orders, many
):
    from record_ledger.airflow import PassValidRecordsOperator, StoreNewAndPassValidRecordOperator

    kind = PassValidRecordsOperator if many else StoreNewAndPassValidRecordOperator
    task = kind(task_id="pass", config=orders)
    task.execute(context())

    task.on_kill()
    task.on_kill()

    assert {record["status"] for record in ledger.pipeline_records("orders")} == {"PENDING"}
    assert {record["attempt"] for record in ledger.pipeline_records("orders")} == {0}


def test_a_retry_of_the_passing_task_gets_the_same_record(
    airflow_home, connection, context, ledger, orders
):
    from record_ledger.airflow import StoreNewAndPassValidRecordOperator

    def passed(**values):
        task = StoreNewAndPassValidRecordOperator(task_id="pass", config=orders)
        return task.execute(context(**values))

    first, again, mapped = passed(), passed(try_number=2), passed(map_index=0)

    assert first["run_id"] == "dag/run/task/-1"
    assert again["window_start_time"] == first["window_start_time"]
    assert again["claim_token"] > first["claim_token"]
    assert mapped["run_id"] == "dag/run/task/0"
    assert mapped["window_start_time"] > first["window_start_time"]
