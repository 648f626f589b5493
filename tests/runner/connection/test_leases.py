"""What ends a claim is tried until the lease has run out; everything else for RETRY_WITHIN."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import psycopg
import pytest

from record_ledger import InvalidArgument, LedgerError, LedgerUnavailable, RecordLedger, RetryPolicy
from record_ledger import clocks as clocks_module
from record_ledger import connection as connection_module
from record_ledger.clocks import elapsed
from record_ledger.connection import Connection, Session
from record_ledger.heartbeat import Heartbeat
from record_ledger.leases import Leases
from tests.reliability.support import socket_of
from tests.runner.processes import until
from tests.support.held_network import HeldNetwork

CLAIM = ("orders", 7)
WHEN = datetime(2026, 11, 22, 20, tzinfo=timezone.utc)


def record(**times):
    return {"pipeline_id": "orders", "claim_token": 7, **times}


class Clock:
    """Time that passes only by waiting for it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.waits = []
        for module in (connection_module,):
            monkeypatch.setattr(module, "elapsed", lambda: self.now)
        clock = self

        class Woken(threading.Event().__class__):
            def wait(self, timeout=None):
                if self.is_set():
                    return True
                clock.waits.append(timeout)
                clock.now += timeout
                return False

        self.event = Woken


@pytest.fixture
def patient(monkeypatch):
    return Clock(monkeypatch)


def away(session, patient, error=None):
    """Has every try of a session meet a server that is away; returns how often it was tried."""
    session._woken = patient.event()
    tried = []

    def work(_connection):
        tried.append(patient.now)
        raise error or psycopg.OperationalError("the server is away")

    session._open = lambda _name, _longest: Mock(spec=Connection)
    session._after_failure = lambda _error: None
    return work, tried


def test_a_call_is_tried_for_as_long_as_it_may_be(patient):
    session = Session("", RetryPolicy(within=30.0))
    work, tried = away(session, patient)
    with pytest.raises(LedgerUnavailable):
        session.run("pipelines", work)

    assert tried[-1] == 1030.0
    # Half of what the first wait may be: no try comes at once.
    assert min(patient.waits[:-1]) >= 0.25


def test_what_ends_a_claim_is_tried_until_its_lease_is_over(patient):
    session = Session("", RetryPolicy(within=30.0))
    work, tried = away(session, patient)
    with pytest.raises(LedgerUnavailable):
        session.run("complete_record", work, until=1000.0 + 590.0)

    assert tried[-1] == 1590.0


def test_what_ends_a_claim_is_tried_for_a_while_when_the_lease_is_over(patient):
    session = Session("", RetryPolicy(within=30.0))
    work, tried = away(session, patient)
    with pytest.raises(LedgerUnavailable):
        session.run("complete_record", work, until=400.0)

    assert tried[-1] == 1030.0


def test_what_ends_a_claim_outlives_a_cancelled_statement(patient):
    session = Session("", RetryPolicy(within=30.0))
    work, tried = away(session, patient, psycopg.errors.QueryCanceled("statement timeout"))
    with pytest.raises(Exception, match="statement timeout"):
        session.run("complete_record", work, until=1100.0)
    assert len(tried) > 1
    tried.clear()
    with pytest.raises(Exception, match="statement timeout"):
        session.run("pipelines", work)
    assert len(tried) == 1


def test_a_signal_ends_the_waiting_for_a_lease(patient):
    session = Session("", RetryPolicy(within=30.0))
    work, tried = away(session, patient)

    def signalled(connection):
        if patient.now > 1100.0 and session._latest > 5000.0:
            session.hurry(10.0)
            session._woken = patient.event()
        return work(connection)

    with pytest.raises(LedgerUnavailable):
        session.run("complete_record", signalled, until=5000.0)
    assert 1110.0 <= tried[-1] < 1120.0

    # A later call is tried as long as any other.
    patient.now = 2000.0
    with pytest.raises(LedgerUnavailable):
        session.run("fail_record", work, until=5000.0)
    assert tried[-1] == 2030.0


def test_an_interrupt_ends_the_waiting_at_once():
    session = Session("host=/nowhere", RetryPolicy(first_wait=60.0, longest_wait=60.0))
    ended = []

    def call():
        with pytest.raises(LedgerError, match="interrupted"):
            session.run("complete_record", print, until=elapsed() + 3600.0)
        ended.append(True)

    thread = threading.Thread(target=call)
    thread.start()
    session.interrupt()
    thread.join(20)

    assert ended == [True]


def test_the_lease_is_counted_from_when_the_pass_was_sent():
    leases = Leases()
    leases.passed(record(lease_expires_at=WHEN + timedelta(minutes=10), updated_at=WHEN), 100.0)
    assert leases.until(CLAIM) == 700.0
    leases.extended(CLAIM, 400.0, WHEN + timedelta(days=4000))
    assert leases.until(CLAIM) == 1000.0
    leases.ended(CLAIM)
    assert leases.until(CLAIM) == pytest.approx(elapsed(), abs=60)


@pytest.mark.parametrize(
    ("left", "length", "expected"),
    [("9m", "10m", 540), ("-5m", "10m", 0), ("400d", "10m", 600)],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_a_process_that_did_not_pass_it_goes_by_the_record(left, length, expected, as_text):
    """A clock that is behind by a year is believed for one length of the lease."""
    units = {"m": 60, "d": 86400}
    seconds = int(left[:-1]) * units[left[-1]]
    expires = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    stamped = expires - timedelta(seconds=int(length[:-1]) * 60)
    times = {"lease_expires_at": expires, "updated_at": stamped}
    if as_text:
        times = {name: time.isoformat() for name, time in times.items()}
    leases = Leases()
    leases.given(CLAIM, record(**times))

    assert leases.until(CLAIM) - elapsed() == pytest.approx(expected, abs=30)


@pytest.mark.parametrize("times", [{}, {"lease_expires_at": "soon"}, {"lease_expires_at": 3}])
def test_a_record_that_states_no_lease_is_no_error(times):
    leases = Leases()
    leases.given(CLAIM, record(**times))
    assert leases.until(CLAIM) == pytest.approx(elapsed(), abs=60)


def test_a_ledger_knows_the_leases_of_what_it_is_passed(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")  # nothing of this machine's clock
    before = elapsed()
    passed = runner.store_new_and_pass_valid_record(config("orders", lease="10m")).record
    claim = passed["pipeline_id"], passed["claim_token"]

    until_ = runner.leases.until(claim)
    assert before + 600 <= until_ <= elapsed() + 600
    assert runner.another().leases.until(claim) == until_
    runner.extend_lease(*claim)
    assert until_ <= runner.leases.until(claim) <= elapsed() + 600
    runner.complete_record(*claim)
    assert runner.leases.until(claim) < before + 600

    (one,) = runner.pass_valid_records(config("orders", lease="10m"), record_limit=1).records
    assert runner.leases.until(("orders", one["claim_token"])) >= before + 600


def test_the_time_to_try_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "2.5")
    assert RetryPolicy().within == 2.5
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "soon")
    with pytest.raises(InvalidArgument, match="RECORD_LEDGER_RETRY_WITHIN: 'soon'"):
        RetryPolicy()
    monkeypatch.delenv("RECORD_LEDGER_RETRY_WITHIN")
    assert RetryPolicy().within == 30.0


def test_the_clock_counts_on_while_the_machine_sleeps():
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert elapsed() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)


def test_a_lease_that_ran_out_while_the_machine_slept_is_lost(runner, config, clock, monkeypatch):
    clock.set("2026-11-22T20:00:00Z")
    passed = runner.store_new_and_pass_valid_record(config("orders", lease="1h")).record
    slept = [0.0]
    monkeypatch.setattr(
        "record_ledger.heartbeat.elapsed", lambda: clocks_module.elapsed() + slept[0]
    )
    heartbeat = Heartbeat(runner, passed)
    heartbeat.start()
    try:
        slept[0] = 3601.0
        assert heartbeat.lost.wait(20)
    finally:
        assert heartbeat.stop() is not None


def test_a_beat_that_hangs_is_left_for_one_on_a_new_connection(
    ledger_dsn, config, clock, monkeypatch
):
    clock.set("2026-11-22T20:00:00Z")
    with (
        HeldNetwork(socket_of(ledger_dsn)) as network,
        RecordLedger(network.conninfo(ledger_dsn)) as runner,
    ):
        passed = runner.store_new_and_pass_valid_record(config("orders", lease="12s")).record
        claim = passed["pipeline_id"], passed["claim_token"]
        monkeypatch.setattr("record_ledger.heartbeat.LONGEST_PAUSE", 0.1)
        heartbeat = Heartbeat(runner, passed)
        heartbeat.start()
        first = runner.leases.until(claim)
        until(lambda: runner.leases.until(claim) > first, "the first beat")
        opened = network.opened
        network.hold()
        held = runner.leases.until(claim)
        until(lambda: runner.leases.until(claim) > held + 0.5, "a beat on a new connection")
        assert network.opened > opened
        assert not heartbeat.lost.is_set()
        assert heartbeat.stop() is None


def test_beats_come_every_half_minute_whatever_the_lease(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    passed = runner.store_new_and_pass_valid_record(config("orders", lease="1d")).record
    heartbeat = Heartbeat(runner, passed)
    heartbeat._held_until = elapsed() + 86400.0
    assert first_wait(heartbeat) == pytest.approx(30.0, abs=5.0)


def first_wait(heartbeat):
    """For how long a heartbeat waits before it first beats."""
    waits = []

    class Done(threading.Event().__class__):
        def wait(self, timeout=None):
            waits.append(timeout)
            return True

    heartbeat._done = Done()
    heartbeat._beat()
    (first,) = waits
    return first


@pytest.mark.parametrize(("used", "wait"), [(200.0, 0.0), (20.0, 10.0)])
def test_a_beat_that_was_due_before_the_work_began_is_sent_at_once(
    runner, config, clock, used, wait
):
    # As after a pass whose next question hung in a server that was frozen.
    clock.set("2026-11-22T20:00:00Z")
    passed = runner.store_new_and_pass_valid_record(config("orders", lease="10m")).record
    heartbeat = Heartbeat(runner, passed)
    heartbeat._held_until = elapsed() + 600.0 - used
    assert first_wait(heartbeat) == pytest.approx(wait, abs=5.0)


@pytest.mark.skipif(os.name != "posix", reason="a Unix socket")
def test_the_shell_goes_by_the_records_lease(command, config_file, clock, tmp_path, monkeypatch):
    clock.free()
    noted = []
    given = Leases.given
    monkeypatch.setattr(
        Leases, "given", lambda self, *what: (noted.append(what[0]), given(self, *what))
    )
    passed = command("run", "--config", config_file)
    (tmp_path / "passed.json").write_text(passed.out)
    for name in ("heartbeat", "complete"):
        assert command(name, "--record", tmp_path / "passed.json").code == 0
    token = json.loads(passed.out)["record"]["claim_token"]
    assert noted == [("orders", token)] * 2


def test_the_option_of_the_shell_sets_how_long_is_tried(command, monkeypatch):
    seen = []
    real = RecordLedger.pipeline_progress
    monkeypatch.setattr(
        RecordLedger,
        "pipeline_progress",
        lambda self, *rest: (seen.append(self._session._retry.within), real(self, *rest))[1],
    )
    assert command("--retry-within", "3", "status").code == 0
    assert command("status").code == 0
    assert command("status", "--retry-within", "soon").code == 2
    assert seen == [3.0, 30.0]
