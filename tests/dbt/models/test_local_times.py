"""Models that filter by their window: what is no instant needs a zone, or is refused."""

from __future__ import annotations

import json

import pytest

from tests.support.hostile import make_hostile

pytestmark = pytest.mark.slow

MODEL = """\
{{{{ config(materialized='incremental') }}}}
select order_id, {column} as ordered_at
from {{{{ source('raw', 'orders') }}}}
where {{{{ record_ledger.in_window({arguments}) }}}}
"""
WORKERS = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York")
# Six orders an hour are written by a clock in Berlin, twice in the hour that comes twice.
ORDERS = """
create schema raw;
create table raw.orders as
select
    n as order_id,
    (timestamp '2026-{day}' + n % 24 * interval '10 minutes')::{of_type} as ordered_at
from generate_series(0, 47) as n;
"""


@pytest.fixture
def model_of(shop):
    """Makes one model of the shop; `arguments` are those of in_window."""
    models = shop.own_project() / "models"
    for file in models.iterdir():
        file.unlink()
    (models / "shop.yml").write_text("sources: [{name: raw, tables: [{name: orders}]}]\n")

    def make(arguments, column="ordered_at", text=MODEL):
        path = models / "local_orders.sql"
        path.write_text(text.format(column=column, arguments=arguments))

    return make


@pytest.fixture
def run(shop):
    def one(worker="UTC", command="run"):
        return shop.dbt(command, SHOP_RUN_ID="", PGTZ=worker)

    return one


def open_shop(shop, of_type, day, **changes):
    shop.open(granularity="1h", start_at=f"2026-{day}", **changes)
    shop.connection.execute("drop schema raw cascade;" + ORDERS.format(of_type=of_type, day=day))


@pytest.mark.parametrize(
    ("of_type", "column", "day", "runs"),
    [
        ("timestamp", "ordered_at", "10-25T01:00", 5),
        ("date", "ordered_at::timestamp", "10-25T00:00", 2),
        ("timestamp", "ordered_at", "03-29T01:00", 4),
    ],
)
def test_each_local_time_is_in_exactly_one_window(
    shop, ledger, model_of, run, of_type, column, day, runs
):
    open_shop(shop, of_type, day)
    make_hostile(ledger)
    shop.clock.set("2026-12-01T00:00:00Z")
    model_of(f"'{column}', time_zone='Europe/Berlin'")
    for number in range(runs):
        outcome = run(WORKERS[number % len(WORKERS)])
        assert outcome.success, outcome.error

    found = ledger.execute("select order_id from analytics.local_orders order by 1").fetchall()
    assert [one for (one,) in found] == list(range(48))


def test_instants_are_in_the_window_without_a_zone(shop, ledger, model_of, run):
    open_shop(shop, "timestamptz", "10-25T01:00")
    ledger.execute(
        "update raw.orders set ordered_at = "
        "timestamptz '2026-10-24 23:00Z' + order_id * interval '10 min'"
    )
    shop.clock.set("2026-12-01T00:00:00Z")
    model_of("'ordered_at'")
    for worker in WORKERS:
        outcome = run(worker)
        assert outcome.success, outcome.error

    found = ledger.execute("select order_id from analytics.local_orders order by 1").fetchall()
    assert [one for (one,) in found] == list(range(24))


@pytest.mark.parametrize(
    ("of_type", "arguments", "says"),
    [
        ("timestamp", "'ordered_at'", "without a zone: give time_zone too"),
        ("date", "'ordered_at'", "without a zone: give time_zone too"),
        ("text", "'ordered_at'", "operator does not exist"),
        ("timestamptz", "'ordered_at', time_zone='UTC'", "time_zone is for timestamp alone"),
        ("date", "'ordered_at', time_zone='UTC'", "time_zone is for timestamp alone"),
        ("timestamp", "'ordered_at', time_zone='CET'", 'in_window: time_zone "CET" is not'),
        ("timestamp", "'ordered_at', time_zone='UTC+2'", 'in_window: time_zone "UTC+2" is not'),
        ("timestamp", "'ordered_at', time_zone=3", "in_window: time_zone 3 is not"),
    ],
)
def test_a_column_that_does_not_fit_fails_the_run(
    shop, ledger, model_of, run, of_type, arguments, says
):
    open_shop(shop, of_type, "10-25T01:00")
    shop.clock.set("2026-12-01T00:00:00Z")
    model_of(arguments)

    outcome = run("UTC")

    assert not outcome.success
    assert says in outcome.messages["local_orders"] + outcome.error
    assert ledger.execute("select to_regclass('analytics.local_orders')").fetchone() == (None,)


def test_a_table_that_is_filtered_by_it_is_refused_before_a_record_is_passed(
    shop, ledger, model_of, run
):
    open_shop(shop, "timestamptz", "10-25T01:00")
    shop.clock.set("2026-12-01T00:00:00Z")
    model_of("'ordered_at'", text=MODEL.replace("incremental", "table"))

    outcome = run()

    assert "only incremental models may use" in outcome.error
    assert shop.records() == []


def test_with_nothing_to_do_no_row_is_in_the_window(shop, ledger, model_of, run):
    open_shop(shop, "timestamp", "10-25T01:00")
    shop.clock.set("2026-10-25T00:00:00Z")
    model_of("'ordered_at', time_zone='Europe/Berlin'")

    outcome = run()

    assert outcome.success, outcome.error
    assert ledger.execute("select count(*) from analytics.local_orders").fetchone() == (0,)


UNIT_TESTS = """
sources: [{name: raw, tables: [{name: orders}]}]
unit_tests:
  - name: orders_of_the_window
    model: local_orders
    overrides:
      macros:
        is_incremental: true
        record_ledger.window_start: "'2026-10-25 01:00Z'::timestamptz"
        record_ledger.window_end: "'2026-10-25 02:00Z'::timestamptz"
    given:
      - input: source('raw', 'orders')
        rows:
          - {order_id: 1, ordered_at: 2026-10-25 01:59:59.999999}
          - {order_id: 2, ordered_at: 2026-10-25 02:00:00}
          - {order_id: 3, ordered_at: 2026-10-25 02:59:59.999999}
          - {order_id: 4, ordered_at: 2026-10-25 03:00:00}
    expect:
      rows:
        - {order_id: 2}
        - {order_id: 3}
"""


def test_a_unit_test_sets_the_window(shop, model_of, run):
    open_shop(shop, "timestamp", "10-25T01:00")
    shop.clock.set("2026-12-01T00:00:00Z")
    model_of("'ordered_at', time_zone='Europe/Berlin'")
    (shop.dbt.project / "models" / "shop.yml").write_text(UNIT_TESTS)

    outcome = run("Asia/Kathmandu", command="build")

    assert outcome.success, (outcome.error, outcome.messages)
    assert outcome.results["orders_of_the_window"] == "pass"


MICROBATCH = """\
{{ config(
    materialized='incremental', incremental_strategy='microbatch', event_time='ordered_at',
    batch_size='hour', begin='2026-01-01', unique_key='order_id'
) }}
select order_id, ordered_at from {{ ref('placed_orders') }}
"""
PLACED = """\
{{ config(materialized='view', event_time='ordered_at') }}
select order_id, ordered_at at time zone 'Europe/Berlin' as ordered_at
from {{ source('raw', 'orders') }}
"""


def test_batches_of_a_view_that_names_the_zone_are_those_of_the_window(shop, ledger, model_of):
    """The way of the documentation: dbt itself takes a time without a zone as one in UTC."""
    open_shop(shop, "timestamp", "10-25T01:00")
    shop.clock.set("2026-12-01T00:00:00Z")
    models = shop.dbt.project / "models"
    (models / "hour_orders.sql").write_text(MICROBATCH)
    (models / "placed_orders.sql").write_text(PLACED)
    for worker in WORKERS:
        (record,) = ledger.execute(
            "select record from record_ledger.pass_valid_record('orders', %s)", [worker]
        ).fetchone() or (None,)
        if record is None:
            ledger.execute("call record_ledger.store_new_records('orders')")
            (record,) = ledger.execute(
                "select record from record_ledger.pass_valid_record('orders', %s)", [worker]
            ).fetchone()
        start, end = ledger.execute(
            "select (%s::timestamptz at time zone 'UTC')::text, "
            "(%s::timestamptz at time zone 'UTC')::text",
            [record["window_start_time"], record["window_end_time"]],
        ).fetchone()
        outcome = shop.dbt(
            "build", f"--event-time-start={start}", f"--event-time-end={end}",
            RECORD_LEDGER_RECORD=json.dumps(record), PGTZ=worker,
        )  # fmt: skip
        assert outcome.success, outcome.error
        ledger.execute(
            "select record_ledger.complete_record('orders', %s)", [record["claim_token"]]
        )

    found = ledger.execute("select order_id from analytics.hour_orders order by 1").fetchall()
    # Of four windows: from 01:00 in summer to 04:00 in winter, the first of which has none twice.
    assert [one for (one,) in found] == sorted(n for n in range(48) if n % 24 < 18)
