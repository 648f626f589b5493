"""A dbt run that the ledger drives: which window it gets, and what becomes of the record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tests.dbt.shop import BY_HOOKS, CONFIG, SHORT_DAY
from tests.dbt.support import rows_of_the_ledger


def test_runs_load_one_window_each_and_one_with_nothing_to_do_says_why_and_changes_nothing(
    shop, ledger
):
    shop.open()
    shop.clock.set("2026-03-30T12:00:00Z")
    for run_id in ("a", "b"):
        outcome = shop("build", run_id=run_id)
        assert outcome.success, outcome.error
        assert shop.last_detail()["nodes"] == len(outcome.results) - 2  # its hooks are no nodes
    assert f"window {SHORT_DAY} is passed to run b, attempt 1 of 3" in outcome.log
    done = [("2026-03-28", "COMPLETED", 1, "a"), ("2026-03-29", "COMPLETED", 1, "b")]
    assert shop.records() == done
    assert shop.loaded() == shop.loaded("order_shares") == [("2026-03-28", 48), ("2026-03-29", 46)]

    before = rows_of_the_ledger(ledger), contents(ledger)
    for run_id, verdict in (("c", "UNSTABLE"), ("a", "ALREADY_DONE")):
        outcome = shop("build", run_id=run_id)
        assert outcome.success, outcome.error
        assert f"nothing to do, {verdict}: " in outcome.log
    assert "run a was passed window 2026-03-28T00:00:00+01:00, which is COMPLETED" in outcome.log
    assert (rows_of_the_ledger(ledger), contents(ledger)) == before


def contents(ledger):
    return [
        ledger.execute(f"select * from analytics.{table} order by order_id").fetchall()
        for table in ("orders", "order_shares")
    ]


@pytest.mark.slow
def test_a_day_of_25_hours_is_loaded_whole_and_nothing_twice(shop):
    shop.open(start_at="2026-10-24")
    shop.clock.set("2026-10-27T12:00:00Z")
    for _ in range(3):
        outcome = shop("run", "--threads", "1")
        assert outcome.success, outcome.error
    assert shop.loaded() == [("2026-10-24", 48), ("2026-10-25", 50), ("2026-10-26", 48)]


def test_a_run_that_fails_fails_its_record_and_a_retry_goes_on_with_the_same_one(shop):
    shop.open(start_at="2026-03-29")
    shop.clock.set("2026-03-31T12:00:00Z")  # another window would be valid as well
    shop.spoil_orders_of(SHORT_DAY)

    outcome = shop("build", run_id="a")

    assert outcome.named("error") == {"order_shares"}
    error = shop.last_detail()["error"]
    assert error.startswith("order_shares (error): Database Error in model order_shares")
    assert "division by zero" in error
    assert error.endswith("; skipped: not_null_order_shares_share, order_count")
    assert shop.records() == [("2026-03-29", "PENDING", 1, None)]

    shop.spoil_orders_of(SHORT_DAY, amount=10)
    shop.connection.execute("update analytics.orders set amount = 10 where amount = 0")
    outcome = retry(shop, run_id="a")

    assert outcome.success, outcome.error
    assert "orders" not in outcome.results
    assert shop.records() == [("2026-03-29", "COMPLETED", 2, "a")]
    assert shop.loaded("order_shares") == [("2026-03-29", 46)]


def test_a_warning_is_a_success_and_a_failed_test_a_failure(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    shop.connection.execute("update raw.orders set amount = null where order_id % 48 = 0")
    outcome = replace(shop.dbt, warn_error=False)("build", *BY_HOOKS, SHOP_RUN_ID="a")
    assert outcome.named("warn") == {"not_null_order_shares_share"}
    shop.connection.execute("update raw.orders set order_id = null where order_id % 48 = 1")
    outcome = shop("build", run_id="b")
    assert outcome.named("fail") == {"not_null_orders_order_id"}
    assert [record[:2] for record in shop.records()] == [
        ("2026-03-28", "COMPLETED"),
        ("2026-03-29", "PENDING"),
    ]
    assert "not_null_orders_order_id (fail): Got" in shop.last_detail()["error"]


def test_a_retry_of_a_run_that_has_no_id_of_its_own_completes_no_other_window(shop):
    shop.open(start_at="2026-03-29")
    shop.clock.set("2026-03-31T12:00:00Z")
    shop.spoil_orders_of(SHORT_DAY)
    assert shop("build").named("error") == {"order_shares"}

    # In the same process dbt still knows what was selected before; else start_run refuses it.
    shop.spoil_orders_of(SHORT_DAY, amount=10)
    outcome = retry(shop)

    assert outcome.results["order_shares"] == "success"
    assert [record[:3] for record in shop.records()] == [
        ("2026-03-29", "PENDING", 1),
        ("2026-03-30", "PENDING", 1),
    ]
    error = shop.last_detail()["error"]
    assert error.startswith("selected but not built: ")
    assert "orders" in error.split(": ")[1].split(", ")


def retry(shop, run_id=""):
    # dbt's own retry of a command with --exclude warns of an option that nobody gave.
    return replace(shop.dbt, warn_error=False)("retry", SHOP_RUN_ID=run_id)


def test_a_record_that_is_lost_before_a_model_begins_is_not_touched_any_more(shop, tmp_path):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    project = shutil.copytree(shop.dbt.project, tmp_path / "shop", symlinks=True)
    model = project / "models" / "order_shares.sql"
    expire = (
        "select record_ledger.expire_leases(''orders'', ''-infinity'', ''infinity'', ''test'')"
    ).replace("''", "'")
    model.write_text(
        '{% if execute %}{% do record_ledger.run_alone("'
        + expire
        + '") %}{% endif %}'
        + model.read_text().replace("{#-", "{#").partition("#}")[2]
    )
    shop.dbt.project = project

    outcome = shop("build", run_id="a")

    assert outcome.named("error") == {"order_shares", "shop-on-run-end-0"}
    lost = "ended at 2026-03-31T14:00:00+02:00: postgres took it back: test"
    assert lost in outcome.messages["order_shares"]
    # It is not failed a second time by a run that does not hold it.
    assert "claim lost" in outcome.messages["shop-on-run-end-0"]
    assert shop.last_detail()["reason"] == "test"
    assert shop.loaded() == [("2026-03-28", 48)]
    assert shop.connection.execute("select to_regclass('analytics.order_shares')").fetchone() == (
        None,
    )


def test_a_config_registers_its_pipeline(shop, clock, ledger):
    shop.open()
    clock.set("2026-03-31T12:00:00Z")
    config = {**CONFIG, "start_at": "2026-03-29", "default_record": {"pipeline_id": "again"}}
    arguments = json.dumps({"pipeline_id": None, "config": config})
    outcome = shop("run", "--vars", arguments, run_id="a")
    assert outcome.success, outcome.error
    done = "select pipeline_id, run_id from record_ledger.pipeline_records where attempt > 0"
    assert ledger.execute(done).fetchall() == [("again", "a")]


def test_commands_that_build_no_models_pass_nothing(shop, ledger):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    assert shop("run").success
    before = rows_of_the_ledger(ledger)
    for command in (
        ["compile"], ["docs", "generate"], ["ls"], ["test"], ["show", "--select", "orders"],
        ["parse"],
    ):  # fmt: skip
        outcome = shop.dbt(*command)
        assert outcome.success, f"{command}: {outcome.error}"
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_a_run_whose_record_lacks_the_counts_that_are_required_fails_it_and_is_no_success(shop):
    shop.open(required_counts={"stages": ["source"], "tolerance": "0"})
    shop.clock.set("2026-03-31T12:00:00Z")
    outcome = shop("build", run_id="a")
    assert not outcome.success
    assert "counts do not agree" in outcome.error
    assert shop.records() == [("2026-03-28", "PENDING", 1, None)]
    assert "source not counted under this claim" in shop.last_detail()["error"]
