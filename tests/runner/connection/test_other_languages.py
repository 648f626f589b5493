"""Whatever language a server speaks, its SQLSTATEs and fields decide, not its texts."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import LedgerUnavailable, NotDeployed, RecordLedger, RetryPolicy
from record_ledger.connection import Session, connect, connect_async
from record_ledger.server.deploy import deploy
from record_ledger.server_errors import is_retryable
from tests.runner.processes import waits_in_the_database
from tests.support.server import Server

QUICK = RetryPolicy(tries=3, within=10.0, first_wait=0.001, longest_wait=0.002)
PATIENT = RetryPolicy(within=60.0, first_wait=0.01, longest_wait=0.05)
RENAME = "alter function record_ledger.{} rename to {}"
LOCALE = "de_DE.UTF-8"
HBA = "local all has_password scram-sha-256\nlocal all rejected reject\nlocal all all trust\n"

pytestmark = pytest.mark.own_server


@pytest.fixture(scope="module")
def german():
    """A server that speaks German, with users who are refused in several ways."""
    if shutil.which("localedef") is None:
        pytest.skip("this machine makes no locales")
    try:
        server = Server(15, durable=False, settings={"lc_messages": LOCALE})
    except LookupError as missing:
        pytest.skip(str(missing))
    # Where the server's user can read it, and no system's locale is touched.
    folder = server.socket.parent / "locales"
    folder.mkdir()
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", folder / LOCALE], check=False)
    (server.socket.parent / "data" / "pg_hba.conf").write_text(HBA)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCPATH", str(folder))
        patched.delenv("LANGUAGE", raising=False)
        server.start()
    try:
        with psycopg.connect(server.dsn(), autocommit=True) as owner:
            with pytest.raises(psycopg.Error) as spoken:
                owner.execute("select 1/0")
            if "Division durch Null" not in str(spoken.value):
                pytest.skip("the server's German texts are not installed")
            owner.execute("create role has_password login password 's3cret'")
            owner.execute("create role rejected login")
            owner.execute("create role full_up login connection limit 0")
            owner.execute("create role no_login")
            owner.execute("create database closed")
            owner.execute("create role outside login")
            owner.execute("revoke connect on database closed from public")
        deploy(server.dsn())
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("wrong", "sqlstate", "advice"),
    [
        ({"dbname": "no_such_database"}, "3D000", "name of the database"),
        ({"user": "not_there"}, "28000", "Check the user"),
        ({"user": "has_password"}, "28000", "Check the user"),
        ({"user": "has_password", "password": "wrong"}, "28P01", "Check the user"),
        ({"user": "rejected"}, "28000", "pg_hba.conf"),
        ({"user": "no_login"}, "28000", "Check the user"),
        ({"user": "outside", "dbname": "closed"}, "42501", "right to connect"),
        ({"options": "-c timezone=nowhere"}, "22023", ""),
    ],
)
def test_a_refused_connection_is_not_tried_again(german, wrong, sqlstate, advice, caplog):
    with (
        pytest.raises(LedgerUnavailable) as caught,
        RecordLedger(make_conninfo(german.dsn(), **wrong), retry=QUICK) as opened,
    ):
        opened.pipelines()

    assert caught.value.sqlstate == sqlstate
    assert advice in caught.value.hint
    assert "event=retry" not in caplog.text


def test_an_event_loop_is_told_how_it_was_refused(german):
    with pytest.raises(psycopg.OperationalError) as caught:
        asyncio.run(connect_async(make_conninfo(german.dsn(), user="not_there")))

    assert caught.value.sqlstate == "28000"
    assert not is_retryable(caught.value)


def test_a_user_without_a_free_connection_is_tried_again_and_told_so(german, caplog):
    with (
        pytest.raises(LedgerUnavailable, match="after 3 tries") as caught,
        RecordLedger(make_conninfo(german.dsn(), user="full_up"), retry=QUICK) as opened,
    ):
        opened.pipelines()

    assert caught.value.sqlstate == "53300"
    assert "connection limit" in caught.value.hint
    assert "address" not in caught.value.hint
    assert caplog.text.count("event=retry") == 2


def test_of_several_hosts_one_that_may_answer_later_is_waited_for(german, tmp_path, caplog):
    hosts = f"{psycopg.conninfo.conninfo_to_dict(german.dsn())['host']},{tmp_path}"
    with (
        pytest.raises(LedgerUnavailable, match="after 3 tries"),
        RecordLedger(
            make_conninfo(german.dsn(), host=hosts, user="not_there"), retry=QUICK
        ) as opened,
    ):
        opened.pipelines()


def test_a_call_that_meets_a_deploy_is_made_again(german, config, retried):
    """The routine under way finds that what it calls was replaced; English is not asked for."""
    dsn = german.dsn()
    answers = []
    with psycopg.connect(dsn) as deploying, RecordLedger(dsn, retry=PATIENT) as runner:
        runner.register_pipeline(config("orders"))
        runner.close()
        deploying.execute("select from record_ledger.pipeline for update")
        thread = threading.Thread(
            target=lambda: answers.append(runner.pause_pipeline("orders", "why"))
        )
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as observer:
            waits_in_the_database(observer, "transactionid")
        deploying.execute(RENAME.format("append_pipeline_event", "was_there"))
        deploying.commit()
        assert retried.wait(20)
        deploying.execute(RENAME.format("was_there", "append_pipeline_event"))
        deploying.commit()
        thread.join(30)

    assert answers == [None]


def test_what_is_missing_within_a_routine_is_told_from_a_missing_ledger(german):
    session = Session(german.dsn(), QUICK)
    with connect(german.dsn()) as connection:
        with pytest.raises(psycopg.errors.UndefinedFunction) as within:
            connection.execute("do $$ begin perform record_ledger.not_there(); end $$")
        with pytest.raises(psycopg.errors.UndefinedFunction) as above:
            connection.execute("select record_ledger.not_there()")
    session.close()

    assert is_retryable(within.value)
    assert not is_retryable(within.value, calls_ledger=False)
    assert not is_retryable(above.value)


def test_a_database_without_a_ledger_is_said_at_once(german, caplog):
    with (
        pytest.raises(NotDeployed),
        RecordLedger(make_conninfo(german.dsn(), dbname="template1"), retry=QUICK) as opened,
    ):
        opened.register_pipeline({"timezone": "UTC"})

    assert "event=retry" not in caplog.text
