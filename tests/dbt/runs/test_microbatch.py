"""Microbatch: the record is passed before dbt is started, and dbt's range must be its window."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.dbt.shop import CONFIG
from tests.dbt.support import dbt_command, environment, rows_of_the_ledger

pytestmark = pytest.mark.slow

SHORT_DAY_IN_UTC = ("2026-03-28T23:00:00", "2026-03-29T22:00:00")


@pytest.fixture
def passed(shop, ledger):
    """The record of the day of 23 hours, passed by somebody before dbt is started."""
    shop.open(start_at="2026-03-29")
    shop.clock.set("2026-03-31T12:00:00Z")
    (record,) = ledger.execute(
        "select record from record_ledger.store_new_and_pass_valid_record(%s, 'by-hand')",
        [json.dumps({**CONFIG, "start_at": "2026-03-29"})],
    ).fetchone()
    return record


@pytest.fixture
def build(shop):
    """Builds on a record with a range, either of which may be left out."""

    def run(record, start, end, *arguments):
        times = {"--event-time-start": start, "--event-time-end": end}
        given = [f"{option}={time}" for option, time in times.items() if time]
        return shop.dbt("build", *given, *arguments, RECORD_LEDGER_RECORD=json.dumps(record))

    return run


def test_the_batches_of_a_window_are_built_and_the_record_is_left_to_who_passed_it(
    shop, passed, build, ledger
):
    outcome = build(passed, *SHORT_DAY_IN_UTC, "--exclude", "day_orders")

    assert outcome.success, outcome.error
    assert "the record was passed before dbt was started" in outcome.log
    loaded = [("2026-03-29", 46)]
    assert shop.loaded("hour_orders") == shop.loaded("orders") == loaded
    assert shop.records() == [("2026-03-29", "IN_PROGRESS", 1, "by-hand")]
    (batches,) = [
        result["batch_results"]["successful"]
        for result in shop.dbt.artifact("run_results")["results"]
        if result["unique_id"] == "model.shop.hour_orders"
    ]
    assert len(batches) == 23


def test_a_record_that_is_too_long_for_a_variable_is_the_one_that_is_built(shop, passed, ledger):
    start, end = SHORT_DAY_IN_UTC
    columns = ("pipeline_id", "window_start_time", "window_end_time", "claim_token")
    variables = {f"RECORD_LEDGER_{name.upper()}": str(passed[name]) for name in columns}

    outcome = shop.dbt(
        "build", "--exclude", "day_orders",
        f"--event-time-start={start}", f"--event-time-end={end}",
        RECORD_LEDGER_RECORD_FILE="/there", **variables,
    )  # fmt: skip

    assert outcome.success, outcome.error
    assert "the record was passed before dbt was started" in outcome.log
    assert shop.loaded("orders") == [("2026-03-29", 46)]
    assert shop.records() == [("2026-03-29", "IN_PROGRESS", 1, "by-hand")]


@pytest.mark.parametrize(
    ("start", "end", "model", "says"),
    [
        (*SHORT_DAY_IN_UTC, "day_orders", "batches of a day in UTC do not fit the window"),
        (
            "2026-03-29T00:00:00", "2026-03-30T00:00:00", "hour_orders",
            "--event-time-start is 2026-03-29T00:00:00 and must be 2026-03-28T23:00:00",
        ),
        (
            SHORT_DAY_IN_UTC[0], "2026-03-29T23:00:00", "hour_orders",
            "--event-time-end is 2026-03-29T23:00:00 and must be 2026-03-29T22:00:00",
        ),
        (None, None, "hour_orders", "--event-time-start is not given"),
    ],
)  # fmt: skip
def test_a_range_that_is_not_the_window_and_batches_that_do_not_fit_it_are_refused(
    shop, passed, build, ledger, start, end, model, says
):
    before = rows_of_the_ledger(ledger)
    outcome = build(passed, start, end, "--select", model)
    assert not outcome.success
    assert says in outcome.error
    assert ledger.execute(f"select to_regclass('analytics.{model}')").fetchone() == (None,)
    assert rows_of_the_ledger(ledger) == before


def test_a_record_of_another_pipeline_and_one_that_is_lost_are_refused(shop, passed, build, ledger):
    select = ("--select", "orders")
    outcome = build({**passed, "pipeline_id": "files"}, None, None, *select)
    assert "start_run is about pipeline orders" in outcome.error
    ledger.execute("select record_ledger.release_record('orders', %s)", [passed["claim_token"]])
    outcome = build(passed, None, None, *select)
    assert "the record was released" in outcome.error
    assert ledger.execute("select to_regclass('analytics.orders')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("now", "days"),
    [
        ("2026-03-30T22:30:00Z", [("2026-03-28", 48), ("2026-03-29", 46)]),
        ("2026-10-26T22:30:00Z", [("2026-10-24", 48), ("2026-10-25", 50)]),
    ],
)
def test_exec_runs_dbt_on_every_window_over_a_change_of_clock(
    shop, ledger_dsn, tmp_path, now, days
):
    shop.open()
    shop.clock.set(now)
    config = tmp_path / "orders.json"
    config.write_text(json.dumps({**CONFIG, "start_at": days[0][0]}))

    done = exec_dbt(shop, ledger_dsn, tmp_path, config, "--drain")

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["completed"] == len(days)
    assert shop.loaded("hour_orders") == shop.loaded() == days
    assert [record[:2] for record in shop.records()] == [(day, "COMPLETED") for day, _ in days]


def test_exec_fails_the_record_of_a_batch_that_failed_and_loads_its_window_when_asked_again(
    shop, ledger_dsn, tmp_path
):
    shop.open()
    shop.clock.set("2026-03-30T12:00:00Z")
    shop.spoil_orders_of("2026-03-29T12:00:00Z")
    config = tmp_path / "orders.json"
    config.write_text(json.dumps({**CONFIG, "start_at": "2026-03-29"}))

    done = exec_dbt(shop, ledger_dsn, tmp_path, config, "--run-id", "a")

    assert done.returncode == 1, done.stdout + done.stderr
    assert shop.records() == [("2026-03-29", "PENDING", 1, None)]
    assert shop.loaded("hour_orders") == [("2026-03-29", 44)]  # all of its batches but one

    shop.spoil_orders_of("2026-03-29T12:00:00Z", amount=10)
    done = exec_dbt(shop, ledger_dsn, tmp_path, config, "--run-id", "a")

    assert done.returncode == 0, done.stdout + done.stderr
    assert shop.records() == [("2026-03-29", "COMPLETED", 2, "a")]
    for table in ("hour_orders", "orders", "order_shares"):
        assert shop.loaded(table) == [("2026-03-29", 46)]
    # With nothing to do dbt is not started.
    assert exec_dbt(shop, ledger_dsn, tmp_path, config).returncode == 99


def exec_dbt(shop, dsn, folder, config, *options):
    """Runs the command of the documentation."""
    return subprocess.run(
        [sys.executable, "-m", "record_ledger", "exec", "--config", config, "--dsn", dsn, *options,
         "--", dbt_command(), "--warn-error", "build", "--exclude", "day_orders",
         "--event-time-start", "{{ window_start_time | utc }}",
         "--event-time-end", "{{ window_end_time | utc }}",
         "--project-dir", shop.dbt.project, "--profiles-dir", shop.dbt.project],
        env=environment(dsn, folder / "dbt"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
