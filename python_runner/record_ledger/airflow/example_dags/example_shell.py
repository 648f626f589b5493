"""Without a line of Python in the tasks: a shell task is skipped on exit code 99."""

from __future__ import annotations

import datetime as dt

from airflow.providers.common.compat.sdk import DAG

from record_ledger.airflow import RecordLedgerBashOperator

# The operator puts Airflow's connection record_ledger_default into the environment of the command.
# In `env`, a template field, a password is stored rendered, and hidden only as settings say.
CONFIG = """
{
    "timezone": "UTC",
    "x_time_back": "1h",
    "granularity": "1d",
    "default_record": {"pipeline_id": "example_shell"}
}
"""
PASSED = {"PASSED": "{{ ti.xcom_pull('pass_record') }}"}

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
    passed = RecordLedgerBashOperator(
        task_id="pass_record",
        bash_command='record-ledger run --config - <<<"$CONFIG"',
        env={"CONFIG": CONFIG},
    )
    copy = RecordLedgerBashOperator(
        task_id="copy",
        bash_command=(
            'record-ledger heartbeat --record - <<<"$PASSED" && exit {{ params.exit_code }}'
        ),
    )
    complete = RecordLedgerBashOperator(
        task_id="complete_record",
        bash_command='record-ledger complete --record - <<<"$PASSED"',
    )
    fail = RecordLedgerBashOperator(
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
    RecordLedgerBashOperator(
        task_id="copy",
        bash_command=(
            "record-ledger exec --config - -- sh -c 'echo \"$RECORD_LEDGER_WINDOW_START_TIME\"' "
            '<<<"$CONFIG"'
        ),
        env={"CONFIG": CONFIG.replace("example_shell", "example_exec")},
    )
