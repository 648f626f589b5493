"""Faults outside of a DAG: each has one clear message, and a retry only where it can help."""

from __future__ import annotations

import traceback

import pytest

from record_ledger import RecordLedger
from tests.airflow.conftest import as_connection

VARIABLE = "AIRFLOW_CONN_RECORD_LEDGER_DEFAULT"


@pytest.fixture(autouse=True)
def noon(clock):
    """The clock stands just after midnight: no window of a new pipeline is stable."""
    clock.set("2026-11-22T12:00:00Z")


@pytest.fixture
def orders(config):
    return config("orders")


@pytest.fixture
def failure(airflow_home, context, orders):
    """Returns what the passing task raises: `failure(config=..., conn_id=...)`."""

    def run(**arguments):
        from airflow.providers.common.compat.sdk import AirflowException

        from record_ledger.airflow import StoreNewAndPassValidRecordOperator

        task = StoreNewAndPassValidRecordOperator(task_id="pass", **{"config": orders, **arguments})
        with pytest.raises(AirflowException) as raised:
            task.execute(context())
        shown = "".join(traceback.format_exception(raised.value))
        assert shown.count("Traceback") == 1, "one message, without the chain of its causes"
        return raised.value

    return run


@pytest.fixture
def final(airflow_home):
    """Returns whether Airflow fails the task without a retry."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    return lambda error: isinstance(error, AirflowFailException)


def test_a_missing_connection(failure, final):
    error = failure(conn_id="nowhere")

    assert final(error)
    assert "there is no Airflow connection 'nowhere'" in str(error)


def test_a_connection_of_another_type(failure, final, ledger_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(ledger_dsn, "mysql"))

    error = failure()

    assert final(error)
    assert "is of type 'mysql'; the ledger needs one of type record_ledger or postgres" in str(
        error
    )


def test_a_type_that_airflow_did_not_know_when_it_was_added(failure, ledger_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(ledger_dsn, "generic"))

    assert str(failure()).endswith("is not installed: add it as record_ledger")


def test_an_option_that_libpq_does_not_know(failure, final, ledger_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(ledger_dsn, sslmod="verify-full"))

    error = failure()

    assert final(error)
    assert "its extra holds sslmod, no option of libpq" in str(error)


@pytest.mark.parametrize("conn_type", ["postgres", "postgresql", "record_ledger"])
def test_connections_that_serve(airflow_home, ledger_dsn, monkeypatch, conn_type):
    from record_ledger.airflow import RecordLedgerHook

    extra = {"application_name": "from airflow", "cursor": "dictcursor", "connect_timeout": 3}
    monkeypatch.setenv(VARIABLE, as_connection(ledger_dsn, conn_type, **extra))
    hook = RecordLedgerHook()

    assert "from airflow" in hook.conninfo()
    assert hook.test_connection() == (True, "The ledger answers; it knows 0 pipelines.")


def test_without_a_connection_of_airflows_the_environment_decides(
    airflow_home, context, orders, ledger_dsn, monkeypatch
):
    from record_ledger.airflow import StoreNewAndPassValidRecordOperator

    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)
    task = StoreNewAndPassValidRecordOperator(task_id="pass", config=orders, conn_id=None)

    assert task.execute(context())["pipeline_id"] == "orders"


@pytest.mark.parametrize("dag_id", ["another_connection", "connection_of_a_group"])
def test_a_dag_or_a_group_names_its_connection_once(run_dag, ledger_dsn, monkeypatch, dag_id):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_ELSEWHERE", as_connection(ledger_dsn))

    run = run_dag(dag_id)

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})


def test_the_role_of_a_runner_is_enough(run_dag, role_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(role_dsn("runner")))

    run = run_dag("example_waiting")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})


def test_a_ledger_that_is_not_deployed(failure, final, empty_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(empty_dsn))

    error = failure()

    assert final(error)
    assert str(error).startswith("NotDeployed (connection record_ledger_default): ")
    assert "Run `record-ledger deploy`" in str(error)


def test_a_wrong_config(failure, final, connection, orders):
    error = failure(config={**orders, "timezone": "Mars/Olympus", "granularity": "2"})

    assert final(error)
    assert "InvalidConfig" in str(error)
    assert "Mars/Olympus" in str(error)
    assert "granularity" in str(error)


def test_a_config_that_is_none(failure, final, connection):
    error = failure(config="orders.toml")

    assert final(error)
    assert "config must be a dict, not str" in str(error)


def test_a_server_that_is_down_is_tried_again(failure, final, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "1")
    monkeypatch.setenv(
        VARIABLE, '{"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x"}'
    )

    error = failure()

    assert not final(error)
    assert "LedgerUnavailable (connection record_ledger_default): the ledger's database" in str(
        error
    )


def test_a_database_that_is_not_there(failure, final, ledger_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(f"{ledger_dsn} dbname=no_such_database"))

    error = failure()

    assert final(error)
    assert "no_such_database" in str(error)


def test_a_user_without_rights(failure, final, role_dsn, monkeypatch):
    monkeypatch.setenv(VARIABLE, as_connection(role_dsn("reader")))

    error = failure()

    assert final(error)
    assert "PermissionDenied" in str(error)


def test_a_record_that_is_none(airflow_home, connection, context):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from record_ledger.airflow import FailRecordOperator

    task = FailRecordOperator(task_id="fail", record="{'pipeline_id': ...}", error="x")

    with pytest.raises(AirflowFailException, match="not str; a template gives a dict only with"):
        task.execute(context())


def test_the_ledgers_templates_are_left_alone_and_airflows_are_rendered(
    airflow_home, connection, context, orders, ledger_dsn
):
    from airflow.sdk import DAG

    from record_ledger.airflow import PassValidRecordsOperator

    orders["default_record"]["path"] = "{{ target_day }}.csv"
    with DAG("templates", schedule=None):
        task = PassValidRecordsOperator(
            task_id="pass",
            config=orders,
            record_limit="{{ params.limit }}",
            conn_id="{{ params.where }}",
        )
    made = context(params={"limit": 1, "where": connection})

    task.render_template_fields(made)

    assert task.config["default_record"]["path"] == "{{ target_day }}.csv"
    assert (task.record_limit, task.conn_id) == ("1", connection)
    (record,) = task.execute(made)
    assert record["path"] == f"{record['target_day']}.csv"
    with RecordLedger(ledger_dsn) as ledger:
        assert ledger.pipeline_records("orders")[0]["status"] == "IN_PROGRESS"


def test_a_record_of_a_repeated_hour_survives_xcom(
    airflow_home, connection, context, config, clock
):
    from airflow.sdk.serde import deserialize, serialize

    from record_ledger.airflow import PassValidRecordsOperator

    clock.set("2026-11-02T12:00:00Z")
    orders = config(
        "orders",
        granularity="30m",
        x_time_back="1h",
        start_at="2026-11-01T00:00",
        fields={"n": 1.5},
    )
    passed = PassValidRecordsOperator(task_id="pass", config=orders, record_limit=9).execute(
        context()
    )

    carried = deserialize(serialize(passed))

    assert carried == passed
    assert [r["window_start_time"].isoformat() for r in carried] == [
        r["window_start_time"].isoformat() for r in passed
    ]
    assert carried[4]["window_start_time"].isoformat() == "2026-11-01T01:00:00-08:00"
