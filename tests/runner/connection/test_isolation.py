"""A default isolation of a role or a database costs nothing: READ COMMITTED is asked for."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import InvalidArgument, RecordLedger
from record_ledger.connection import connect
from record_ledger.prepared import PREPARE_AFTER
from record_ledger.server.deploy import deploy
from record_ledger.server.doctor import examine
from tests.reliability.support import socket_of
from tests.reliability.tools import Bouncer, find_bouncer
from tests.runner.connection.test_sessions_gone import set_for
from tests.runner.processes import until
from tests.support.held_network import HeldNetwork

LEVELS = ["serializable", "repeatable read"]


@pytest.fixture
def strict(role_dsn, ledger, clock):
    clock.set("2026-11-22T20:00:00Z")
    dsn = role_dsn("runner")

    def with_default(level):
        set_for(ledger, dsn, "default_transaction_isolation", level)
        return dsn

    return with_default


def whole_cycle(runner, orders):
    first = runner.store_new_and_pass_valid_record(orders, "run-1").record
    runner.extend_lease("orders", first["claim_token"])
    runner.observe_record("orders", first["window_start_time"], "source", 3, None,
                          first["claim_token"])  # fmt: skip
    runner.complete_record("orders", first["claim_token"])
    second = runner.pass_valid_records(orders, "run-2", 2).records
    runner.fail_record("orders", second[0]["claim_token"], "bad")
    runner.store_new_records("orders")
    runner.waive_records("orders", "2026-11-21", "2026-11-22", "why")
    return runner.pipeline_records("orders", first["window_start_time"])[0]["status"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_default_of_the_role_does_not_matter(strict, config, level):
    with RecordLedger(strict(level)) as runner:
        assert whole_cycle(runner, config("orders")) == "COMPLETED"


def test_it_is_asked_for_in_the_same_round_trip_and_stays_with_no_session(
    strict, config, ledger_dsn
):
    with (
        HeldNetwork(socket_of(ledger_dsn)) as network,
        RecordLedger(network.conninfo(strict("serializable"))) as runner,
    ):
        runner.register_pipeline(config("orders"))
        before = network.round_trips
        runner.register_pipeline(config("orders"))
        assert network.round_trips == before + 1
        connection = runner._session._connection
        assert connection.execute("show transaction_isolation").fetchone() == ("serializable",)


def test_with_the_usual_default_nothing_is_asked(runner, config, monkeypatch):
    statements = []
    execute = psycopg.Cursor.execute
    monkeypatch.setattr(
        psycopg.Cursor,
        "execute",
        lambda self, query, *rest, **more: (
            statements.append(query),
            execute(self, query, *rest, **more),
        )[1],
    )
    runner.register_pipeline(config("orders"))
    assert len(statements) == 1
    with pytest.raises(InvalidArgument):
        runner.observe_record("orders", "2026-11-21", "", 1)
    runner.register_pipeline(config("orders"))
    assert len(statements) == 4  # a refused call was looked at, once
    assert not any("read committed" in str(statement) for statement in statements)


def test_transactions_of_ours_are_read_committed(strict):
    with connect(strict("serializable")) as connection, connection.transaction():
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)


@pytest.fixture
def pooled(own_server):
    """A server whose default is SERIALIZABLE, through PgBouncer in transaction mode."""
    program = find_bouncer()
    if program is None:
        pytest.skip("PgBouncer is not installed")
    deploy(own_server.dsn())
    pooler = Bouncer(program, own_server, own_server.socket.parent / "bouncer")
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.kill()


@pytest.mark.own_server
@pytest.mark.parametrize("level", ["read committed", *LEVELS])
def test_it_works_through_a_pooler_in_transaction_mode(pooled, own_server, config, level):
    with psycopg.connect(own_server.dsn(), autocommit=True) as owner:
        owner.execute(
            psycopg.sql.SQL("alter role postgres set default_transaction_isolation = {}").format(
                psycopg.sql.Literal(level)
            )
        )
    pooled.kill()  # with the server's sessions that began before
    pooled.start()
    with RecordLedger(pooled.dsn) as runner, RecordLedger(pooled.dsn) as other:
        assert whole_cycle(runner, config("orders")) == "COMPLETED"
        # What one client asked for is no state of the server's session that another is given.
        for _ in range(10):
            runner.pass_valid_record("orders")
            found = other._session.run(
                "show", lambda c: c.execute("show transaction_isolation").fetchone()[0]
            )
            assert found == level


@pytest.mark.slow
@pytest.mark.own_server
@pytest.mark.parametrize(("prepare", "lost"), [(None, 0), (True, 1)])
def test_a_pooler_may_hand_a_session_on_to_another_server(
    pooled, own_server, config, caplog, prepare, lost
):
    orders = config("orders")
    with RecordLedger(pooled.dsn, prepare=prepare) as runner:
        passed = runner.store_new_and_pass_valid_record(orders, "run-1")
        # Whoever is in a transaction has one server; the next call gets another, and then another.
        holders = [psycopg.connect(pooled.dsn) for _ in range(3)]
        for holder in holders:
            holder.execute("select 1")
            for _ in range(PREPARE_AFTER + 2):
                again = runner.store_new_and_pass_valid_record(orders, "run-1")
                assert again.verdict == passed.verdict == "READY"
        for holder in holders:
            holder.close()
    assert caplog.text.count("event=unprepared") == lost


@pytest.mark.own_server
def test_who_holds_up_a_run_is_found_through_a_pooler(
    pooled, own_server, config, caplog, monkeypatch
):
    monkeypatch.setattr("record_ledger.waiting.FIRST_LOOK", 0.2)
    with (
        psycopg.connect(own_server.dsn()) as forgotten,
        RecordLedger(pooled.dsn) as runner,
    ):
        runner.register_pipeline(config("orders"))
        forgotten.execute("select record_ledger.pause_pipeline('orders', 'look')")
        thread = threading.Thread(target=runner.pause_pipeline, args=("orders", "why"))
        thread.start()
        until(lambda: "event=waits_for_lock" in caplog.text, "the blocker's name")
        assert f"pid {forgotten.info.backend_pid}" in caplog.text
        forgotten.rollback()
        thread.join(30)


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("default_transaction_read_only", "on", "writes"),
        ("default_transaction_isolation", "serializable", "isolation"),
    ],
)
def test_doctor_tells_a_default_of_the_role(role_dsn, ledger, setting, value, name):
    dsn = role_dsn("runner")
    user = set_for(ledger, dsn, setting, value)
    (check,) = [one for one in examine(dsn) if one.name == name]

    assert check.state == ("error" if name == "writes" else "ok")
    assert setting in check.finding
    assert f"the role {user}" in check.finding


def test_doctor_tells_a_default_of_the_database(ledger_dsn, ledger):
    database = conninfo_to_dict(ledger_dsn)["dbname"]
    ledger.execute(
        psycopg.sql.SQL("alter database {} set default_transaction_read_only = on").format(
            psycopg.sql.Identifier(database)
        )
    )
    (check,) = [one for one in examine(ledger_dsn) if one.name == "writes"]

    assert check.state == "error"
    assert f"the database {database}" in check.finding
    assert "alter database" in check.advice


@pytest.mark.own_server
def test_doctor_tells_a_standby(own_server):
    (own_server._data / "standby.signal").touch()
    own_server.stop()
    own_server.start()
    checks = examine(make_conninfo(own_server.dsn()))
    (check,) = [one for one in checks if one.name == "writes"]

    assert check.state == "error"
    assert "standby" in check.finding
    assert "target_session_attrs=read-write" in check.advice
