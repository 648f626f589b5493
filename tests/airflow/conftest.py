"""Fixtures of the tests inside Airflow: a home for each worker, and runs of DAGs in it.

Nothing here is collected where Airflow is not installed:

    uv run --extra airflow pytest tests/airflow
"""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

if find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignores Airflow's own warnings; warnings about our code are errors."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings(r"error:::record_ledger(\..*)?"))


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Airflow's home: its database, and a folder with the examples and the DAGs of the tests."""
    from tests.airflow.support import lay_out, lay_out_documented, settings

    home = tmp_path_factory.mktemp("airflow")
    lay_out(home)
    lay_out_documented(home)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(home).items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from airflow.utils.db import initdb

            initdb()
        yield home


@pytest.fixture(scope="session")
def dags(airflow_home: Path) -> dict[str, Any]:
    """Every DAG of the examples, of the README and of the tests, by its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(airflow_home / "dags")
    assert not bag.import_errors
    return dict(bag.dags)


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    """The DAGs' params as their files define them, by the DAG's id."""
    return {}


@pytest.fixture
def connection(ledger_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Airflow connection record_ledger_default: the test's database."""
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", as_connection(ledger_dsn))
    return "record_ledger_default"


def as_connection(dsn: str, conn_type: str = "postgres", **extra: Any) -> str:
    """Returns a libpq connection string in the form of AIRFLOW_CONN_... ."""
    parts = conninfo_to_dict(dsn)
    return json.dumps(
        {
            "conn_type": conn_type,
            "host": parts["host"],
            "port": int(parts["port"]),
            "login": parts["user"],
            "password": parts.get("password"),
            "schema": parts["dbname"],
            "extra": json.dumps(extra),
        }
    )


@pytest.fixture
def run_dag(
    dags: dict[str, Any], defaults: dict[str, Any], connection: str
) -> Iterator[Callable[..., Any]]:
    """Runs a DAG to its end in this process: `run_dag("example_taskflow", failing_tries=1)`."""
    from tests.airflow.support import Run

    handler = signal.getsignal(signal.SIGTERM)
    environment = dict(os.environ)

    def run(dag_id: str, *, again: Run | None = None, **conf: Any) -> Run:
        # Always in full: in one process, a run's conf changes the DAG's own params.
        conf = {**defaults.setdefault(dag_id, dags[dag_id].params.dump()), **conf}
        return Run(dags[dag_id].test(run_conf=conf, **({} if again is None else again.same)))

    yield run
    signal.signal(signal.SIGTERM, handler)
    # Airflow exports the task's context there.
    for name in set(os.environ) - set(environment):
        del os.environ[name]


@pytest.fixture
def context() -> Callable[..., dict[str, Any]]:
    """Makes the context that an operator reads: `context(task_id="pass", try_number=2)`."""
    from tests.airflow.support import make_context

    return make_context


@pytest.fixture
def in_task(
    airflow_home: Path, connection: str, context: Callable[..., dict[str, Any]]
) -> Callable[..., Any]:
    """Runs a block as a task would: `with in_task(try_number=2):`; its `left` are its XComs."""
    from airflow.providers.common.compat.sdk import DagRunState
    from airflow.sdk.execution_time.context import set_current_context

    def enter(*, followers: Any = (), run_state: str | None = None, **values: Any) -> Any:
        left: dict[str, Any] = {}
        dag = SimpleNamespace(default_args={})
        task = SimpleNamespace(
            on_kill=lambda: None,
            get_flat_relatives=lambda upstream: followers,
            task_group=None,
            render_template=lambda content, context: content,
        )
        made = context(task=task, dag=dag, **values)
        if run_state:
            made["ti"].get_dagrun_state = lambda dag_id, run_id: DagRunState(run_state)
        made["ti"].xcom_push = lambda key, value: left.update({key: value})
        entered = set_current_context(made)
        entered.task, entered.left = made["task"], left
        return entered

    return enter
