"""A session that is over is replaced by a new one: ended by the server, read-only, or silent."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import LedgerUnavailable, RecordLedger, RetryPolicy
from record_ledger import waiting as waiting_module
from record_ledger.connection import Session
from record_ledger.server.deploy import deploy
from record_ledger.server_errors import is_retryable, is_session_gone, may_have_been_done
from tests.reliability.support import socket_of
from tests.runner.processes import Exec, content, shell, until
from tests.support.held_network import HeldNetwork
from tests.support.server import Server

QUICK = RetryPolicy(tries=3, within=10.0, first_wait=0.001, longest_wait=0.002)
PATIENT = RetryPolicy(within=60.0, first_wait=0.01, longest_wait=0.05)


def set_for(ledger, dsn, setting, value):
    user = psycopg.conninfo.conninfo_to_dict(dsn)["user"]
    ledger.execute(
        psycopg.sql.SQL("alter role {} set {} = {}").format(
            psycopg.sql.Identifier(user),
            psycopg.sql.Identifier(setting),
            psycopg.sql.Literal(value),
        )
    )
    return user


def sessions_of(ledger, user):
    return ledger.execute(
        "select count(*) from pg_stat_activity where usename = %s", [user]
    ).fetchone()[0]


@pytest.fixture
def two_servers():
    servers = [Server(durable=False), Server(durable=False)]
    try:
        for server in servers:
            server.start()
            deploy(server.dsn())
        yield servers
    finally:
        for server in servers:
            server.remove()


def both(servers, **options):
    hosts = [psycopg.conninfo.conninfo_to_dict(server.dsn())["host"] for server in servers]
    return make_conninfo(servers[0].dsn(), host=",".join(hosts), port="5432,5432", **options)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(waiting_module, "FIRST_LOOK", 0.2)
    monkeypatch.setattr(waiting_module, "BETWEEN_LOOKS", 0.05)


def test_work_is_completed_though_its_session_was_idle_for_too_long(
    role_dsn, ledger, config, clock
):
    clock.set("2026-11-22T20:00:00Z")
    dsn = role_dsn("runner")
    user = set_for(ledger, dsn, "idle_session_timeout", "100ms")
    with RecordLedger(dsn, retry=QUICK) as runner:
        with runner.processing(config("orders")) as record:
            until(lambda: sessions_of(ledger, user) == 0, "the idle session's end")
        (stored,) = runner.pipeline_records("orders", record["window_start_time"])

    assert (stored["status"], stored["attempt"]) == ("COMPLETED", 1)


@pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts")
def test_exec_completes_though_its_session_was_idle_for_too_long(
    role_dsn, ledger, config_file, clock, tmp_path
):
    clock.set("2026-11-22T20:00:00Z")
    dsn = role_dsn("runner")
    user = set_for(ledger, dsn, "idle_session_timeout", "200ms")
    os.mkfifo(tmp_path / "go")
    script = f"echo > {tmp_path}/on; read x <{tmp_path}/go"
    done = Exec(tmp_path, dsn, "--config", config_file, *shell(script))
    content(tmp_path / "on")
    until(lambda: sessions_of(ledger, user) == 0, "the idle session's end")
    (tmp_path / "go").write_text("on\n")

    assert done.ended() == 0
    assert done.json["outcome"] == "completed"


@pytest.mark.parametrize("code", ["57P05", "25P03", "25P04", "57P04", "08006"])
def test_what_ends_a_session_is_tried_on_a_new_one(ledger_dsn, ledger, code):
    ledger.execute("create sequence tries")
    session = Session(ledger_dsn, QUICK)
    backends = []

    def work(connection):
        backends.append(connection.info.backend_pid)
        connection.execute(
            "do $$ begin if nextval('tries') < 2 then "
            f"raise exception 'over' using errcode = '{code}'; end if; end $$"
        )

    session.run("work", work)
    session.close()

    assert len(set(backends)) == 2


@pytest.mark.own_server
def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(own_server, config, retried):
    deploy(own_server.dsn())
    answers = []
    with psycopg.connect(own_server.dsn(), autocommit=True) as owner:
        owner.execute("set default_transaction_read_only = off")
        with RecordLedger(own_server.dsn(), retry=PATIENT) as runner:
            runner.pipelines()
            before = runner._session._connection.info.backend_pid
            owner.execute("alter system set default_transaction_read_only = on")
            owner.execute("select pg_reload_conf()")
            until(
                lambda: (
                    runner._session._connection.execute(
                        "show default_transaction_read_only"
                    ).fetchone()[0]
                    == "on"
                ),
                "the setting to arrive",
            )
            thread = threading.Thread(
                target=lambda: answers.append(runner.register_pipeline(config("orders")))
            )
            thread.start()
            assert retried.wait(20)
            owner.execute("alter system reset default_transaction_read_only")
            owner.execute("select pg_reload_conf()")
            thread.join(30)
            assert answers == ["orders"]
            assert runner._session._connection.info.backend_pid != before


def test_a_server_that_stays_read_only_is_one_clear_error(role_dsn, ledger, config):
    dsn = role_dsn("runner")
    set_for(ledger, dsn, "default_transaction_read_only", "on")

    with (
        RecordLedger(dsn, retry=QUICK) as runner,
        pytest.raises(LedgerUnavailable, match="takes no writes after 3 tries") as caught,
    ):
        runner.register_pipeline(config("orders"))

    assert caught.value.sqlstate == "25006"
    assert "target_session_attrs=read-write" in caught.value.hint


@pytest.mark.own_server
@pytest.mark.parametrize("options", [{}, {"target_session_attrs": "read-write"}])
def test_of_two_hosts_the_one_that_takes_writes_is_found(two_servers, config, options):
    first, second = two_servers
    with RecordLedger(both(two_servers, **options), retry=QUICK) as runner:
        runner.pipelines()
        connection = runner._session._connection
        with psycopg.connect(first.dsn(), autocommit=True) as owner:
            owner.execute("alter system set default_transaction_read_only = on")
            owner.execute("select pg_reload_conf()")
        until(
            lambda: connection.execute("show default_transaction_read_only").fetchone()[0] == "on",
            "the setting to arrive",
        )
        runner.register_pipeline(config("orders"))

    with RecordLedger(second.dsn()) as there:
        assert [row["pipeline_id"] for row in there.pipelines()] == ["orders"]


@pytest.mark.own_server
@pytest.mark.slow
def test_a_frozen_server_is_left_for_one_that_answers(two_servers, config, soon):
    first, second = two_servers
    with RecordLedger(both(two_servers, connect_timeout="2"), retry=QUICK) as runner:
        runner.pipelines()
        with first.frozen():
            runner.register_pipeline(config("orders"))

    with RecordLedger(second.dsn()) as there:
        assert [row["pipeline_id"] for row in there.pipelines()] == ["orders"]


@pytest.mark.own_server
@pytest.mark.slow
def test_a_frozen_server_without_another_is_an_error_and_not_for_ever(own_server, soon):
    deploy(own_server.dsn())
    alone = make_conninfo(own_server.dsn(), connect_timeout="2")
    with RecordLedger(alone, retry=RetryPolicy(tries=2, first_wait=0.01)) as runner:
        runner.pipelines()
        with (
            own_server.frozen(),
            pytest.raises(LedgerUnavailable, match="cannot be reached after 2 tries"),
        ):
            runner.pipelines()


def test_what_may_not_run_twice_is_in_doubt_when_the_server_fell_silent(
    ledger_dsn, ledger, config, clock, soon
):
    clock.set("2026-11-22T20:00:00Z")
    with (
        HeldNetwork(socket_of(ledger_dsn)) as network,
        RecordLedger(network.conninfo(ledger_dsn), retry=QUICK) as runner,
    ):
        runner.register_pipeline(config("orders"))
        network.hold()
        network._listener.close()
        with pytest.raises(LedgerUnavailable, match="whether this was done is not known"):
            runner.reopen_records("orders", "2026-11-21", "2026-11-22", "why")


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_a_fatal_error_ends_a_session_whatever_its_sqlstate(severity):
    """A fake of the driver's error: no server says XX000 so on demand."""

    class Said(psycopg.InternalError):
        sqlstate = "XX000"
        diag = SimpleNamespace(severity_nonlocalized=severity, context=None)

    assert is_session_gone(Said())
    assert is_retryable(Said())
    assert may_have_been_done(Said())
    Said.diag.severity_nonlocalized = "ERROR"
    assert not is_session_gone(Said())
    assert not is_retryable(Said())
    assert not may_have_been_done(Said())


@pytest.mark.parametrize(
    ("sqlstate", "may"),
    [
        ("57P01", False),
        ("57P05", False),
        ("25P03", False),
        ("25006", False),
        ("40001", False),
        ("57P02", True),
        ("08006", True),
    ],
)
def test_what_was_done_for_certain_is_known_by_the_sqlstate(sqlstate, may):
    error = psycopg.errors.lookup(sqlstate)("made up")

    assert may_have_been_done(error) is may
    assert is_retryable(error)
