"""The end of the work decides the end of the claim; cleared tasks; assets."""

from __future__ import annotations

import pytest

from record_ledger import RecordLedger


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set("2026-11-22T12:00:00Z")
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.mark.parametrize(
    ("states", "run_state", "task_state", "status", "event"),
    [
        (["success", "success"], "success", "success", "COMPLETED", "completed"),
        (["success", "skipped"], "success", "success", "COMPLETED", "completed"),
        (["skipped", "skipped"], "success", "skipped", "PENDING", "released"),
        (["success", "failed"], "failed", "failed", "PENDING", "failed"),
        (["failed", "skipped"], "failed", "failed", "PENDING", "failed"),
    ],
)
def test_all_work_decides(run_dag, ledger, states, run_state, task_state, status, event):
    run = run_dag("ending", states=states)

    assert (run.state, run.tasks["complete_record"]) == (run_state, task_state)
    stored = ledger.pipeline_records("ending")[0]
    assert (stored["status"], stored["last_event"]) == (status, event)


def test_a_completion_without_any_work_is_refused(run_dag, ledger, capfd):
    run = run_dag("without_work")

    assert run.state == "failed"
    assert "no work task lies before complete_record" in capfd.readouterr().out
    assert ledger.pipeline_records("without_work")[0]["last_event"] == "released"


def test_a_run_whose_counts_agree_is_completed(run_dag, ledger):
    run = run_dag("counted", counts={"source": 7, "target": 7})

    assert run.state == "success"
    assert ledger.pipeline_records("counted")[0]["status"] == "COMPLETED"
    seen = ledger.record_observations("counted")
    assert [(o["stage"], o["detail"], o["is_evidence"]) for o in seen] == [
        ("source", {"by": "work"}, True),
        ("target", {"by": "work"}, True),
    ]


def test_a_run_whose_counts_do_not_agree_fails_its_record_and_is_not_green(run_dag, ledger, capfd):
    run = run_dag("counted", counts={"source": 7, "target": 6})

    assert (run.state, run.tasks["complete_record"]) == ("failed", "failed")
    stored = ledger.pipeline_records("counted")[0]
    assert (stored["status"], stored["last_event"]) == ("PENDING", "failed")
    assert "source 7, target 6 (off by 1" in stored["last_detail"]["error"]
    assert "is marked as failed: counts do not agree" in capfd.readouterr().out


def test_a_record_can_be_failed_on_purpose_and_for_good(run_dag, ledger):
    run = run_dag("failed_on_purpose")

    assert run.state == "success"
    stored = ledger.pipeline_records("failed_on_purpose")[0]
    assert (stored["status"], stored["last_detail"]["error"]) == (
        "FAILED",
        "the shop's export is empty",
    )


def test_a_run_whose_record_cannot_be_completed_is_not_green(run_dag, ledger, capfd):
    run = run_dag("taken_away")

    assert (run.state, run.tasks["work"]) == ("failed", "success")
    assert "ClaimLost" in capfd.readouterr().out
    assert ledger.pipeline_records("taken_away")[0]["last_event"] == "released"


def test_a_cleared_run_of_a_finished_record_is_skipped_until_it_is_reopened(run_dag, ledger, capfd):
    run = run_dag("example_taskflow")
    assert run.state == "success"
    capfd.readouterr()

    cleared = run_dag("example_taskflow", again=run)

    assert cleared.run_id == run.run_id
    assert set(cleared.tasks.values()) == {"skipped"}
    said = capfd.readouterr().out
    assert "ALREADY_DONE" in said
    assert "record-ledger reopen example_taskflow --from" in said
    assert "then clear this task with its downstream tasks" in said

    ledger.reopen_records("example_taskflow", "2026-11-21", "2026-11-22", "rows were missing")
    once_more = run_dag("example_taskflow", again=run)

    assert set(once_more.tasks.values()) == {"success"}
    first = ledger.pipeline_records("example_taskflow")[0]
    assert (first["status"], first["generation"]) == ("COMPLETED", 2)


def test_a_completed_record_tells_those_who_follow_its_asset(run_dag, ledger, airflow_home):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    run = run_dag("example_waiting")

    assert run.state == "success"
    with create_session() as session:
        events = session.query(AssetEvent).filter_by(source_run_id=run.run_id).all()
        assert [(event.uri, event.extra) for event in events] == [
            (
                "record-ledger://pipeline/example_waiting",
                {
                    "pipeline_id": "example_waiting",
                    "window_start_time": "2026-11-22T00:00:00+01:00",
                    "window_end_time": "2026-11-22T01:00:00+01:00",
                },
            )
        ]
