"""The example DAGs, each run to its end by Airflow itself."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from record_ledger import RecordLedger
from tests.airflow.conftest import as_connection


@pytest.fixture
def noon(clock):
    """The ledger's time stands at noon in Berlin, three in the morning in Los Angeles."""
    clock.set("2026-11-22T11:00:00Z")
    return clock


@pytest.fixture
def ledger(ledger_dsn, noon):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def statuses(ledger, pipeline_id):
    return [record["status"] for record in ledger.pipeline_records(pipeline_id)]


def test_a_record_is_passed_worked_on_and_completed(run_dag, ledger):
    run = run_dag("example_taskflow")

    assert run.state == "success"
    assert set(run.tasks.values()) == {"success"}
    (stored,) = ledger.pipeline_records("example_taskflow", limit=1)
    assert stored["status"] == "COMPLETED"
    assert stored["last_detail"] == {"rows": 1200}
    assert stored["run_id"] == f"example_taskflow/{run.run_id}/store_new_and_pass_valid_record/-1"


def test_the_record_arrives_through_xcom_as_it_was_passed(run_dag, ledger):
    run = run_dag("example_taskflow")

    record = run.xcom("store_new_and_pass_valid_record")
    (stored,) = ledger.pipeline_records("example_taskflow", limit=1)
    assert record["path"] == "orders/2026-11-21/0000-0800.csv"
    for column in ("window_start_time", "window_end_time", "target_day", "created_at"):
        assert record[column] == stored[column]
    start = record["window_start_time"]
    assert (type(start).__name__, start.isoformat()) == ("DateTime", "2026-11-21T00:00:00-08:00")
    assert start.timezone_name == "America/Los_Angeles"


def test_with_nothing_to_do_all_is_skipped_and_the_reason_is_logged(run_dag, ledger, capfd):
    run_dag("example_taskflow")

    run = run_dag("example_taskflow")

    assert run.state == "success"
    assert set(run.tasks.values()) == {"skipped"}
    assert "UNSTABLE: window 2026-11-21T02:00:00-08:00 ends at" in capfd.readouterr().out


def test_work_that_fails_once_is_retried_with_the_same_claim(run_dag, ledger):
    run = run_dag("example_taskflow", failing_tries=1)

    assert run.state == "success"
    assert run.tries["copy"] == 2
    (stored,) = ledger.pipeline_records("example_taskflow", limit=1)
    assert (stored["status"], stored["attempt"]) == ("COMPLETED", 1)


def test_work_that_fails_for_good_fails_the_record_with_its_error(run_dag, ledger, noon):
    run = run_dag("example_taskflow", failing_tries=2)

    assert run.state == "failed"
    assert run.tasks["copy"] == "failed"
    assert run.tasks["check"] == "upstream_failed"
    assert run.tasks["complete_record"] == "failed"
    (stored,) = ledger.pipeline_records("example_taskflow", limit=1)
    assert (stored["status"], stored["attempt"]) == ("PENDING", 1)
    assert stored["last_detail"]["error"] == "task copy failed: OSError: the disk is full"

    noon.advance("5m")
    assert run_dag("example_taskflow").state == "success"
    assert statuses(ledger, "example_taskflow") == ["COMPLETED", "PENDING"]


def test_the_handoffs_wrapper_passes_skips_and_gives_a_retry_its_record(run_dag, ledger):
    run = run_dag("example_handoff")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    (stored,) = ledger.pipeline_records("example_handoff", limit=1)
    assert stored["status"] == "COMPLETED"
    assert stored["run_id"] == f"example_handoff/{run.run_id}/airflow_task_wrapper/-1"

    assert set(run_dag("example_handoff").tasks.values()) == {"skipped"}


def test_operators_do_the_same(run_dag, ledger, noon):
    assert set(run_dag("example_classic").tasks.values()) == {"skipped"}

    noon.advance("1d")
    run = run_dag("example_classic")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert run.xcom("copy") == "copying shop from 2026-11-22 00:00:00+01:00"
    assert statuses(ledger, "example_classic") == ["COMPLETED", "PENDING"]


def test_the_shell_skips_on_exit_code_99(run_dag, ledger, noon):
    assert set(run_dag("example_shell").tasks.values()) == {"skipped"}

    noon.advance("1d")
    run = run_dag("example_shell")

    assert run.state == "success"
    assert (run.tasks["complete_record"], run.tasks["fail_record"]) == ("success", "skipped")
    stored = ledger.pipeline_records("example_shell")[0]
    assert stored["status"] == "COMPLETED"
    assert stored["run_id"] == f"example_shell/{run.run_id}/pass_record"


def test_the_shell_fails_the_record_when_the_work_fails(run_dag, ledger, noon):
    run_dag("example_shell")
    noon.advance("1d")

    run = run_dag("example_shell", exit_code=28)

    assert run.state == "failed"
    assert (run.tasks["complete_record"], run.tasks["fail_record"]) == (
        "upstream_failed",
        "success",
    )
    stored = ledger.pipeline_records("example_shell")[0]
    assert stored["last_detail"]["error"] == "see the log of copy"


@pytest.mark.parametrize("dag_id", ["example_shell", "example_exec", "orders_by_shell"])
def test_the_shell_connects_no_less_safely_than_the_connection_says(
    dags, connection, ledger_dsn, monkeypatch, context, dag_id
):
    task = dags[dag_id].roots[0]

    def handed_on():
        return conninfo_to_dict(task.get_env(context())["RECORD_LEDGER_DSN"])

    assert handed_on() == conninfo_to_dict(ledger_dsn)
    stricter = as_connection(ledger_dsn, sslmode="verify-full")
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", stricter)
    assert handed_on()["sslmode"] == "verify-full"


def test_a_command_per_window_is_one_task(run_dag, ledger, noon):
    assert set(run_dag("example_exec").tasks.values()) == {"skipped"}

    noon.advance("1d")
    run = run_dag("example_exec")

    assert run.state == "success"
    stored = ledger.pipeline_records("example_exec")[0]
    assert stored["status"] == "COMPLETED"
    assert stored["run_id"] == f"example_exec/{run.run_id}/copy"


RECOUNTED = {
    "timezone": "Europe/Berlin",
    "x_time_back": "1h",
    "granularity": "6h",
    "start_at": "2026-11-22",
    "default_record": {"pipeline_id": "example_recounts"},
}


def test_each_day_windows_are_counted_again_and_the_changed_ones_opened(run_dag, ledger, noon):
    record = ledger.store_new_and_pass_valid_record(RECOUNTED).record
    claim = record["pipeline_id"], record["claim_token"]
    ledger.observe_record(
        claim[0], record["window_start_time"], "source", 1200, claim_token=claim[1]
    )
    ledger.complete_record(*claim)

    run = run_dag("example_recounts")
    assert run.state == "success"
    assert (run.tasks["count_again"], run.tasks["reopen_changed"]) == ("skipped", "success")

    noon.advance("1d")
    run = run_dag("example_recounts", rows=1203)

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert run.xcom("reopen_changed") == 1
    stored = ledger.pipeline_records("example_recounts")[0]
    assert (stored["status"], stored["generation"]) == ("PENDING", 2)
    assert stored["last_detail"]["changed_by"] == 3
    assert ledger.recount_due("example_recounts") == []


def test_the_readmes_dag_runs_as_it_stands(run_dag, ledger, noon):
    assert set(run_dag("a_minute_of_airflow").tasks.values()) == {"skipped"}

    noon.advance("1d")
    run = run_dag("a_minute_of_airflow")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert ledger.pipeline_records("a_minute_of_airflow")[0]["status"] == "COMPLETED"


def test_the_whole_dag_of_the_page_runs_as_it_stands(run_dag, ledger):
    run = run_dag("orders")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    stored = ledger.pipeline_records("orders_in_airflow")[0]
    assert (stored["status"], stored["last_detail"]) == ("COMPLETED", {"rows": 1200})
    assert stored["fields"] == {"path": "orders/2026-11-21/0000-0800.csv"}
    assert set(run_dag("orders").tasks.values()) == {"skipped"}


def test_the_pages_dag_of_shell_tasks_runs_as_it_stands(run_dag, ledger, noon):
    assert set(run_dag("orders_by_shell").tasks.values()) == {"skipped"}

    noon.advance("1d")
    run = run_dag("orders_by_shell")

    assert (run.state, run.tasks["complete"], run.tasks["fail"]) == (
        "success",
        "success",
        "skipped",
    )
    assert ledger.pipeline_records("orders_by_shell")[0]["status"] == "COMPLETED"
