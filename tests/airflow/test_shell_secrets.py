"""A connection's password reaches a shell command, and nothing that Airflow stores or shows."""

from __future__ import annotations

import importlib
import json
import os

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import RecordLedger
from tests.airflow.conftest import as_connection

# Also one that is too short to be hidden in texts.
PASSWORDS = {"long": "correct horse's \\ stäple", "short": "q7~z"}
SHELL_DAGS = ("example_shell", "example_exec", "orders_by_shell")


@pytest.fixture
def nothing_is_hidden(airflow_home, monkeypatch):
    """An Airflow that does not mask secrets.

    Airflow masks a value that it recognizes as a secret, by the name of a key or from a connection.
    Settings can turn that off (hide_sensitive_var_conn_fields, min_length_masked_secret), so no
    password may depend on it.
    """
    for package in ("airflow._shared.secrets_masker", "airflow.sdk._shared.secrets_masker"):
        masker = importlib.import_module(package)._secrets_masker()
        monkeypatch.setattr(masker, "hide_sensitive_var_conn_fields", False)
        monkeypatch.setattr(masker, "min_length_to_mask", 10_000)


@pytest.fixture(params=PASSWORDS.values(), ids=PASSWORDS)
def password(request, nothing_is_hidden, ledger_dsn, run_dag, clock, monkeypatch):
    """A password of the connection; the test's server requires none and accepts any."""
    clock.set("2026-11-22T11:00:00Z")
    given = as_connection(make_conninfo(ledger_dsn, password=request.param))
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", given)
    return request.param


@pytest.fixture
def make(context, airflow_home, connection):
    """Makes the operator outside of a DAG, and returns its command's environment."""

    def environment_of(**arguments):
        from record_ledger.airflow import RecordLedgerBashOperator

        operator = RecordLedgerBashOperator(task_id="run", bash_command="true", **arguments)
        before = json.dumps([getattr(operator, name) for name in operator.template_fields])
        environment = operator.get_env(context())
        # Airflow stores and shows these.
        assert before == json.dumps([getattr(operator, name) for name in operator.template_fields])
        return environment

    return environment_of


def stored_by_airflow(run):
    """Returns all that Airflow's database holds of a run's tasks, and how many have fields."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        fields = [
            (row.task_id, row.rendered_fields)
            for row in session.query(RenderedTaskInstanceFields).filter_by(run_id=run.run_id)
        ]
        left = [str(row.value) for row in session.query(XComModel).filter_by(run_id=run.run_id)]
    return dict(fields), left


@pytest.mark.parametrize("dag_id", SHELL_DAGS)
def test_a_password_stands_in_no_rendered_field_log_or_xcom(
    run_dag, dags, ledger_dsn, clock, password, airflow_home, capfd, dag_id
):
    with RecordLedger(ledger_dsn) as ledger:
        # Today's window is the pipeline's first; the ledger can pass it tomorrow.
        config = json.loads(dags[dag_id].roots[0].env["CONFIG"])
        assert ledger.store_new_and_pass_valid_record(config).record is None
        pipeline_id = config["default_record"]["pipeline_id"]
        clock.advance("1d")
        run = run_dag(dag_id)

        assert run.state == "success"
        assert ledger.pipeline_records(pipeline_id)[0]["status"] == "COMPLETED"
    fields, left = stored_by_airflow(run)
    # Airflow stored what ran, rendered: the command and its variables, without the password.
    ran = {task for task, state in run.tasks.items() if state == "success"}
    assert ran <= set(fields)
    assert all("bash_command" in rendered for rendered in fields.values())
    logs = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in (airflow_home / "logs").rglob("*")
        if path.is_file()
    ]
    printed = capfd.readouterr()
    shown = [json.dumps(fields, ensure_ascii=False), *left, *logs, printed.out, printed.err]
    written = (password, json.dumps(password)[1:-1], password.replace("'", "\\'"))
    assert not [text for text in shown for form in written if form in text]


def test_the_command_is_handed_the_connection_beside_its_own_variables(make, ledger_dsn):
    environment = make(env={"CONFIG": "{}"})

    assert conninfo_to_dict(environment["RECORD_LEDGER_DSN"]) == conninfo_to_dict(ledger_dsn)
    assert environment["CONFIG"] == "{}"
    assert "PATH" not in environment  # as with BashOperator: in place of the worker's
    assert "PATH" in make(env={"CONFIG": "{}"}, append_env=True)
    assert "PATH" in make()


def test_without_a_connection_the_environment_decides(make, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_DSN", "host=elsewhere")

    assert make(conn_id=None)["RECORD_LEDGER_DSN"] == "host=elsewhere"
    assert make()["RECORD_LEDGER_DSN"] != "host=elsewhere"
    assert os.environ["RECORD_LEDGER_DSN"] == "host=elsewhere"


def test_a_connection_that_is_missing_fails_the_task_for_good(make):
    from airflow.providers.common.compat.sdk import AirflowFailException

    with pytest.raises(AirflowFailException, match="there is no Airflow connection 'nowhere'"):
        make(conn_id="nowhere")
