"""DAGs whose work a test can hold, kill, fail or skip."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, dag, task, task_group

from record_ledger.airflow import (
    CompleteRecordOperator,
    RecordLedgerHook,
    StoreNewAndPassValidRecordOperator,
    complete_record,
    fail_record,
    keeping_claim,
    keeps_claim,
    observe_record,
    pass_valid_records,
    store_new_and_pass_valid_record,
)

DEADLINE = 240.0
OPTIONS: dict[str, Any] = {
    "schedule": None,
    "start_date": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    "catchup": False,
}


def hourly(pipeline_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "x_time_back": "1h",
        "granularity": "1h",
        "default_record": {"pipeline_id": pipeline_id},
        **changes,
    }


for name, options in (
    ("held", {}),
    ("held_retried", {"retries": 2, "retry_delay": dt.timedelta()}),
):
    with DAG(name, params={"until": ""}, **OPTIONS):
        # Works until the file `until` is there; its lease is a second long.
        given = store_new_and_pass_valid_record(hourly(name, lease="1s"))

        @task(**options)
        @keeps_claim
        def work(record, params):
            print("working on", record["window_start_time"].isoformat(), flush=True)
            if params["until"]:
                Path(params["until"] + ".begun").touch()
            deadline = time.monotonic() + DEADLINE
            while params["until"] and not Path(params["until"]).exists():
                assert time.monotonic() < deadline, "the test did not end this work"
                time.sleep(0.01)

        work(given) >> complete_record(given)


for retries in (0, 1):
    with DAG(f"killed_{retries}", **OPTIONS):
        passed = store_new_and_pass_valid_record(hourly(f"killed_{retries}"))

        @task(retries=retries, retry_delay=dt.timedelta())
        @keeps_claim
        def work(record, **context):
            if context["ti"].try_number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(DEADLINE)  # Airflow 3 itself would let it go on

        work(passed) >> complete_record(passed)


@dag(params={"states": ["success", "success"]}, **OPTIONS)
def ending():
    """Two work tasks that end as `states` say."""
    record = store_new_and_pass_valid_record(hourly("ending"))

    @task
    def work(number, params):
        states = params["states"]
        if states[number] == "skipped":
            raise AirflowSkipException("not today")
        if states[number] == "failed":
            raise ValueError("not like this")

    with complete_record(record):
        work.override(task_id="first")(0)
        work.override(task_id="second")(1)


@dag(params={"counts": {}}, **OPTIONS)
def counted():
    """Completed when source and target agree."""
    config = hourly("counted", required_counts=["source", "target"])
    record = store_new_and_pass_valid_record(config)

    @task
    @keeps_claim
    def work(record, params):
        for stage, row_count in params["counts"].items():
            observe_record(record, stage, row_count, {"by": "work"})

    work(record) >> complete_record(record)


@dag(**OPTIONS)
def without_work():
    complete_record(store_new_and_pass_valid_record(hourly("without_work")))


@dag(**OPTIONS)
def taken_away():
    """Work that keeps no claim, and has lost its record when it is done."""
    record = store_new_and_pass_valid_record(hourly("taken_away"))

    @task
    def work(record):
        with RecordLedgerHook().get_conn() as ledger:
            ledger.release_record(record["pipeline_id"], record["claim_token"])

    work(record) >> complete_record(record)


@dag(**OPTIONS)
def failed_on_purpose():
    """A check finds the data bad."""
    record = store_new_and_pass_valid_record(hourly("failed_on_purpose"))
    fail_record(record, "the shop's export is empty", retry=False)


@dag(**OPTIONS)
def expanded():
    """A mapped task and its mapped completion, without a task group."""
    records = pass_valid_records(hourly("expanded"), record_limit=3)

    @task
    @keeps_claim
    def work(record):
        if record["window_start_time"].hour == 1:
            raise ValueError("not this one")

    completed = CompleteRecordOperator.partial(task_id="complete").expand(record=records)
    completed.as_teardown(on_failure_fail_dagrun=True)
    work.expand(record=records) >> completed


@dag(**OPTIONS)
def mapped_passing():
    """The passing operator itself, over several configs."""
    configs = [hourly(f"mapped_{number}") for number in range(2)]
    for config in configs:
        config["default_record"]["path"] = "{{ target_day }}.csv"
    StoreNewAndPassValidRecordOperator.partial(task_id="pass_record").expand(config=configs)


@dag(default_args={"conn_id": "ledger_elsewhere"}, **OPTIONS)
def another_connection():
    record = store_new_and_pass_valid_record(hourly("another_connection"))

    @task
    @keeps_claim
    def work(record):
        pass

    work(record) >> complete_record(record)


@dag(params={"where": "ledger_elsewhere"}, **OPTIONS)
def connection_of_a_group():
    """A group names the connection for its tasks, by a template."""

    @task
    @keeps_claim
    def work(record):
        observe_record(record, "source", 7)

    @task_group(default_args={"conn_id": "{{ params.where }}"})
    def elsewhere():
        record = store_new_and_pass_valid_record(hourly("connection_of_a_group"))
        work(record) >> complete_record(record)

    elsewhere()


@dag(**OPTIONS)
def one_task_by_hand():
    """The context manager around half of a task, with the record under another name."""
    record = store_new_and_pass_valid_record(hourly("one_task_by_hand"))

    @task
    def work(window):
        with keeping_claim(window) as claim:
            claim.check()
            return window["window_start_time"]

    @task
    @keeps_claim(record="window")
    def check(start, window):
        assert start == window["window_start_time"]

    check(work(record), record) >> complete_record(record, detail={"by": "hand"})


ending()
counted()
without_work()
taken_away()
failed_on_purpose()
one_task_by_hand()
expanded()
mapped_passing()
another_connection()
connection_of_a_group()
