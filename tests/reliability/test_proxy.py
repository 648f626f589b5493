"""The bad network's faults are real: a lost statement was not done, a cut one was."""

from __future__ import annotations

from collections import Counter
from random import Random

import psycopg
import pytest

from tests.reliability import proxy as bad_network
from tests.reliability.proxy import FaultyProxy
from tests.reliability.support import socket_of
from tests.sql.support import one
from tests.support.databases import open_connection


@pytest.fixture
def database(empty_dsn):
    with open_connection(empty_dsn) as owner:
        owner.execute("create table done (number int)")
        yield empty_dsn, owner


def insert(network, dsn, number=1):
    with open_connection(network.conninfo(dsn)) as client:
        client.execute("insert into done values (%s)", [number])


@pytest.mark.parametrize(
    ("fault", "is_done", "is_answered"),
    [
        (bad_network.REQUEST_LOST, False, False),
        (bad_network.HELD, False, False),
        (bad_network.ANSWER_LOST, True, False),
        (bad_network.ANSWER_TORN, True, False),
        (bad_network.DELAYED, True, True),
    ],
)
def test_a_statement_is_done_and_answered_as_the_fault_says(
    database, monkeypatch, fault, is_done, is_answered
):
    dsn, owner = database
    monkeypatch.setattr(bad_network, "FAULTS", (fault,))
    # The first request opens the connection, the second one is the statement.
    monkeypatch.setattr(FaultyProxy, "_wait", lambda self, chosen: 2)
    with FaultyProxy(socket_of(dsn), "seed") as network:
        if is_answered:
            insert(network, dsn)
        else:
            with pytest.raises(psycopg.OperationalError):
                insert(network, dsn)
        assert network.faults[fault] == 1
    assert one(owner, "select count(*) from done") == is_done


def test_a_calm_network_breaks_nothing_and_all_of_it_can_be_cut(database, monkeypatch):
    dsn, owner = database
    monkeypatch.setattr(FaultyProxy, "_wait", lambda self, chosen: 1)
    with FaultyProxy(socket_of(dsn), "seed") as network:
        network.calm = True
        for number in range(3):
            insert(network, dsn, number)
        client = open_connection(network.conninfo(dsn))
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
