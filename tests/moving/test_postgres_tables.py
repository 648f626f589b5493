"""The tables of the PostgreSQL target: which ones fit, and how documents become their columns."""

from __future__ import annotations

from functools import partial

import pytest

from record_ledger.connection import connect as open_database
from record_ledger.moving import MoveFailed
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.moving.support import moved, passed


def test_columns_take_their_values_from_paths(empty_dsn, local_stage, empty_database):
    empty_database.execute(
        "create schema shop; create table shop.sales (window_start_time timestamptz, pipeline_id "
        'text, id bigint generated always as identity, "order" int primary key, amount numeric, '
        "tags text[], customer text, seen timestamptz, raw jsonb)"
    )
    columns = {
        "order": "id", "amount": "sum.net", "tags": "tags", "customer": "customer.names.0",
        "seen": "seen", "raw": "sum",
    }  # fmt: skip
    target = PostgresTarget(partial(open_database, empty_dsn), "shop.sales", columns=columns)
    documents = [
        {
            "id": 7, "sum": {"net": 1.10}, "tags": ["a", "b"], "customer": {"names": ["Ann"]},
            "seen": "2026-11-21T08:00:00Z",
        },
        {"id": 8},
    ]  # fmt: skip

    moved(target, local_stage, passed(), documents)

    found = empty_database.execute(
        'select "order", amount::text, tags, customer, seen, raw from shop.sales order by 1'
    ).fetchall()
    seen = passed()["window_start_time"]
    assert found == [
        (7, "1.1", ["a", "b"], "Ann", seen, {"net": 1.1}),
        (8, None, None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("create", "columns", "message"),
    [
        ("", {"a": "a"}, "does not exist; with `columns` it has to"),
        ("create table orders (window_start_time timestamptz, a int)", {"a": "a", "b": "b"},
         "has no column pipeline_id, b"),
        ("create table orders (pipeline_id text, window_start_time timestamptz)", None,
         "has no column document"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_at_once(
    empty_dsn, empty_database, create, columns, message
):
    empty_database.execute(create)
    target = PostgresTarget(partial(open_database, empty_dsn), "orders", columns=columns)

    with pytest.raises(MoveFailed, match=message):
        target.begin(passed())


def test_any_number_of_columns_can_be_filled(empty_dsn, local_stage, empty_database):
    names = [f"c{n}" for n in range(120)]
    empty_database.execute(
        "create table orders (pipeline_id text, window_start_time timestamptz, "
        + ", ".join(f"{name} int" for name in names)
        + ")"
    )
    columns = {name: name for name in names}
    target = PostgresTarget(partial(open_database, empty_dsn), "orders", columns=columns)

    moved(target, local_stage, passed(), [{name: n for n, name in enumerate(names)}])

    (row,) = empty_database.execute("select * from orders").fetchall()
    assert row[2:] == tuple(range(120))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": 3}, "a: 3 is not valid; it must be a path"),
        ({"a": ""}, "a: '' is not valid"),
        ({"pipeline_id": "a"}, "pipeline_id is not valid; the column is filled from the record"),
    ],
)
def test_columns_that_cannot_be_filled_are_refused_before_anything_is_moved(columns, message):
    with pytest.raises(ValueError, match=message):
        PostgresTarget(partial(open_database, "host=/nowhere"), "orders", columns=columns)
