"""Where a standby has to confirm each commit: what it has not confirmed is acknowledged to nobody.

A commit that waits for a standby can be cancelled, and its session ended. The change is then made
on this server alone, and a failover takes it back.
"""

from __future__ import annotations

import contextlib
import threading
import time

import psycopg
import pytest

from record_ledger import LedgerError, RecordLedger, RetryPolicy
from record_ledger.server.deploy import deploy
from tests.support.databases import open_connection

pytestmark = [pytest.mark.own_server, pytest.mark.slow]

RETRY = RetryPolicy(first_wait=0.01, longest_wait=0.05)
WAITING = "select pid, query_start from pg_stat_activity where wait_event = 'SyncRep'"
DEADLINE = 20.0


@pytest.fixture
def held(own_server, config):
    """A server with a record that is passed, whose commits then wait for a standby."""
    deploy(own_server.dsn())
    with RecordLedger(own_server.dsn(), retry=RETRY) as ledger:
        wanted = config("orders", granularity="1h", start_at="2026-11-20")
        record = ledger.store_new_and_pass_valid_record(wanted, "first").record
        hold_commits(own_server)
        yield own_server, ledger, record
        own_server.set("synchronous_standby_names", None)


def wait_for(is_so):
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hold_commits(server):
    """Returns once each commit waits for a standby: the checkpointer tells it to the sessions."""
    server.set("synchronous_standby_names", "absent")

    def commit_until_ended():
        with (
            contextlib.suppress(psycopg.OperationalError),
            open_connection(server.dsn()) as session,
        ):
            while True:
                session.execute("select pg_logical_emit_message(true, '', '')")

    probe = threading.Thread(target=commit_until_ended, daemon=True)
    probe.start()
    wait_for(lambda: server.execute(WAITING))
    server.execute(f"select pg_terminate_backend(pid) from ({WAITING}) as waiting")
    probe.join(DEADLINE)
    assert not probe.is_alive()
    wait_for(lambda: not server.execute(WAITING))


class Call(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self._call, self._arguments = call, arguments
        self.error = None
        self.start()

    def run(self):
        try:
            self._call(*self._arguments)
        except LedgerError as error:
            self.error = error


def interfere(server, function):
    """Does that to the session that waits for the standby; returns when one waits again."""
    wait_for(lambda: server.execute(WAITING))
    before = server.execute(WAITING)
    server.execute(f"select {function}({before[0][0]})")
    wait_for(lambda: server.execute(WAITING) not in ([], before))


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("end", ["complete_record", "fail_record", "release_record"])
def test_an_end_that_no_standby_has_is_not_acknowledged(held, function, end):
    server, ledger, record = held
    more = ["boom"] if end == "fail_record" else []
    call = Call(getattr(ledger, end), "orders", record["claim_token"], *more)
    for _ in range(2):
        interfere(server, function)
    assert call.is_alive()
    server.set("synchronous_standby_names", None)
    call.join(DEADLINE)
    assert not call.is_alive() and call.error is None
    with open_connection(server.dsn()) as owner:
        ((events,),) = owner.execute(
            "select count(*) from record_ledger.record_events where event <> 'passed'"
        ).fetchall()
    assert events == 1


def test_a_pass_that_no_standby_has_is_not_acknowledged(held, config):
    server, ledger, _ = held
    wanted = config("orders", granularity="1h", start_at="2026-11-20")
    call = Call(ledger.store_new_and_pass_valid_record, wanted, "second")
    interfere(server, "pg_cancel_backend")
    assert call.is_alive()
    server.set("synchronous_standby_names", None)
    call.join(DEADLINE)
    assert not call.is_alive() and call.error is None
