"""The bad network does what it says: what it loses was not done, and what it cuts off was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.reliability import proxy as bad_network
from tests.reliability.proxy import FaultyProxy
from tests.sql.support import one
from tests.support.databases import open_connection


@pytest.fixture
def database(empty_dsn):
    """A database with a table, and the socket and the name that it is reached by."""
    found = conninfo_to_dict(empty_dsn)
    if not str(found.get("host")).startswith("/"):
        pytest.skip("the server has no Unix socket that is known of")
    with open_connection(empty_dsn) as owner:
        owner.execute("create table done (number int)")
        yield Path(f"{found['host']}/.s.PGSQL.{found['port']}"), found, owner


def connect(network, found):
    """Connects through the network, as the runner does."""
    others = {
        "host": "127.0.0.1",
        "port": network.port,
        "sslmode": "disable",
        "gssencmode": "disable",
    }
    return open_connection(make_conninfo(**{**found, **others}))


def insert(network, found, number=1):
    with connect(network, found) as client:
        client.execute("insert into done values (%s)", [number])


@pytest.mark.parametrize(
    ("fault", "is_done", "is_told"),
    [
        (bad_network.REQUEST_LOST, False, False),
        (bad_network.HELD, False, False),
        (bad_network.ANSWER_LOST, True, False),
        (bad_network.ANSWER_TORN, True, False),
        (bad_network.DELAYED, True, True),
    ],
)
def test_a_statement_is_done_and_told_of_as_the_fault_says(
    database, monkeypatch, fault, is_done, is_told
):
    socket, found, owner = database
    monkeypatch.setattr(bad_network, "FAULTS", (fault,))
    # The first request opens the connection, the second one is the statement.
    monkeypatch.setattr(FaultyProxy, "_wait", lambda self, chosen: 2)
    with FaultyProxy(socket, "seed") as network:
        if is_told:
            insert(network, found)
        else:
            with pytest.raises(psycopg.OperationalError):
                insert(network, found)
        assert network.faults[fault] == 1
    assert one(owner, "select count(*) from done") == is_done


def test_a_calm_network_breaks_nothing_and_all_of_it_can_be_cut(database, monkeypatch):
    socket, found, owner = database
    monkeypatch.setattr(FaultyProxy, "_wait", lambda self, chosen: 1)
    with FaultyProxy(socket, "seed") as network:
        network.calm = True
        for number in range(3):
            insert(network, found, number)
        client = connect(network, found)
        network.cut_all()
        with pytest.raises(psycopg.OperationalError):
            client.execute("select pg_sleep(60)")
        client.close()
        assert network.faults == Counter({bad_network.CUT_ALL: 1})
    assert one(owner, "select count(*) from done") == 3


def test_the_same_seed_draws_the_same_faults():
    def drawn(seed):
        network, chosen = FaultyProxy(None, seed), Random(f"{seed}/1")
        return [network._wait(chosen) for _ in range(20)]

    assert drawn(1) == drawn(1) != drawn(2)
