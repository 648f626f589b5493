"""A call that gets no answer: who blocks it is logged, and it does not wait for ever."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import LedgerUnavailable, RecordLedger, RetryPolicy
from record_ledger import waiting as waiting_module
from record_ledger.connection import connect
from record_ledger.server.doctor import examine
from tests.reliability.support import socket_of
from tests.runner.processes import until, waits_in_the_database


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(waiting_module, "FIRST_LOOK", 0.2)
    monkeypatch.setattr(waiting_module, "BETWEEN_LOOKS", 0.05)


@pytest.fixture
def orders(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    runner.register_pipeline(config("orders"))
    return config("orders")


@pytest.fixture
def forgotten(orders, ledger_dsn):
    """A person's `begin; select pause_pipeline(...)` that is neither committed nor rolled back."""
    with psycopg.connect(make_conninfo(ledger_dsn, application_name="psql by hand")) as open_one:
        open_one.execute("select record_ledger.pause_pipeline('orders', 'look')")
        yield open_one


def lock_lines(caplog):
    return [r.getMessage() for r in caplog.records if "event=waits_for_lock" in r.getMessage()]


def in_thread(call, *arguments):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call(*arguments)))
    thread.start()
    return thread, answers


def test_who_holds_up_a_run_is_logged_once(runner, orders, forgotten, soon, caplog, monkeypatch):
    looks = []
    look = waiting_module.Patience._look_around
    monkeypatch.setattr(
        waiting_module.Patience,
        "_look_around",
        lambda self, *seen: (look(self, *seen), looks.append(seen)),
    )
    thread, answers = in_thread(runner.store_new_and_pass_valid_record, orders, "run-1")
    until(lambda: len(looks) >= 3, "some looks")
    forgotten.rollback()
    thread.join(30)

    assert answers[0].record is not None
    (line,) = lock_lines(caplog)
    assert "call=store_new_and_pass_valid_record" in line
    assert f"pid {forgotten.info.backend_pid}" in line
    assert "application psql by hand" in line
    assert "idle in transaction" in line


def test_a_blocker_whose_state_may_not_be_seen_is_named(orders, forgotten, role_dsn, soon, caplog):
    with RecordLedger(role_dsn("runner")) as other:
        thread, _ = in_thread(other.store_new_and_pass_valid_record, orders, "run-1")
        until(lambda: lock_lines(caplog), "the blocker's name")
        forgotten.rollback()
        thread.join(30)

    assert f"pid {forgotten.info.backend_pid}" in lock_lines(caplog)[0]
    assert "state not visible" in lock_lines(caplog)[0]


def test_long_work_is_not_taken_for_a_lock(runner, soon, caplog):
    runner._session.run("work", lambda connection: connection.execute("select pg_sleep(0.6)"))

    assert lock_lines(caplog) == []


def test_a_call_that_takes_too_long_is_cancelled_and_says_so(ledger_dsn, ledger, orders, forgotten):
    brief = RetryPolicy(longest_call=0.5)
    with (
        RecordLedger(ledger_dsn, retry=brief) as runner,
        pytest.raises(LedgerUnavailable, match=r"took too long: .* within 0\.5 s"),
    ):
        runner.store_new_and_pass_valid_record(orders, "run-1")

    working = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
    assert not ledger.execute(working, [conninfo_to_dict(ledger_dsn)["dbname"]]).fetchall()


def test_what_ends_a_claim_is_tried_again_when_it_took_too_long(
    ledger_dsn, orders, connect, ledger, caplog
):
    brief = RetryPolicy(longest_call=0.3, first_wait=0.01)
    with RecordLedger(ledger_dsn, retry=brief) as runner:
        record = runner.store_new_and_pass_valid_record(orders).record
        blocker = connect(autocommit=False)
        blocker.execute("select from record_ledger.record for update")
        thread, answers = in_thread(runner.complete_record, "orders", record["claim_token"])
        until(lambda: "event=retry" in caplog.text, "a second try")
        blocker.rollback()
        thread.join(30)

    assert answers == [None]


def test_an_operation_over_many_records_may_take_longer(ledger_dsn, orders, forgotten, ledger):
    with RecordLedger(ledger_dsn, retry=RetryPolicy(longest_call=0.1)) as runner:
        thread, answers = in_thread(runner.resume_pipeline, "orders", "why")
        waits_in_the_database(ledger, "transactionid")
        until(lambda: not thread.join(0.3) and thread.is_alive(), "it to wait on")
        forgotten.rollback()
        thread.join(30)

    assert answers == [False]


def test_an_interrupt_ends_a_call_that_nobody_answers(ledger_dsn, orders, forgotten, ledger):
    runner = RecordLedger(ledger_dsn)
    errors = []

    def call():
        try:
            runner.store_new_and_pass_valid_record(orders)
        except Exception as error:  # noqa: BLE001 - compared
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    waits_in_the_database(ledger, "transactionid")
    runner.interrupt()
    thread.join(30)
    runner.close()

    assert errors[0].sqlstate == "57014"


def test_every_connection_notices_a_lost_peer(ledger_dsn):
    with connect(ledger_dsn) as connection:
        used = connection.info.get_parameters()
    for name in ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"):
        assert int(used[name]) > 0, name

    with connect(make_conninfo(ledger_dsn, keepalives_idle="77", tcp_user_timeout="0")) as own:
        used = own.info.get_parameters()
    assert used["keepalives_idle"] == "77"
    assert used.get("tcp_user_timeout", "0") == "0"
    assert socket_of(ledger_dsn).exists()


def finding(dsn, name):
    return [check for check in examine(dsn) if check.name == name]


def test_doctor_finds_a_transaction_that_was_forgotten(ledger_dsn, forgotten, monkeypatch):
    monkeypatch.setattr("record_ledger.server.doctor._LONG_IDLE_SECONDS", 0.0)
    (check,) = finding(ledger_dsn, "sessions")

    assert check.state == "warning"
    assert f"pid {forgotten.info.backend_pid}" in check.finding
    assert "psql by hand" in check.finding
    assert f"pg_terminate_backend({forgotten.info.backend_pid})" in check.advice


def test_doctor_finds_who_blocks_though_it_may_not_see_what_it_does(
    role_dsn, runner, orders, forgotten, monkeypatch, ledger
):
    monkeypatch.setattr("record_ledger.server.doctor._LONG_IDLE_SECONDS", 0.0)
    thread, _ = in_thread(runner.store_new_and_pass_valid_record, orders, "run-1")
    waits_in_the_database(ledger, "transactionid")
    (check,) = finding(role_dsn("runner"), "sessions")
    forgotten.rollback()
    thread.join(30)

    assert check.state == "warning"
    assert f"pid {forgotten.info.backend_pid}" in check.finding


def test_doctor_is_at_ease_about_a_transaction_that_has_only_begun(ledger_dsn, forgotten):
    (check,) = finding(ledger_dsn, "sessions")
    assert check.state == "ok"
