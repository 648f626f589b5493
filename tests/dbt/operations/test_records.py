"""The life of a record by `dbt run-operation`: register, store, pass, extend and end."""

from __future__ import annotations

import json

import pytest

from tests.dbt.support import rows_of_the_ledger
from tests.support.configs import make_config

NASTY = "it's \\'; drop schema record_ledger cascade; -- %s %(x)s {x} $$ \"q\" \\ ü\n"


@pytest.fixture
def operation(dbt, capsys):
    """Runs an operation and returns the JSON object that it prints, or its error."""

    def run(name, **arguments):
        outcome = dbt("run-operation", name, "--args", json.dumps(arguments, default=str))
        printed = capsys.readouterr().out
        return json.loads(printed) if outcome.success else outcome.error

    return run


@pytest.mark.slow
def test_a_record_lives_its_whole_life_by_operations_alone(operation, ledger, clock):
    clock.set("2026-11-22T20:00:00Z")
    orders = {"pipeline_id": "007"}  # it must not become a number
    config = make_config("007", start_at="2026-11-21", fields={"note": NASTY})
    assert operation("register_pipeline", config=config) == orders
    assert operation("store_new_records", **orders) == {**orders, "stored_count": 6}

    passed = operation("pass_valid_record", **orders, run_id="a")

    record = passed["record"]
    assert (passed["exit_dag"], passed["verdict"]) == (False, "READY")
    assert record["window_start_time"] == "2026-11-21T00:00:00-08:00"
    assert record["note"] == NASTY
    claim = {**orders, "claim_token": record["claim_token"]}
    clock.advance("30m")
    assert operation("extend_lease", **claim) == {
        **claim, "outcome": "extended", "lease_expires_at": lease_end(ledger),
    }  # fmt: skip
    assert operation("release_record", **claim) == {**claim, "outcome": "released"}
    again = operation("store_new_and_pass_valid_record", config=config, run_id="a")
    claim = {**orders, "claim_token": again["record"]["claim_token"]}
    assert operation("fail_record", **claim, error=NASTY, retry=False) == {
        **claim, "outcome": "failed",
    }  # fmt: skip
    failed = ledger.execute(
        "select status, last_detail from record_ledger.pipeline_records where run_id = 'a'"
    ).fetchone()
    assert failed == ("FAILED", {"error": NASTY, "retry": False})
    claim["claim_token"] = operation("pass_valid_record", **orders)["record"]["claim_token"]
    detail = {"rows": 1200, "note": NASTY}
    assert operation("complete_record", **claim, detail=detail) == {**claim, "outcome": "completed"}
    completed = ledger.execute(
        "select last_detail from record_ledger.pipeline_records where status = 'COMPLETED'"
    ).fetchall()
    assert completed == [(detail,)]
    assert "claim lost" in operation("release_record", **claim)
    answer = operation("pass_valid_record", **orders, run_id="a")
    assert (answer["exit_dag"], answer["verdict"], answer["record"]) == (True, "FAILED", None)


def lease_end(ledger):
    return ledger.execute(
        "select to_json(lease_expires_at) from record_ledger.pipeline_records "
        "where status = 'IN_PROGRESS'"
    ).fetchone()[0]


@pytest.mark.slow
def test_what_is_refused_changes_nothing_and_templates_are_the_runners(operation, ledger):
    templates = {"plain": "{ }", "path": "a/{{ target_day }}", "parts": [{"x": "{% if y %}"}]}
    before = rows_of_the_ledger(ledger)
    for name in ("register_pipeline", "store_new_and_pass_valid_record"):
        error = operation(name, config=make_config("orders", fields=templates))
        assert 'default_record.path is "a/{{ target_day }}"' in error
        assert "default_record.parts is" in error
        assert "default_record.plain" not in error
        assert "record-ledger run" in error
    error = operation("register_pipeline", config=make_config("orders", timezone="Europe/Berlim"))
    assert "Europe/Berlin" in error
    assert "config: null is not a JSON object" in operation("register_pipeline")
    assert "unknown pipeline" in operation("pass_valid_record", pipeline_id="orders", run_id="a")
    assert "unknown pipeline" in operation("extend_lease", pipeline_id="orders", claim_token=1)
    assert "bigint" in operation("complete_record", pipeline_id="orders", claim_token="x")
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_dates_that_yaml_makes_are_the_text_that_was_written(dbt, ledger, capsys):
    arguments = """{config: {timezone: Europe/Berlin, x_time_back: 1h, granularity: 1d,
        start_at: 2026-11-20, default_record: {pipeline_id: orders, since: [2026-01-01]}}}"""
    outcome = dbt("run-operation", "register_pipeline", "--args", arguments)
    assert outcome.success, outcome.error
    assert json.loads(capsys.readouterr().out) == {"pipeline_id": "orders"}
    registered = ledger.execute(
        "select start_at at time zone 'Europe/Berlin', default_record -> 'since' "
        "from record_ledger.pipelines"
    ).fetchone()
    assert str(registered[0]) == "2026-11-20 00:00:00"
    assert registered[1] == ["2026-01-01"]


def test_a_detail_of_what_queries_answer_is_kept_in_numbers(dbt):
    asked = "run_query('select 1200::numeric, 0.5::numeric').rows[0].values()"
    kept = f"record_ledger.json_literal({{'sums': {asked}, 'by': run_query, 'no': none}})"
    inline = f"{{% if execute %}}{{% do log({kept}, info=True) %}}{{% endif %}} select 1 as one"

    outcome = dbt("show", "--inline", inline)

    assert outcome.success, outcome.error
    assert '{"sums": [1200, 0.5], "by": "' in outcome.log
    assert '", "no": null}' in outcome.log
