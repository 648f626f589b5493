"""What is sent without a cursor: prepared where that is safe, and otherwise as any call is."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from record_ledger import ClaimLost, InvalidArgument, InvalidConfig, RecordLedger
from record_ledger.prepared import PREPARE_AFTER
from record_ledger.server.doctor import examine
from tests.reliability.support import socket_of
from tests.runner.processes import waits_in_the_database
from tests.support.held_network import FakePooler

ENOUGH = PREPARE_AFTER + 2


@pytest.fixture
def orders(config, clock):
    clock.set("2026-11-22T20:00:00Z")
    return config("orders")


def asked_often(runner, orders, times=ENOUGH):
    """Makes a call so often that its statement is prepared; returns the record of the last one."""
    calls = [runner.store_new_and_pass_valid_record(orders, "run-1") for _ in range(times)]
    assert len({call.record["window_start_time"] for call in calls}) == 1
    return calls[-1].record


def same(record, other):
    """Tells whether the same record was passed again, whatever its claim is."""
    changed = {"claim_token", "attempt", "updated_at", "lease_expires_at", "last_detail"}
    return all(record[key] == other[key] for key in record.keys() - changed)


def in_session(runner, work):
    return runner._session.run("work", work)


def prepared(runner):
    query = "select statement from pg_prepared_statements"
    return in_session(runner, lambda c: [row[0] for row in c.execute(query)])


def value(runner, statement, *parameters):
    return in_session(runner, lambda c: c.value(statement, parameters))


def valued_often(runner, statement):
    return [value(runner, statement) for _ in range(ENOUGH)][-1]


# ---------------------------------------------------------------- when
def test_a_statement_is_prepared_once_it_was_sent_a_few_times(runner, orders):
    asked_often(runner, orders, PREPARE_AFTER)
    assert prepared(runner) == []

    record = asked_often(runner, orders, 2)
    assert len(prepared(runner)) == 1
    assert "store_new_and_pass_valid_record" in prepared(runner)[0]
    runner.complete_record("orders", record["claim_token"])
    for _ in range(ENOUGH):
        with pytest.raises(ClaimLost):
            runner.complete_record("orders", 7)
    assert len(prepared(runner)) == 2


@pytest.mark.parametrize(
    ("variable", "argument", "expected"),
    [("off", None, 0), ("on", None, 1), ("auto", None, 1), ("on", False, 0), ("off", True, 1)],
)
def test_a_switch_overrules(ledger_dsn, orders, monkeypatch, variable, argument, expected):
    monkeypatch.setenv("RECORD_LEDGER_PREPARE", variable)
    with RecordLedger(ledger_dsn, prepare=argument) as runner, runner.another() as other:
        for one in (runner, other):
            asked_often(one, orders)
            assert len(prepared(one)) == expected


def test_a_switch_that_is_none_is_refused(ledger_dsn, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_PREPARE", "maybe")
    with pytest.raises(InvalidArgument, match="RECORD_LEDGER_PREPARE: 'maybe' is not valid; give"):
        RecordLedger(ledger_dsn)


@pytest.mark.parametrize(("argument", "expected"), [(None, 0), (True, 1)])
def test_behind_a_pooler_nothing_is_prepared_unless_that_is_asked_for(
    ledger_dsn, orders, argument, expected
):
    """A fake: it only announces another process id, as poolers do."""
    with (
        FakePooler(socket_of(ledger_dsn)) as pooler,
        RecordLedger(pooler.conninfo(ledger_dsn), prepare=argument) as runner,
    ):
        announced = in_session(runner, lambda c: c.info.backend_pid)
        assert value(runner, "select pg_backend_pid()::text") != str(announced).encode()
        asked_often(runner, orders)
        assert len(prepared(runner)) == expected


@pytest.mark.parametrize(
    ("is_pooled", "variable", "expected"),
    [
        (False, "auto", "no pooler seen; the statements of runs are prepared"),
        (False, "off", "no pooler seen; nothing in use depends on the session"),
        (True, "auto", "through a pooler in transaction mode; nothing in use depends on"),
        (True, "on", "through a pooler, and RECORD_LEDGER_PREPARE is on: what is prepared may"),
    ],
)
def test_doctor_says_whether_statements_are_prepared(
    ledger_dsn, monkeypatch, is_pooled, variable, expected
):
    monkeypatch.setenv("RECORD_LEDGER_PREPARE", variable)
    with FakePooler(socket_of(ledger_dsn)) as pooler:
        checks = examine(pooler.conninfo(ledger_dsn) if is_pooled else ledger_dsn)
    (check,) = [check for check in checks if check.name == "pooling"]
    assert check.finding.startswith(expected)
    assert check.state == ("warning" if variable == "on" else "ok")


# ---------------------------------------------------------------- what it survives
def test_a_prepared_statement_that_is_gone_is_done_without(runner, orders, caplog):
    record = asked_often(runner, orders)
    for _ in range(2):
        in_session(runner, lambda c: c.execute("discard all"))
        assert same(asked_often(runner, orders), record)

    assert caplog.text.count("event=unprepared") == 1
    assert prepared(runner) == []


def test_a_session_that_ends_takes_its_statements_along(runner, orders, ledger, caplog):
    record = asked_often(runner, orders)
    pid = in_session(runner, lambda c: c.info.backend_pid)
    ledger.execute("select pg_terminate_backend(%s, 5000)", [pid])

    assert same(asked_often(runner, orders), record)
    assert len(prepared(runner)) == 1
    assert "event=unprepared" not in caplog.text


def test_a_function_may_be_replaced_under_a_prepared_statement(runner, ledger):
    for answer in ("1", "2"):
        ledger.execute("drop function if exists public.f")
        ledger.execute(
            f"create function public.f() returns text language sql as $$ select '{answer}' $$"
        )
        assert valued_often(runner, "select public.f()") == answer.encode()


def test_a_result_may_change_its_type_under_a_prepared_statement(runner, ledger, caplog):
    ledger.execute("create table public.t as select 7 as v")
    assert valued_often(runner, "select v from public.t") == (7).to_bytes(4, "big")
    ledger.execute("alter table public.t alter column v type text")

    assert valued_often(runner, "select v from public.t") == b"7"
    assert len(prepared(runner)) == 1
    assert "event=unprepared" not in caplog.text


def test_what_a_routine_cannot_do_is_its_error(runner, ledger):
    ledger.execute(
        "create function public.f() returns text language plpgsql as "
        "$$ begin raise feature_not_supported using message = 'not here'; end $$"
    )
    for _ in range(ENOUGH):
        with pytest.raises(Exception, match="not here"):
            in_session(runner, lambda c: raised(c.value, "select public.f()", []))


def raised(call, *arguments):
    """Turns what the driver raises into another error: a deploy's would be tried again."""
    try:
        call(*arguments)
    except psycopg.Error as error:
        raise AssertionError(str(error)) from None


# ---------------------------------------------------------------- as any other call
@pytest.mark.parametrize("times", [1, ENOUGH])
@pytest.mark.parametrize("run_id", ["a\x00b", "\ud800"])
def test_a_text_that_cannot_be_sent_is_one_error(runner, orders, times, run_id):
    asked_often(runner, orders, times)
    with pytest.raises(InvalidArgument):
        runner.store_new_and_pass_valid_record(orders, run_id)
    assert asked_often(runner, orders) is not None


@pytest.mark.parametrize("given", [5, None, True, 2.0])
def test_parameters_of_other_types_are_sent_as_a_cursor_sends_them(runner, given):
    by_cursor = in_session(
        runner, lambda c: c.execute("select to_json(%s::text)::text", [given]).fetchone()[0]
    )
    found = value(runner, "select to_json(%s::text)::text", given)
    assert (None if found is None else found.decode()) == by_cursor


def test_a_time_is_the_same_instant(runner):
    for offset in (dt.timezone.utc, dt.timezone(dt.timedelta(hours=-7, minutes=-13, seconds=-5))):
        for year in (1, 1999, 9999):
            time = dt.datetime(year, 6, 1, 12, 30, 1, 5, tzinfo=offset)
            epoch = value(runner, "select extract(epoch from %s::timestamptz)::text", time)
            since = time - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
            micros = (since.days * 86400 + since.seconds) * 10**6 + since.microseconds
            assert round(float(epoch) * 10**6 - micros) == pytest.approx(0, abs=50)


def test_what_the_server_remarks_is_logged(runner, ledger, caplog):
    ledger.execute(
        "create function public.f() returns text language plpgsql as "
        "$$ begin raise warning 'look here'; return 'x'; end $$"
    )
    assert valued_often(runner, "select public.f()") == b"x"
    assert caplog.text.count("look here") == ENOUGH


def test_a_large_text_comes_through_both_ways(runner):
    """More than a socket takes at a time."""
    assert value(runner, "select %s || 'x'", "x" * 5_000_000) == b"x" * 5_000_001


@pytest.mark.parametrize("times", [1, ENOUGH])
def test_an_interrupt_ends_the_waiting_and_the_session_goes_on(
    runner, orders, ledger, connect, times
):
    record = asked_often(runner, orders, times)
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.pipeline for update")
    blocker.execute("select from record_ledger.record for update")

    def interrupt():
        waits_in_the_database(ledger, "transactionid")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.store_new_and_pass_valid_record(orders, "run-2")
    thread.join(30)
    working = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
    database = conninfo_to_dict(runner.conninfo)["dbname"]
    assert not ledger.execute(working, [database]).fetchall()
    blocker.rollback()

    assert same(asked_often(runner, orders), record)


def test_an_interrupt_in_between_leaves_no_answer_to_the_next_call(runner, orders):
    record = asked_often(runner, orders)
    connection = runner._session._connection

    def interrupted():
        raise KeyboardInterrupt

    connection.on_silence = interrupted
    with pytest.raises(KeyboardInterrupt):
        connection.value("select pg_sleep(10)::text", [])
    assert connection.closed

    assert same(asked_often(runner, orders), record)
    assert runner._session._connection is not connection


def test_threads_share_a_session_and_each_gets_its_own_answer(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    wrong = []

    def call(name):
        for _ in range(ENOUGH * 2):
            record = runner.store_new_and_pass_valid_record(config(name), "run").record
            if record["pipeline_id"] != name:
                wrong.append(record)

    threads = [threading.Thread(target=call, args=(f"p{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_a_forked_child_prepares_for_itself(runner, orders):
    record = asked_often(runner, orders)
    child = os.fork()
    if child == 0:
        try:
            assert same(asked_often(runner, orders), record)
            assert len(prepared(runner)) == 1
            runner.close()
        except BaseException:  # noqa: BLE001 - the parent sees the code
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same(asked_often(runner, orders), record)
    assert len(prepared(runner)) == 1


def test_a_call_that_exits_says_the_same_until_something_changes(runner, orders):
    runner.complete_record("orders", asked_often(runner, orders)["claim_token"])
    exits = [runner.store_new_and_pass_valid_record(orders, "run-1") for _ in range(ENOUGH)]
    assert {(one.exit_dag, one.verdict, one.record) for one in exits} == {
        (True, "ALREADY_DONE", None)
    }
    assert runner.store_new_and_pass_valid_record(orders, "run-2").verdict == "READY"


# ---------------------------------------------------------------- the config
def test_a_config_that_was_changed_is_sent_anew(runner, orders):
    asked_often(runner, orders)
    orders["granularity"] = "3h"
    orders["default_record"]["deep"] = {"list": [1]}
    asked_often(runner, orders)
    orders["default_record"]["deep"]["list"].append(2)
    asked_often(runner, orders)

    (row,) = runner.pipelines("orders")
    assert row["granularity"].total_seconds() == 3 * 3600
    assert row["default_record"]["deep"] == {"list": [1, 2]}


def test_true_is_not_taken_for_one(runner, orders):
    orders["max_active_records"] = 1
    asked_often(runner, orders)
    orders["max_active_records"] = True
    with pytest.raises(InvalidConfig, match="max_active_records"):
        runner.store_new_and_pass_valid_record(orders, "run-1")


def test_a_key_that_the_ledger_does_not_read_is_asked_about_once(runner, orders, caplog):
    asked_often(runner, orders)
    orders["granularty"] = "2h"
    asked_often(runner, orders)
    assert caplog.text.count("granularty") == 1
    orders[5] = "wrong"
    with pytest.raises(InvalidConfig, match="keys must be strings"):
        runner.store_new_and_pass_valid_record(orders, "run-1")


def test_values_that_are_only_like_plain_ones_are_sent_as_before(runner, orders):
    class Name(str):
        __slots__ = ()

    orders["default_record"]["name"] = Name("x")
    orders["start_at"] = dt.date(2026, 11, 20)
    assert asked_often(runner, orders)["name"] == "x"
