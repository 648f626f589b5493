"""A dbt run that the ledger drives: which window it gets, and what becomes of the record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

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


@pytest.mark.slow
def test_a_run_with_nothing_to_do_tells_the_reason_of_others_without_what_moves_a_terminal(
    shop, ledger
):
    shop.open()
    shop.clock.set("2026-03-30T12:00:00Z")
    ledger.execute(
        "select record_ledger.pause_pipeline('orders', %s)", ["wait\x1b[31m\u202e\x9b for it"]
    )

    outcome = shop("build", run_id="a")

    assert outcome.success, outcome.error
    assert "nothing to do, PAUSED: " in outcome.log
    assert "wait\ufffd[31m\ufffd\ufffd for it" in outcome.log
    assert not {"\u202e", "\x9b"} & set(outcome.log)


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


@pytest.mark.slow
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
    outcome = shop.retry(run_id="a")

    assert outcome.success, outcome.error
    assert "orders" not in outcome.results
    assert shop.records() == [("2026-03-29", "COMPLETED", 2, "a")]
    assert shop.loaded("order_shares") == [("2026-03-29", 46)]


DELETE = """\
{{ config(materialized='incremental', pre_hook="
    {% if is_incremental() %}
        delete from {{ this }}
        where ordered_at >= {{ record_ledger.window_start() }}
            and ordered_at < {{ record_ledger.window_end() }}
    {% endif %}
") }}
"""


@pytest.mark.slow
def test_a_model_without_a_key_may_delete_what_an_earlier_attempt_left(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    models = shop.own_project() / "models"
    orders = models / "orders.sql"
    orders.write_text(DELETE + orders.read_text().partition("}}")[2])
    # dbt wants a unit test of such a model to give its table as well.
    described = models / "shop.yml"
    described.write_text(described.read_text().partition("unit_tests:")[0])
    assert shop("run", run_id="a").success
    shop.spoil_orders_of(SHORT_DAY)
    outcome = shop("run", "--fail-fast", run_id="b")
    assert outcome.named("error") == {"order_shares"}
    assert "division by zero" in shop.last_detail()["error"]
    assert shop.loaded() == [("2026-03-28", 48), ("2026-03-29", 46)]

    shop.spoil_orders_of(SHORT_DAY, amount=10)
    assert shop("run", run_id="b").success

    assert shop.loaded() == shop.loaded("order_shares") == [("2026-03-28", 48), ("2026-03-29", 46)]
    assert shop.records()[1] == ("2026-03-29", "COMPLETED", 2, "b")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_retry_of_a_run_that_has_no_id_of_its_own_completes_no_other_window(shop):
    shop.open(start_at="2026-03-29")
    shop.clock.set("2026-03-31T12:00:00Z")
    shop.spoil_orders_of(SHORT_DAY)
    assert shop("build").named("error") == {"order_shares"}

    # In the same process dbt still knows what was selected before; else start_run refuses it.
    shop.spoil_orders_of(SHORT_DAY, amount=10)
    outcome = shop.retry()

    assert outcome.results["order_shares"] == "success"
    assert [record[:3] for record in shop.records()] == [
        ("2026-03-29", "PENDING", 1),
        ("2026-03-30", "PENDING", 1),
    ]
    error = shop.last_detail()["error"]
    assert error.startswith("selected but not built: ")
    assert "orders" in error.split(": ")[1].split(", ")


# Begins a model: somebody takes the record back, or time passes.
FIRST = (
    '{%% if execute %%}{%% do run_query("%s") %%}{%% do run_query("commit") %%}'
    '{%% do run_query("begin") %%}{%% endif %%}'
)
EXPIRE = FIRST % ("select record_ledger.expire_leases('orders', '-infinity', 'infinity', 'test')")
CANCEL = FIRST % ("select record_ledger.cancel_records('orders', '-infinity', 'infinity', 'test')")
HALF_AN_HOUR = FIRST % (
    "select setval('test_clock.microseconds', last_value + 1800 * 1000000)"
    " from test_clock.microseconds"
)


def begin(shop, model, with_what):
    file = shop.own_project() / "models" / f"{model}.sql"
    file.write_text(with_what + file.read_text().partition("-#}")[2])


@pytest.mark.parametrize(
    "model",
    [
        "order_shares",  # notices it as it asks for its window
        pytest.param("order_count", marks=pytest.mark.slow),  # asks for none: as it ends
    ],
)
def test_a_run_that_loses_its_record_in_the_middle_writes_nothing_from_there_on(shop, model):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    begin(shop, model, EXPIRE)

    outcome = shop("build", run_id="a")

    assert outcome.named("error") == {model, "shop-on-run-end-0"}
    lost = "ended at 2026-03-31T14:00:00+02:00: postgres took it back: test"
    assert lost in outcome.messages[model]
    assert not shop.has(model)
    assert shop.loaded() == [("2026-03-28", 48)]
    # It is not failed a second time by a run that does not hold it.
    assert "claim lost" in outcome.messages["shop-on-run-end-0"]
    assert shop.last_detail()["reason"] == "test"


@pytest.mark.slow
def test_a_cancelled_run_begins_no_other_model_and_its_record_has_failed_for_good(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    begin(shop, "order_shares", CANCEL)

    outcome = shop("build", run_id="a")

    assert "order_shares" in outcome.named("error")
    assert "was cancelled by postgres: test" in outcome.messages["order_shares"]
    assert not shop.has("order_shares")
    assert shop.loaded() == [("2026-03-28", 48)]
    assert shop.records() == [("2026-03-28", "FAILED", 1, "a")]
    detail = shop.last_detail()
    assert (detail["cancelled_by"], detail["cancel_reason"]) == ("postgres", "test")
    assert "was cancelled by postgres: test" in detail["error"]


@pytest.mark.slow
def test_what_a_model_wrote_is_rolled_back_when_its_record_is_lost_as_it_ends(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    # In the model's own transaction, between its first look at the claim and its last.
    expire = "select record_ledger.expire_leases('orders', '-infinity', 'infinity', 'test')"
    file = shop.own_project() / "models" / "orders.sql"
    file.write_text(f'{{{{ config(pre_hook="{expire}") }}}}{file.read_text()}')

    outcome = shop("run", run_id="a")

    assert outcome.named("error") == {"orders"}
    assert "postgres took it back: test" in outcome.messages["orders"]
    assert not shop.has("orders")
    # What was rolled back as well is that anybody took it: the run itself fails its record.
    assert shop.records() == [("2026-03-28", "PENDING", 1, None)]


@pytest.mark.slow
def test_the_lease_is_extended_as_each_model_ends(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    begin(shop, "order_shares", HALF_AN_HOUR)
    begin_count = shop.dbt.project / "models" / "order_count.sql"
    begin_count.write_text(HALF_AN_HOUR + begin_count.read_text())
    for test, after, ends_at in (
        ("whole_lease_later", "order_shares", "2026-03-31T13:30:00Z"),
        ("whole_lease_at_the_end", "order_count", "2026-03-31T14:00:00Z"),
    ):
        (shop.dbt.project / "tests").mkdir(exist_ok=True)
        (shop.dbt.project / "tests" / f"{test}.sql").write_text(
            f"-- depends_on: {{{{ ref('{after}') }}}}\n"
            "select lease_expires_at from record_ledger.pipeline_records "
            f"where status = 'IN_PROGRESS' and lease_expires_at <> '{ends_at}'"
        )

    outcome = shop("build", run_id="a")

    assert outcome.success, (outcome.error, outcome.messages)
    assert {"whole_lease_later", "whole_lease_at_the_end"} <= outcome.named("pass")


@pytest.mark.slow
def test_a_config_registers_its_pipeline(shop, clock, ledger):
    shop.open()
    clock.set("2026-03-31T12:00:00Z")
    config = {**CONFIG, "start_at": "2026-03-29", "default_record": {"pipeline_id": "again"}}
    arguments = json.dumps({"pipeline_id": None, "config": config})
    outcome = shop("run", "--vars", arguments, run_id="a")
    assert outcome.success, outcome.error
    done = "select pipeline_id, run_id from record_ledger.pipeline_records where attempt > 0"
    assert ledger.execute(done).fetchall() == [("again", "a")]


@pytest.mark.slow
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
    shop.open(required_counts={"stages": ["source", "target"], "tolerance": "0 rows"})
    shop.clock.set("2026-03-31T12:00:00Z")
    outcome = shop("build", run_id="a")
    assert not outcome.success
    assert "counts do not agree" in outcome.error
    assert shop.records() == [("2026-03-28", "PENDING", 1, None)]
    assert "source not counted under this claim" in shop.last_detail()["error"]


@pytest.mark.slow
def test_what_other_hooks_do_is_committed_as_without_the_ledger(shop):
    settings_file = shop.own_project() / "dbt_project.yml"
    settings = yaml.safe_load(settings_file.read_text())
    make = "create table public.{} as select 1 as x"
    for when in ("on-run-start", "on-run-end"):
        name = when.replace("-", "_")
        settings[when] = [make.format(f"{name}_1"), settings[when], make.format(f"{name}_2")]
    settings_file.write_text(yaml.safe_dump(settings))
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    outcome = shop("run", run_id="a")
    assert outcome.success, outcome.error
    made = "select tablename from pg_tables where schemaname = 'public' order by 1"
    assert [name for (name,) in shop.connection.execute(made)] == [
        "on_run_end_1", "on_run_end_2", "on_run_start_1", "on_run_start_2",
    ]  # fmt: skip
