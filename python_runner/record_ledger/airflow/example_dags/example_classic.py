"""The same with operators: what a DAG without TaskFlow looks like."""

from __future__ import annotations

import datetime as dt

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator

from record_ledger.airflow import CompleteRecordOperator, StoreNewAndPassValidRecordOperator

with DAG(
    dag_id="example_classic",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    # Operators take it from here, as every argument.
    default_args={"conn_id": "record_ledger_default"},
    tags=["record-ledger", "example"],
):
    passed = StoreNewAndPassValidRecordOperator(
        task_id="pass_record",
        config={
            "timezone": "Europe/Berlin",
            "x_time_back": "2h",
            "granularity": "1d",
            "default_record": {"pipeline_id": "example_classic", "source_name": "shop"},
        },
    )
    copy = BashOperator(
        task_id="copy",
        bash_command=(
            "echo copying {{ ti.xcom_pull('pass_record')['source_name'] }} "
            "from {{ ti.xcom_pull('pass_record')['window_start_time'] }}"
        ),
    )
    completed = CompleteRecordOperator(task_id="complete_record", record=passed.output)
    completed.as_teardown(setups=passed, on_failure_fail_dagrun=True)
    passed >> copy >> completed
