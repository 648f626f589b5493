"""Microbatch models, whose range dbt takes from its command line: `record-ledger exec` gives it."""

from __future__ import annotations

import json

import pytest

from tests.dbt.shop import CONFIG, SHORT_DAY
from tests.dbt.support import dbt_command, environment, rows_of_the_ledger
from tests.runner.exec_support import Exec

# The short day in UTC.
RANGE = ("--event-time-start", "2026-03-28T23:00:00", "--event-time-end", "2026-03-29T22:00:00")


@pytest.fixture
def exec_dbt(shop, tmp_path):
    """Runs `record-ledger exec -- dbt build` on models that have batches of an hour or none."""

    def run(*arguments):
        project = shop.dbt.project
        config = tmp_path / "orders.json"
        config.write_text(json.dumps({**CONFIG, "start_at": SHORT_DAY}))
        done = Exec(
            tmp_path, shop.dbt.dsn, "--config", config, *arguments, "--",
            dbt_command(), "--warn-error", "build", "--exclude", "day_orders",
            "--event-time-start", "{{ window_start_time | utc }}",
            "--event-time-end", "{{ window_end_time | utc }}",
            "--project-dir", project, "--profiles-dir", project,
            **environment(shop.dbt.dsn, tmp_path),
        )  # fmt: skip
        return done.process.wait(300), done.json, done.out.decode() + done.err

    return run


@pytest.mark.slow
def test_exec_has_dbt_load_the_window_of_a_record_and_ends_it_as_dbt_ends(shop, exec_dbt):
    shop.open(start_at=SHORT_DAY)
    shop.clock.set("2026-03-30T12:00:00Z")
    shop.spoil_orders_of("2026-03-29T12:00:00Z")

    code, answer, said = exec_dbt("--run-id", "a")

    assert (code, answer["outcome"], answer["exit_code"]) == (1, "failed", 1), said
    assert "division by zero" in said
    assert shop.records() == [("2026-03-29", "PENDING", 1, None)]
    assert shop.loaded("hour_orders") == [("2026-03-29", 44)]  # all of its batches but one

    shop.spoil_orders_of("2026-03-29T12:00:00Z", amount=10)
    code, answer, said = exec_dbt("--run-id", "a")

    assert (code, answer["outcome"]) == (0, "completed"), said
    assert "the record was passed before dbt was started" in said
    assert shop.records() == [("2026-03-29", "COMPLETED", 2, "a")]
    for table in ("hour_orders", "orders", "order_shares"):
        assert shop.loaded(table) == [("2026-03-29", 46)]

    code, answer, said = exec_dbt()
    assert (code, answer["verdict"]) == (99, "UNSTABLE"), said


@pytest.fixture
def passed(shop):
    """The record of the short day, passed, as exec hands it to its command."""
    shop.open(start_at=SHORT_DAY)
    shop.clock.set("2026-03-31T12:00:00Z")
    shop.connection.execute("call record_ledger.store_new_records('orders')")
    (record,) = shop.connection.execute(
        "select record from record_ledger.pass_valid_record('orders', 'a')"
    ).fetchone()
    return record


def test_batches_that_are_not_the_window_are_refused_before_anything_is_written(
    shop, passed, ledger
):
    before = rows_of_the_ledger(ledger)
    off_the_grid = (
        "its batches of a day in UTC do not fit the window 2026-03-29T00:00:00+01:00 to "
        "2026-03-30T00:00:00+02:00 (2026-03-28T23:00:00 to 2026-03-29T22:00:00 in UTC)"
    )
    start = "--event-time-start is not given and must be 2026-03-28T23:00:00"
    end = "--event-time-end is 2026-03-29T23:00:00 and must be 2026-03-29T22:00:00 (in UTC)"
    for models, options, says in (
        ("day_orders", RANGE, off_the_grid),
        ("hour_orders", (), start),
        ("hour_orders", (*RANGE[:3], "2026-03-29T23:00:00"), end),
    ):
        outcome = shop.dbt(
            "run", "--select", models, *options, RECORD_LEDGER_RECORD=json.dumps(passed)
        )
        assert not outcome.success
        assert says in outcome.error
        assert not shop.has(models)
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_a_record_of_another_pipeline_or_that_is_lost_is_refused(shop, passed):
    handed_on = {"RECORD_LEDGER_RECORD": json.dumps({**passed, "pipeline_id": "files"})}
    outcome = shop.dbt("run", "--select", "hour_orders", *RANGE, **handed_on)
    assert "a record of pipeline files, and start_run is about pipeline orders" in outcome.error
    shop.connection.execute(
        "select record_ledger.expire_leases('orders', '-infinity', 'infinity', 'test')"
    )
    handed_on = {"RECORD_LEDGER_RECORD": json.dumps(passed)}
    outcome = shop.dbt("run", "--select", "hour_orders", *RANGE, **handed_on)
    assert "claim lost" in outcome.error
    assert not shop.has("hour_orders")
