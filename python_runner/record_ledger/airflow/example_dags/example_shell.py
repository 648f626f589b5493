"""Without a line of Python in the tasks: BashOperator skips on exit code 99."""

from __future__ import annotations

import datetime as dt

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator

# The command line finds its database as psql does. The workers' environment may name it already;
# here the tasks take it from Airflow's connection. Airflow masks the password where it shows them.
ENVIRONMENT = {
    "PGHOST": "{{ conn.record_ledger_default.host }}",
    "PGPORT": "{{ conn.record_ledger_default.port or 5432 }}",
    "PGUSER": "{{ conn.record_ledger_default.login }}",
    "PGPASSWORD": "{{ conn.record_ledger_default.password or '' }}",
    "PGDATABASE": "{{ conn.record_ledger_default.schema }}",
    "PGSSLMODE": "{{ conn.record_ledger_default.extra_dejson.get('sslmode', 'prefer') }}",
}
CONFIG = """
{
    "timezone": "UTC",
    "x_time_back": "1h",
    "granularity": "1d",
    "default_record": {"pipeline_id": "example_shell"}
}
"""
PASSED = {**ENVIRONMENT, "PASSED": "{{ ti.xcom_pull('pass_record') }}"}

with DAG(
    dag_id="example_shell",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    default_args={"env": PASSED, "append_env": True},
    # To see what happens then: let the work end with another exit code.
    params={"exit_code": 0},
    tags=["record-ledger", "example"],
):
    # The last line of its output, one JSON object, is the task's XCom.
    passed = BashOperator(
        task_id="pass_record",
        bash_command='record-ledger run --config - <<<"$CONFIG"',
        env={**ENVIRONMENT, "CONFIG": CONFIG},
    )
    copy = BashOperator(
        task_id="copy",
        bash_command=(
            'record-ledger heartbeat --record - <<<"$PASSED" && exit {{ params.exit_code }}'
        ),
    )
    complete = BashOperator(
        task_id="complete_record",
        bash_command='record-ledger complete --record - <<<"$PASSED"',
    )
    fail = BashOperator(
        task_id="fail_record",
        bash_command='record-ledger fail --record - --error "see the log of copy" <<<"$PASSED"',
        trigger_rule="one_failed",
    )
    passed >> copy >> [complete, fail]

with DAG(
    dag_id="example_exec",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    default_args={"append_env": True},
    tags=["record-ledger", "example"],
):
    # All in one task, with heartbeats: what follows the dashes is run for one window.
    BashOperator(
        task_id="copy",
        bash_command=(
            "record-ledger exec --config - -- sh -c 'echo \"$RECORD_LEDGER_WINDOW_START_TIME\"' "
            '<<<"$CONFIG"'
        ),
        env={**ENVIRONMENT, "CONFIG": CONFIG.replace("example_shell", "example_exec")},
    )
