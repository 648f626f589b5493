"""A dbt run that the ledger drives, of some models only: what it takes to complete the record."""

from __future__ import annotations

import pytest

from tests.dbt.shop import SHORT_DAY


@pytest.mark.slow
def test_a_run_of_models_that_know_nothing_of_windows_completes_no_record(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    assert shop("run", run_id="a").success
    outcome = shop("build", "--select", "order_count", run_id="b")
    assert outcome.success, outcome.error
    window = f"releasing window {SHORT_DAY} of pipeline orders, which no model loaded"
    assert window in outcome.log
    done = ("2026-03-28", "COMPLETED", 1, "a")
    assert shop.records() == [done, ("2026-03-29", "PENDING", 0, None)]
    # Its id keeps the record, whose window comes with the models that load it.
    assert shop("run", run_id="b").success
    assert shop.records() == [done, ("2026-03-29", "COMPLETED", 1, "b")]
    assert shop.loaded() == [("2026-03-28", 48), ("2026-03-29", 46)]


@pytest.mark.slow
def test_what_a_retry_goes_on_with_may_know_nothing_of_windows(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    file = shop.own_project() / "models" / "order_count.sql"
    count = "{{ config(materialized='table') }}" + file.read_text()
    file.write_text(f"{count} where 1 / (select min(amount) from raw.orders) = 0")
    shop.connection.execute("update raw.orders set amount = 0 where order_id = 0")
    outcome = shop("run", run_id="a")
    assert outcome.named("error") == {"order_count"}, outcome.error

    shop.connection.execute("update raw.orders set amount = 50 where order_id = 0")
    outcome = shop.retry(run_id="a")

    assert set(outcome.results) & {"orders", "order_count"} == {"order_count"}
    assert shop.records() == [("2026-03-28", "COMPLETED", 2, "a")]
