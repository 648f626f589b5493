"""Fixtures of the dbt tests: dbt itself, and a ledger in which everything has happened."""

from __future__ import annotations

import pytest

from tests.dbt.shop import Shop, make_shop
from tests.dbt.states import Ledger, live_through_everything
from tests.dbt.support import Dbt
from tests.support.clock import Clock
from tests.support.databases import open_connection


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

    Tests of this worker share it: what one plants, it rolls back.
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


@pytest.fixture(scope="session")
def shop_project(tmp_path_factory):
    """The consumer project with the package installed; for reading only."""
    return make_shop(tmp_path_factory.mktemp("consumer"))


@pytest.fixture
def shop(ledger_dsn, ledger, clock, shop_project, tmp_path):
    """The consumer project on the test's ledger."""
    return Shop(Dbt(ledger_dsn, tmp_path, shop_project), ledger, clock)
