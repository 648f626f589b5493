"""The sensor and its trigger: waiting for a record without a worker slot."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from record_ledger import RecordLedger

DEADLINE = 120.0


@pytest.fixture
def early(clock):
    """The first window of example_waiting is stable at 00:15 UTC, in five minutes."""
    clock.set("2026-11-22T00:10:00Z")
    return clock


@pytest.fixture
def ledger(ledger_dsn, early):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def orders(config):
    return config(
        "orders", timezone="UTC", x_time_back="15m", granularity="1h", start_at="2026-11-21T23:00"
    )


@pytest.fixture
def first_event(airflow_home, connection):
    """Runs the trigger to its event: `first_event(poke_interval=0.05, meanwhile=call)`."""

    def run(*, poke_interval=30.0, meanwhile=lambda: None, pipeline_id="orders"):
        from record_ledger.airflow import ValidRecordTrigger

        path, kwargs = ValidRecordTrigger(
            pipeline_id, connection, poke_interval, "later"
        ).serialize()
        assert path == "record_ledger.airflow.triggers.ValidRecordTrigger"
        trigger = ValidRecordTrigger(**kwargs)

        async def event():
            waiting = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.to_thread(meanwhile)
            return (await asyncio.wait_for(waiting, DEADLINE)).payload

        payload = asyncio.run(event())
        assert payload["deadline"] == "later"
        return payload["why"]

    return run


def test_a_dag_waits_deferred_until_its_window_is_stable(run_dag, ledger, early, capfd):
    """A second before the window is stable: the trigger looks again when that second is over."""
    early.set("2026-11-22T00:14:59Z")

    def meanwhile():
        deadline = time.monotonic() + DEADLINE
        while not ledger.pipeline_records("example_waiting"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        early.advance("1s")

    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = run_dag("example_waiting")
    thread.join()

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    stored = ledger.pipeline_records("example_waiting")[0]
    assert stored["status"] == "COMPLETED"
    assert stored["run_id"] == f"example_waiting/{run.run_id}/wait_for_valid_record/-1"
    assert "Pausing task as DEFERRED" in capfd.readouterr().out


def test_the_trigger_fires_immediately_when_a_record_is_ready(first_event, ledger, orders, early):
    ledger.register_pipeline(orders)
    ledger.store_new_records("orders")
    early.advance("5m")

    assert first_event().startswith("window 2026-11-21T23:00:00+00:00 is stable since")


def test_the_trigger_needs_no_more_than_the_role_of_a_runner(
    first_event, ledger, orders, early, role_dsn, monkeypatch
):
    from tests.airflow.conftest import as_connection

    ledger.register_pipeline(orders)
    ledger.store_new_records("orders")
    early.advance("5m")
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", as_connection(role_dsn("runner")))

    assert "is stable since" in first_event()


def test_the_trigger_looks_again_when_the_ledger_says_that_a_record_can_be_ready(
    first_event, ledger, orders, early
):
    ledger.register_pipeline(orders)
    ledger.store_new_records("orders")
    early.set("2026-11-22T00:14:59Z")

    started = time.monotonic()
    why = first_event(meanwhile=lambda: early.advance("1s"))

    assert "is stable since" in why
    assert time.monotonic() - started < 25  # seconds, of a poke_interval of 30


def test_the_trigger_sees_what_people_change_within_a_poke_interval(
    first_event, ledger, orders, early
):
    early.advance("5m")
    record = ledger.store_new_and_pass_valid_record(orders, "another run").record

    why = first_event(
        poke_interval=0.05,
        meanwhile=lambda: ledger.release_record("orders", record["claim_token"]),
    )

    assert "is stable since" in why


def test_the_trigger_wakes_its_task_when_a_window_is_due_and_not_before(
    first_event, ledger, orders, early
):
    ledger.register_pipeline(orders)
    ledger.store_new_records("orders")
    early.set("2026-11-22T00:14:59Z")
    record = ledger.pipeline_records("orders")[0]
    early.set("2026-11-22T00:15:00Z")
    passed = ledger.pass_valid_record("orders", "run").record
    assert passed["window_start_time"] == record["window_start_time"]
    ledger.complete_record("orders", passed["claim_token"])

    why = first_event(poke_interval=0.05, meanwhile=lambda: early.advance("1us"))

    assert "is due: the next run stores it" in why


def test_the_trigger_outlives_a_server_that_is_down(first_event, own_server, monkeypatch, orders):
    from tests.airflow.conftest import as_connection
    from tests.support.databases import deploy

    deploy(own_server.dsn())
    with RecordLedger(own_server.dsn()) as ledger:
        ledger.store_new_and_pass_valid_record({**orders, "start_at": "2026-11-01"}, "run")
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", as_connection(own_server.dsn()))
    own_server.stop()

    assert "is stable since" in first_event(poke_interval=0.05, meanwhile=own_server.start)


def test_the_trigger_leaves_to_its_task_what_waiting_cannot_fix(
    first_event, empty_dsn, monkeypatch
):
    from tests.airflow.conftest import as_connection

    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", as_connection(empty_dsn))

    assert "record_ledger" in first_event()


def test_a_sensor_that_has_waited_long_enough_says_what_it_waited_for(
    airflow_home, connection, context, ledger, orders
):
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    from record_ledger.airflow import ValidRecordSensor

    sensor = ValidRecordSensor(task_id="wait", config=orders, timeout=0)

    with pytest.raises(AirflowSensorTimeout, match="no valid record within 0 s; UNSTABLE: window"):
        sensor.execute(context())


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_sensor_whose_time_is_over_asks_a_last_time(
    airflow_home, connection, context, ledger, orders, early, soft_fail
):
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException

    from record_ledger.airflow import ValidRecordSensor

    sensor = ValidRecordSensor(task_id="wait", config=orders, timeout=60, soft_fail=soft_fail)

    def resume():
        return sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context())

    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout) as raised:
        resume()
    if not soft_fail:  # otherwise Airflow says only that it skips
        assert "no valid record within 60 s; UNSTABLE: window" in str(raised.value)

    early.advance("5m")
    assert resume()["pipeline_id"] == "orders"


def test_a_sensor_whose_trigger_failed_says_so(airflow_home, context, orders):
    from airflow.providers.common.compat.sdk import AirflowException

    from record_ledger.airflow import ValidRecordSensor

    sensor = ValidRecordSensor(task_id="wait", config=orders)

    with pytest.raises(AirflowException, match="Trigger failure"):
        sensor.resume_execution("__fail__", {"error": "Trigger failure"}, context())


def test_a_sensor_that_may_not_defer_asks_and_passes(
    airflow_home, connection, context, ledger, orders, early
):
    from record_ledger.airflow import ValidRecordSensor

    sensor = ValidRecordSensor(task_id="wait", config=orders, deferrable=False)

    assert not sensor.poke(context())
    early.advance("5m")
    record = sensor.execute(context())
    assert record["run_id"] == "dag/run/task/-1"

    sensor.on_kill()
    assert ledger.pipeline_records("orders")[0]["last_event"] == "released"
