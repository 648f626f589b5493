"""Two sessions step by step: the second one waits, then sees what the first one did."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    cycle,
    extend,
    one,
    pass_valid,
    record_of,
    register,
    rows,
    store,
)
from tests.support.databases import deploy

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
PASS = (
    "select exit_dag, verdict, record ->> 'window_start_time', record ->> 'claim_token' "
    "from record_ledger.pass_valid_record('orders', %s)"
)


def hour(n):
    return (START + timedelta(hours=n)).isoformat()


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), lease="30m",
        retry_delay="10m",
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    clock.set("2026-11-22T06:00:00Z")
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


def test_two_passes_get_two_records_in_order(ledger, connect, first, in_background, orders):
    one_answer = pass_valid(first, orders, "a")
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    first.commit()
    ((exit_dag, _, start, token),) = second.rows()
    assert (exit_dag, start) == (False, hour(1))
    assert int(token) > one_answer.token
    audit(ledger)


def test_a_pass_after_one_that_was_rolled_back_gets_its_record(
    connect, first, in_background, orders
):
    pass_valid(first, orders, "a")
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    first.rollback()
    assert second.rows()[0][2] == hour(0)


def test_the_same_run_in_two_sessions_gets_the_same_record(
    ledger, connect, first, in_background, orders
):
    mine = pass_valid(first, orders, "a")
    second = in_background(connect(), PASS, ["a"])
    second.wait_until_blocked()
    first.commit()
    ((_, _, start, token),) = second.rows()
    assert start == hour(0)
    # The retry holds the record now, and the attempt it replaces does not.
    with pytest.raises(psycopg.Error) as caught:
        complete(ledger, mine.token)
    assert caught.value.sqlstate == "RL004"
    complete(ledger, int(token))
    audit(ledger)


def test_a_second_cycle_stores_no_window_twice(
    ledger, clock, connect, first, in_background, given, orders
):
    clock.advance("2h")
    cycle(first, given, "a")
    second = in_background(
        connect(),
        "select record ->> 'window_start_time' from record_ledger.store_new_and_pass_valid_record(%s, 'b')",
        [Jsonb(given)],
    )
    second.wait_until_blocked()
    first.commit()
    assert second.rows() == [(hour(1),)]
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 8
    audit(ledger)


def test_capacity_is_counted_after_the_other_pass(
    connect, first, in_background, given, orders, ledger
):
    register(ledger, given | {"max_active_records": 1})
    pass_valid(first, orders, "a")
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    first.commit()
    assert second.rows() == [(True, "AT_CAPACITY", None, None)]


def test_completing_does_not_wait_for_a_pass_of_another_record(ledger, first, connect, orders):
    held = pass_valid(ledger, orders, "a")
    pass_valid(first, orders, "b")
    # The pipeline's row is locked, the record is not.
    connect().execute("set lock_timeout = '5s'")
    complete(connect(), held.token)
    extend_me = pass_valid(first, orders, "c")
    first.commit()
    extend(ledger, extend_me.token)
    audit(ledger)


def test_a_pass_does_not_wait_for_a_completion(ledger, first, connect, orders):
    held = pass_valid(ledger, orders, "a")
    complete(first, held.token)
    other = connect()
    other.execute("set lock_timeout = '5s'")
    assert pass_valid(other, orders, "b").record["window_start_time"] == hour(1)
    first.commit()
    audit(ledger)


def test_two_sessions_register_the_same_new_pipeline_once(
    ledger, connect, first, in_background, given
):
    register(first, given)
    second = in_background(connect(), "select record_ledger.register_pipeline(%s)", [Jsonb(given)])
    second.wait_until_blocked()
    first.commit()
    assert second.rows() == [(PIPELINE,)]
    assert rows(ledger, "select config_version from record_ledger.pipelines") == [(1,)]
    assert one(ledger, "select count(*) from record_ledger.pipeline_events") == 1


@pytest.mark.parametrize(
    "call", ["register_pipeline(%s)", "store_new_and_pass_valid_record(%s, 'b')"]
)
def test_the_later_of_two_configs_is_in_force_in_either_order_of_reading(
    ledger, clock, connect, first, in_background, given, call
):
    clock.set("2026-11-22T06:00:00Z")
    register(first, given)
    other = given | {"lease": "2h"}
    second = in_background(connect(), f"select record_ledger.{call}", [Jsonb(other)])
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert rows(ledger, "select config_version, lease from record_ledger.pipelines") == [
        (2, timedelta(hours=2))
    ]
    assert [e for (e,) in rows(ledger, "select event from record_ledger.pipeline_events order by event_no")] == [
        "registered", "reconfigured",
    ]  # fmt: skip


def test_a_new_pipeline_may_be_rolled_back_while_another_waits_for_it(
    ledger, connect, first, in_background, given
):
    register(first, given)
    second = in_background(connect(), "select record_ledger.register_pipeline(%s)", [Jsonb(given)])
    second.wait_until_blocked()
    first.rollback()
    assert second.rows() == [(PIPELINE,)]


def test_a_change_of_config_waits_for_a_pass_and_the_next_pass_has_it(
    ledger, connect, first, in_background, given, orders
):
    pass_valid(first, orders, "a")
    second = in_background(
        connect(), "select record_ledger.register_pipeline(%s)", [Jsonb(given | {"lease": "5m"})]
    )
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert pass_valid(ledger, orders, "b").record["lease_expires_at"] == "2026-11-22T06:05:00+00:00"


def test_a_pass_that_waited_judges_by_the_time_at_which_it_goes_on(
    ledger, clock, connect, first, in_background, orders
):
    pass_valid(first, orders, "a")
    second = in_background(connect(), PASS, ["b"])
    second.wait_until_blocked()
    clock.advance("29m")
    first.commit()
    ((_, _, start, _),) = second.rows()
    assert record_of(ledger, datetime.fromisoformat(start))["lease_expires_at"].startswith(
        "2026-11-2"
    )
    assert one(
        ledger, "select max(lease_expires_at) from record_ledger.pipeline_records"
    ) == datetime(2026, 11, 22, 6, 59, tzinfo=timezone.utc)


def test_a_deploy_waits_for_no_pass_and_no_pass_for_a_deploy(
    ledger, ledger_dsn, connect, first, given
):
    # The real clock: a deploy puts it back into its place.
    register(ledger, given | {"start_at": None, "x_time_back": "1h"})
    store(ledger, PIPELINE)
    held = pass_valid(first, PIPELINE, "a")
    deploy(ledger_dsn)
    complete(first, held.token)
    first.commit()
    audit(ledger)


def test_a_pass_goes_on_beside_a_deploy_that_has_not_committed(
    ledger, ledger_dsn, connect, first, in_background, given
):
    from record_ledger.server.sql_files import deploy_script, package_release

    register(ledger, given | {"start_at": None, "x_time_back": "2h"})
    store(ledger, PIPELINE)
    script = deploy_script(package_release())
    deploying = connect()
    deploying.execute(script.removesuffix("commit;\n"))
    other = connect()
    other.execute("set lock_timeout = '5s'")
    for _ in range(2):
        answer = pass_valid(other, PIPELINE)
        if answer.record is not None:
            complete(other, answer.token)
    deploying.execute("commit")
    audit(ledger)
