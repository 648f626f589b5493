"""DAGs with other shapes than a chain of work between passing a record and ending its claim."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowSkipException,
    BaseOperator,
    dag,
    task,
)

from record_ledger import store_new_and_pass_valid_record as pass_by_hand
from record_ledger.airflow import (
    CompleteRecordOperator,
    RecordLedgerHook,
    StoreNewAndPassValidRecordOperator,
    complete_record,
    keeps_claim,
    pass_valid_records,
    store_new_and_pass_valid_record,
    task_run_id,
)

OPTIONS: dict[str, Any] = {
    "schedule": None,
    "start_date": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    "catchup": False,
    "params": {"ends": {}},
}


def hourly(pipeline_id: str) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "x_time_back": "1h",
        "granularity": "1h",
        "default_record": {"pipeline_id": pipeline_id},
    }


class Step(BaseOperator):
    """Ends as the run's conf says, `{"ends": {"load": "skipped"}}`, else succeeds."""

    def execute(self, context: Any) -> Any:
        ends = context["params"]["ends"].get(self.task_id, "success")
        if ends == "skipped":
            raise AirflowSkipException("not today")
        if ends == "failed":
            raise ValueError(f"{self.task_id} cannot")
        if ends == "stopped":  # as when a user ends the run while the task waits for a retry
            context["ti"].xcom_push(key="record_ledger_error", value="ValueError: the disk is full")
            raise AirflowSkipException("marked by hand")
        return {"rows": 7}


with DAG("in_a_row", **OPTIONS):
    passed = store_new_and_pass_valid_record(hourly("in_a_row"))
    passed >> Step(task_id="extract") >> Step(task_id="load") >> complete_record(passed)


with DAG("short_circuit", **OPTIONS):
    passed = store_new_and_pass_valid_record(hourly("short_circuit"))

    @task.short_circuit
    def has_data():
        return False

    passed >> has_data() >> Step(task_id="load") >> complete_record(passed)


with DAG("branches", **OPTIONS):
    passed = store_new_and_pass_valid_record(hourly("branches"))

    @task.branch
    def choose(params):
        return params["ends"].get("choose", ["load"])

    chosen, ways = choose(), [Step(task_id="load"), Step(task_id="nothing_to_load")]
    passed >> chosen >> ways >> complete_record(passed)


@dag(**{**OPTIONS, "params": {"parts": []}})
def parts():
    """A task for each part of the window; a window may have none."""
    record = store_new_and_pass_valid_record(hourly("parts"))

    @task
    def split(record, params):
        return params["parts"]

    @task
    def copy(part):
        return part

    copied = copy.expand(part=split(record))
    copied >> complete_record(record, detail=copied)


with DAG("cluster", **OPTIONS):
    passed = store_new_and_pass_valid_record(hourly("cluster"))
    create = Step(task_id="create").as_setup()
    delete = Step(task_id="delete").as_teardown(setups=create)
    passed >> create >> Step(task_id="load") >> delete >> complete_record(passed)


with DAG("two_records", **OPTIONS):
    first = store_new_and_pass_valid_record(hourly("first_of_two"), task_id="pass_first")
    second = store_new_and_pass_valid_record(hourly("second_of_two"), task_id="pass_second")
    both = Step(task_id="both")
    first >> Step(task_id="prepare") >> second >> both
    both >> complete_record(first, task_id="complete_first")
    both >> complete_record(second, task_id="complete_second")


@dag(**OPTIONS)
def every_part_of_every_record():
    """More instances of the work than there are records."""
    records = pass_valid_records(hourly("every_part_of_every_record"), record_limit=2)

    @task
    def work(record, part):
        if (record["window_start_time"].hour, part) == (1, "b"):
            raise ValueError("not this one")

    completed = CompleteRecordOperator.partial(task_id="complete").expand(record=records)
    completed.as_teardown(on_failure_fail_dagrun=True)
    work.expand(record=records, part=["a", "b"]) >> completed


@dag(**OPTIONS)
def names_alike():
    """Airflow calls the second instance of `copy` copy_1, as this DAG calls another task."""
    record = store_new_and_pass_valid_record(hourly("names_alike"))

    @task
    def copy(part):
        if part == "b":
            raise ValueError("not this one")

    copies = [copy.expand(part=["a", "b"]), Step(task_id="copy_1")]
    record >> copies >> complete_record(record)


@dag(**OPTIONS)
def detail_of_failed_work():
    """The completion's detail is missing when the work failed."""
    record = store_new_and_pass_valid_record(hourly("detail_of_failed_work"))

    @task(multiple_outputs=True)
    @keeps_claim
    def copy(record):
        raise OSError("the disk is full")

    copied = copy(record)
    copied >> complete_record(record, detail={"rows": copied["rows"]})


with DAG("detail_in_jinja", **OPTIONS):
    passed = StoreNewAndPassValidRecordOperator(
        task_id="pass_record", config=hourly("detail_in_jinja")
    )
    completed = CompleteRecordOperator(
        task_id="complete_record",
        record=passed.output,
        detail={"rows": "{{ ti.xcom_pull('load')['rows'] + params.ends.get('more', 0) }}"},
    )
    completed.as_teardown(setups=passed, on_failure_fail_dagrun=True)
    passed >> Step(task_id="load") >> completed


with DAG("detail_beyond_json", **OPTIONS):
    passed = store_new_and_pass_valid_record(hourly("detail_beyond_json"))
    (
        passed
        >> Step(task_id="load")
        >> complete_record(passed, detail={"rows": "{{ params.ends }}", "set": {1, 2}})
    )


@dag(**OPTIONS)
def skipped_at_last():
    record = store_new_and_pass_valid_record(hourly("skipped_at_last"))

    @task(retries=1, retry_delay=dt.timedelta())
    @keeps_claim
    def work(record, **context):
        if context["ti"].try_number == 1:
            raise ValueError("not yet")
        raise AirflowSkipException("not today")

    work(record) >> complete_record(record)


@dag(**OPTIONS)
def finished_before():
    """Work on a record that is finished, as when one window of a batch is cleared by itself."""
    record = store_new_and_pass_valid_record(hourly("finished_before"))

    @task
    def finish(record):
        with RecordLedgerHook().get_conn() as ledger:
            ledger.complete_record(record["pipeline_id"], record["claim_token"])

    @task
    @keeps_claim
    def work(record):
        raise AssertionError("it must not begin")

    finish(record) >> work(record) >> complete_record(record)


@task
def pass_record(pipeline_id, **context):
    if context["params"]["ends"].get("pass_record") == "failed":
        raise ValueError("pass_record cannot")
    with RecordLedgerHook().get_conn() as ledger:
        result = pass_by_hand(hourly(pipeline_id), run_id=task_run_id(context), ledger=ledger)
    if result["exit_dag"]:
        raise AirflowSkipException("nothing to do")
    return result["record"]


@dag(**OPTIONS)
def passed_by_hand():
    """The plain function passes a record, and the teardown ends its claim."""
    record = pass_record("passed_by_hand")
    record >> Step(task_id="load") >> complete_record(record)


@dag(**OPTIONS)
def all_in_one():
    """One task passes the record by hand and works on it too."""
    record = pass_record("all_in_one")
    record >> complete_record(record)


parts()
every_part_of_every_record()
names_alike()
detail_of_failed_work()
skipped_at_last()
finished_before()
passed_by_hand()
all_in_one()
