"""Models, data tests and operations find the catalogue's names, whatever lies in schema public."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.dbt.states import live_through_everything
from tests.dbt.support import Dbt
from tests.support.clock import Clock
from tests.support.configs import make_config
from tests.support.databases import open_connection
from tests.support.traps import FOREIGN_REFERENCES, bound_names, plant, sprung


@pytest.fixture
def hostile(databases, tmp_path):
    """A ledger that dbt has deployed among the traps, at a time that stands."""
    dsn = databases.empty()
    with open_connection(dsn) as connection, open_connection(dsn) as for_the_clock:
        plant(connection)
        outcome = Dbt(dsn, tmp_path)("run-operation", "deploy_ledger")
        assert outcome.success, outcome.error
        for_the_clock.execute("set search_path = pg_catalog")  # the tests' own SQL
        Clock(for_the_clock).set("2026-11-22T20:00:00Z")
        yield dsn
    databases.drop(dsn)


# Each data test of the package, in each form that it has.
DATA_TESTS = {
    "no_gaps": {},
    "no_stale_leases": {},
    "caught_up": {"within": "1d"},
    "sealed_through": {"date": "2026-11-01", "from_date": "2026-10-01"},
    "sealed_through ago": {"days_ago": 1},
    "counts_agree": {},
    "counts_agree closely": {"tolerance": "1%", "stages": ["a"], "from_date": "2026-11-02"},
}


@pytest.mark.slow
def test_models_and_data_tests_are_bound_to_the_catalogues_names(consumer, ledger, routines):
    asked = [
        {
            f"record_ledger.{name.split()[0]}": {
                "name": name.replace(" ", "_"),
                "arguments": {"pipeline_id": "orders", **arguments},
            }
        }
        for name, arguments in DATA_TESTS.items()
    ]
    given = {"models": [{"name": "late", "data_tests": asked}]}
    dbt = consumer(files={"models/late.yml": yaml.safe_dump(given)})
    # dbt itself looks into the catalogue by names of the path: it works before the traps are there.
    live_through_everything(routines)
    dbt.run()
    assert dbt("compile").success
    compiled = {
        node["name"]: node["compiled_code"]
        for node in dbt.artifact("manifest")["nodes"].values()
        if node["resource_type"] in ("model", "test")
    }
    assert len(compiled) > 20 + len(DATA_TESTS)
    plant(ledger)
    found = {
        name: bound
        for name, text in compiled.items()
        if (bound := bound_names(ledger, "statement", "statement() returns void", text))
    }
    assert found == {}


@pytest.mark.slow
def test_the_life_of_a_record_by_operations_springs_nothing(hostile, tmp_path, capsys):
    dbt = Dbt(hostile, tmp_path)

    def operation(name, **arguments):
        outcome = dbt("run-operation", name, "--args", json.dumps(arguments, default=str))
        assert outcome.success, (name, outcome.error)
        printed = capsys.readouterr().out
        with open_connection(hostile) as connection:
            assert sprung(connection) is None, name
        return json.loads(printed) if printed.strip() else None

    config = make_config("mine", start_at="2026-11-01", granularity="1d")
    mine = {"pipeline_id": "mine"}
    operation("register_pipeline", config=config)
    operation("store_new_records", **mine)
    record = operation("pass_valid_record", **mine, run_id="a")["record"]
    claim = {**mine, "claim_token": record["claim_token"]}
    operation("extend_lease", **claim)
    window = {**mine, "window_start_time": record["window_start_time"]}
    operation("observe_record", **window, stage="source", row_count=7)
    operation("complete_record", **claim)
    record = operation("store_new_and_pass_valid_record", config=config, run_id="b")["record"]
    operation("fail_record", **mine, claim_token=record["claim_token"], error="no")
    days = {**mine, "from_time": "2026-11-01", "to_time": "2026-11-03", "reason": "x"}
    for name in ("waive_records", "reopen_records", "expire_leases"):
        operation(name, **days)
    operation("backfill_records", **mine, from_time="2026-10-30")
    operation("reopen_changed_records", **mine)
    for name in ("pause_pipeline", "resume_pipeline", "retire_pipeline"):
        operation(name, **mine, reason="x")
    operation("deploy_ledger")
    with open_connection(hostile) as connection:
        assert connection.execute(FOREIGN_REFERENCES).fetchall() == []
