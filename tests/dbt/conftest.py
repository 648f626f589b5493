"""Fixtures of the dbt tests: dbt itself, and a ledger in which everything has happened."""

from __future__ import annotations

import pytest
import yaml

from tests.dbt.shop import Shop, make_shop
from tests.dbt.states import Ledger, live_through_everything
from tests.dbt.support import PROJECT, Dbt
from tests.support.clock import Clock
from tests.support.databases import open_connection

CUSTOM_SCHEMA = """
{% macro generate_schema_name(custom_schema_name, node) %}
    {{ custom_schema_name or target.schema }}
{% endmacro %}
"""


@pytest.fixture
def dbt(ledger_dsn, tmp_path):
    """Runs dbt in this process on the test's ledger: `dbt.build()`, `dbt("docs", "generate")`."""
    return Dbt(ledger_dsn, tmp_path)


@pytest.fixture
def routines(ledger, clock):
    """The public routines of the test's ledger, and its clock."""
    return Ledger(ledger, clock)


@pytest.fixture(scope="session")
def lived_in_dsn(databases, tmp_path_factory):
    """A ledger in which everything has happened, with the models built; for reading only.

    The tests of a worker share it, and each rolls back what it plants.
    """
    dsn = databases.clone("America/Los_Angeles")
    with open_connection(dsn) as connection, open_connection(dsn) as for_the_clock:
        live_through_everything(Ledger(connection, Clock(for_the_clock)))
    Dbt(dsn, tmp_path_factory.mktemp("dbt")).run()
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def lived_in(lived_in_dsn):
    """A transaction on that ledger, rolled back when the test ends."""
    with open_connection(lived_in_dsn, autocommit=False) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def consumer(ledger_dsn, tmp_path):
    """A project that includes the package; `consumer(models={...}, vars={...})` configures it.

    `files` adds some of its own, by their paths.
    """

    def make(files=None, **configs):
        folder = tmp_path / "shop"
        (folder / "models").mkdir(parents=True)
        (folder / "macros").mkdir()
        write = {
            "dbt_project.yml": {
                "name": "shop",
                "version": "1.0",
                "profile": "record_ledger",
                **{key: {"record_ledger": value} for key, value in configs.items()},
            },
            "packages.yml": {"packages": [{"local": str(PROJECT)}]},
        }
        for name, content in write.items():
            (folder / name).write_text(yaml.safe_dump(content))
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        (folder / "profiles.yml").write_text((PROJECT / "profiles.yml").read_text())
        (folder / "macros" / "names.sql").write_text(CUSTOM_SCHEMA)
        (folder / "models" / "late.sql").write_text(
            "select pipeline_id from {{ ref('record_ledger', 'pipeline_status') }} where is_behind"
        )
        dbt = Dbt(ledger_dsn, tmp_path, project=folder)
        outcome = dbt("deps")
        assert outcome.success, outcome.error
        return dbt

    return make


@pytest.fixture(scope="session")
def shop_project(tmp_path_factory):
    """The consumer project with the package installed; for reading only."""
    return make_shop(tmp_path_factory.mktemp("consumer"))


@pytest.fixture
def shop(ledger_dsn, ledger, clock, shop_project, tmp_path):
    """The consumer project on the test's ledger."""
    return Shop(Dbt(ledger_dsn, tmp_path, shop_project), ledger, clock)
