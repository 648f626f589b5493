"""Dynamic task mapping: a batch of one pipeline, one record of each of several pipelines."""

from __future__ import annotations

import pytest

from record_ledger import RecordLedger


@pytest.fixture
def morning(clock):
    """Seven windows are stable, 00:00 to 07:00."""
    clock.set("2026-11-22T08:00:00Z")
    return clock


@pytest.fixture
def ledger(ledger_dsn, morning):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def statuses(ledger, pipeline_id):
    return [record["status"] for record in ledger.pipeline_records(pipeline_id)]


def test_a_batch_is_mapped_and_each_record_completed(run_dag, ledger):
    run = run_dag("example_batch")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert len(run.tasks) == 1 + 2 * 5
    assert statuses(ledger, "example_batch") == ["COMPLETED"] * 5 + ["PENDING"] * 2
    first = ledger.pipeline_records("example_batch")[0]
    assert first["run_id"] == f"example_batch/{run.run_id}/pass_valid_records/-1/1"


def test_a_batch_is_no_longer_than_airflow_lets_tasks_be_mapped(run_dag, ledger, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "3")

    run = run_dag("example_batch")

    assert run.state == "success"
    assert statuses(ledger, "example_batch") == ["COMPLETED"] * 3 + ["PENDING"] * 4


def test_one_failed_window_fails_alone_and_the_cleared_run_gets_only_that_one(run_dag, ledger):
    run = run_dag("example_batch", failing_hours=[2])

    assert run.state == "failed"
    assert run.tasks["window.complete_record[1]"] == "success"
    assert run.tasks["window.complete_record[2]"] == "failed"
    assert statuses(ledger, "example_batch") == [
        "COMPLETED", "COMPLETED", "PENDING", "COMPLETED", "COMPLETED", "PENDING", "PENDING",
    ]  # fmt: skip
    failed = ledger.pipeline_records("example_batch")[2]
    assert failed["last_detail"]["error"] == "task window.copy[2] failed: OSError: the disk is full"

    again = run_dag("example_batch", again=run)

    assert (again.state, len(again.tasks)) == ("success", 1 + 2)
    assert statuses(ledger, "example_batch") == ["COMPLETED"] * 5 + ["PENDING"] * 2


def test_without_a_task_group_each_record_ends_by_its_own_work(run_dag, ledger):
    run = run_dag("expanded")

    assert run.state == "failed"
    assert [run.tasks[f"complete[{index}]"] for index in range(3)] == [
        "success",
        "failed",
        "success",
    ]
    assert statuses(ledger, "expanded")[:3] == ["COMPLETED", "PENDING", "COMPLETED"]


def test_the_passing_operator_is_mapped_over_configs_whose_templates_stay_the_ledgers(
    run_dag, ledger
):
    run = run_dag("mapped_passing")

    assert run.state == "success"
    for index in range(2):
        record = run.xcom("pass_record", map_index=index)
        assert (record["pipeline_id"], record["path"]) == (f"mapped_{index}", "2026-11-22.csv")
        assert record["run_id"] == f"mapped_passing/{run.run_id}/pass_record/{index}"


def test_a_batch_with_nothing_to_do_skips_all(run_dag, ledger, morning):
    morning.set("2026-11-22T01:30:00Z")

    run = run_dag("example_batch")

    assert (run.state, set(run.tasks.values())) == ("success", {"skipped"})


def test_several_pipelines_share_a_dag_and_only_those_with_nothing_to_do_are_skipped(
    run_dag, ledger
):
    south = {
        "timezone": "UTC",
        "x_time_back": "1h",
        "granularity": "1h",
        "default_record": {"pipeline_id": "example_south"},
    }
    ledger.pass_valid_records(south, "another run", 100)

    run = run_dag("example_pipelines")

    assert run.state == "success"
    for task in ("store_new_and_pass_valid_record", "copy", "complete_record"):
        assert run.tasks[f"pipeline.{task}[0]"] == "success"
        assert run.tasks[f"pipeline.{task}[1]"] == "skipped"
    assert statuses(ledger, "example_north")[0] == "COMPLETED"
