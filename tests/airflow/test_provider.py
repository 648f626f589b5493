"""What Airflow is told about the package, and what parsing a DAG costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.airflow.support import EXAMPLES
from tests.support.documents import read_blocks
from tests.support.repository import ROOT

# Milliseconds of a process's own time, which other processes' load does not change.
LIMIT = 50.0

# Airflow is imported and used once; then each file is parsed as if it were the first of ours.
PARSE = """
import json, runpy, sys, time, warnings
warnings.simplefilter("ignore")
import airflow.sdk
from airflow.providers.common.compat.sdk import (
    DAG, Asset, BaseHook, BaseOperator, BaseSensorOperator, dag, task, task_group)
from airflow.providers.standard.operators.bash import BashOperator

@dag(schedule=[Asset("x://y")])
def another():
    @task
    def work():
        return 1
    work()

another()
connected = []
sys.addaudithook(lambda event, _: connected.append(event) if event == "socket.connect" else None)
for path in sys.argv[1:]:
    for name in [name for name in sys.modules if name.startswith("record_ledger")]:
        del sys.modules[name]
    started = time.process_time()
    runpy.run_path(path)
    cost = (time.process_time() - started) * 1000
    print(json.dumps([path, cost, "psycopg" in sys.modules or connected != []]))
"""


def test_a_dag_costs_little_to_parse_and_opens_no_connection(airflow_home):
    paths = [str(path) for path in sorted(EXAMPLES.glob("example_*.py"))] * 3
    said = subprocess.run(
        [sys.executable, "-c", PARSE, *paths], capture_output=True, text=True, check=True
    ).stdout
    found = [json.loads(line) for line in said.splitlines()[-len(paths) :]]

    costs = {path: min(cost for other, cost, _ in found if other == path) for path in paths}
    print("\n".join(f"{cost:6.1f} ms {path}" for path, cost in costs.items()))
    assert not [path for path, cost in costs.items() if cost > LIMIT], costs
    assert not any(connects for _, _, connects in found)


def test_airflow_lists_the_package_and_all_that_is_in_it(airflow_home):
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    info = ProvidersManager().providers["record-ledger"].data

    hook = ProvidersManagerTaskRuntime().hooks["record_ledger"]
    assert (hook.hook_name, hook.connection_id_attribute_name) == (
        "Record ledger (PostgreSQL)",
        "conn_id",
    )
    documented = {
        module
        for kind in ("operators", "sensors", "hooks", "triggers")
        for entry in info[kind]
        for module in entry["python-modules"]
    }
    assert documented == {
        f"record_ledger.airflow.{name}"
        for name in (
            "operators.passing",
            "operators.ending",
            "operators.bash",
            "sensors",
            "hooks",
            "triggers",
        )
    }


def test_the_connection_that_the_page_adds_is_one_that_serves(airflow_home):
    from record_ledger.airflow.hooks import CONN_TYPES

    (command,) = [
        block.text[block.text.index("airflow connections add") :]
        for block in read_blocks(ROOT / "python_runner" / "docs" / "airflow.md")
        if "airflow connections add" in block.text
    ]
    said = subprocess.run(
        ["bash", "-euc", f"{command}\nairflow connections get record_ledger_default -o json"],
        env={**os.environ, "PASSWORD": "secret"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    (added,) = json.loads(said[said.rindex("[{") :])
    assert added["conn_type"] in CONN_TYPES
    assert (added["host"], added["schema"]) == ("db.example", "ledger")


def test_the_metadata_is_what_airflow_expects(airflow_home):
    import airflow
    import jsonschema

    schema = Path(airflow.__file__).parent / "provider_info.schema.json"
    (entry,) = [
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("record_ledger.")
    ]

    jsonschema.validate(entry.load()(), json.loads(schema.read_text()))


def test_what_earlier_releases_have_left_in_a_database_or_an_environment_still_loads(airflow_home):
    from pkgutil import resolve_name

    # As releases up to 0.5.0 have serialised a deferred sensor's trigger.
    stored = (
        "record_ledger.airflow.triggers.ValidRecordTrigger",
        {
            "pipeline_id": "orders", "conn_id": "record_ledger_default", "poke_interval": 60.0,
            "deadline": "2026-11-22T20:00:00+00:00",
        },
    )  # fmt: skip
    path, kwargs = stored
    assert resolve_name(path)(**kwargs).serialize() == stored
    # As their metadata name it.
    info = resolve_name("record_ledger.airflow.provider_info.get_provider_info")()
    (kind,) = info["connection-types"]
    assert resolve_name(kind["hook-class-name"]).conn_type == kind["connection-type"]


def test_every_public_name_can_be_imported(airflow_home):
    import record_ledger.airflow as package

    assert not [name for name in package.__all__ if not hasattr(package, name)]
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_every_template_field_is_an_argument(airflow_home):
    import inspect

    import record_ledger.airflow as package

    operators = [
        getattr(package, name) for name in package.__all__ if name.endswith(("Operator", "Sensor"))
    ]
    assert len(operators) == 6
    for operator in operators:
        assert set(operator.template_fields) <= set(inspect.signature(operator).parameters)
        assert "conn_id" in operator.template_fields
