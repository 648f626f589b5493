"""The example DAG that moves data: a task per phase, and a retry that resumes where it stopped."""

from __future__ import annotations

import psycopg
import pytest

from record_ledger import RecordLedger


@pytest.fixture
def database(ledger_dsn, clock, tmp_path, monkeypatch):
    clock.set("2026-11-22T11:00:00Z")
    monkeypatch.setenv("EXAMPLE_STAGE", str(tmp_path))
    with psycopg.connect(ledger_dsn, autocommit=True) as connection:
        connection.execute(
            "create table example_orders as select n as id, timestamptz '2026-11-21T08:00:00Z' "
            "+ n * interval '1 min' as ordered_at from generate_series(0, 119) as n"
        )
        yield connection


def rows(database):
    return database.execute("select count(*) from example_warehouse").fetchone()[0]


def test_a_window_goes_through_all_phases(run_dag, ledger_dsn, database):
    run = run_dag("example_pipeline")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert rows(database) == 120
    with RecordLedger(ledger_dsn) as ledger:
        (stored,) = ledger.pipeline_records("example_pipeline", limit=1)
        assert stored["status"] == "COMPLETED"
        stages = [one["stage"] for one in ledger.record_observations("example_pipeline")]
    assert stages == ["source", "stage", "load", "target"]
    idle = run_dag("example_pipeline").tasks
    assert (idle.pop("check"), set(idle.values())) == ("success", {"skipped"})


def test_a_table_that_does_not_fit_takes_no_record(run_dag, database):
    database.execute("create table example_warehouse (pipeline_id text)")

    assert run_dag("example_pipeline").tasks["check"] == "failed"

    assert database.execute("select from record_ledger.pipelines").fetchall() == []


def test_another_run_goes_on_after_the_phases_that_are_done(run_dag, database, clock):
    # Publishing fails; staged files and loaded rows stay.
    database.execute(
        "create function no() returns trigger language plpgsql as 'begin raise ''not now''; end';"
        "create table example_warehouse (pipeline_id text, window_start_time timestamptz, "
        "document jsonb);"
        "create trigger no before insert on example_warehouse for each row execute function no()"
    )
    failed = run_dag("example_pipeline")
    assert (failed.tasks["load"], failed.tasks["publish"]) == ("success", "failed")
    database.execute("drop trigger no on example_warehouse")
    clock.advance("10m")

    run = run_dag("example_pipeline")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert rows(database) == 120
    found = database.execute(
        "select count(distinct digest), count(distinct detail ->> 'digest') "
        "from record_ledger_published, record_ledger.record_observations "
        "where stage = 'stage'"
    ).fetchone()
    assert found == (1, 1)
