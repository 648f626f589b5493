"""Archiving refused: impossible calls, and every way to delete that is not archiving."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.archive.archiving import (
    COPY,
    EVER,
    WINDOWS,
    archivable,
    eight_hours,
    finish,
    hour,
)
from tests.sql.counts.counting import observe
from tests.sql.support import (
    NOW,
    PIPELINE,
    archive,
    refused,
    rows,
    snapshot,
)


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config)


@pytest.fixture
def orders(given):
    return PIPELINE


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("before", "max_records", "message"),
    [
        (None, 1, "before: null is not a valid instant"),
        ("infinity", 1, "before: infinity is not a valid instant"),
        ("-infinity", 1, "before: -infinity is not a valid instant"),
        (EVER, 0, "max_records: 0 is less than 1"),
        (EVER, -5, "max_records: -5 is less than 1"),
        (EVER, None, "max_records: null is not a number"),
    ],
)
def test_impossible_arguments_are_refused(ledger, orders, before, max_records, message):
    finish(ledger, 2)
    unchanged = snapshot(ledger)
    with refused("RL005", message):
        archive(ledger, before, max_records)
    if max_records is not None:
        with refused("RL005", message):
            archivable(ledger, before, max_records)
    assert snapshot(ledger) == unchanged


@pytest.mark.parametrize("call", ["archive_records", "archivable_records"])
def test_an_unknown_pipeline_is_named_with_near_ones(ledger, orders, call):
    with refused("RL002", 'unknown pipeline "ordrs"') as caught:
        ledger.execute(f"select record_ledger.{call}('ordrs', now())")
    assert '"orders"' in caught.value.diag.message_hint
    with refused("RL005", "pipeline_id: null is not a valid name"):
        ledger.execute(f"select record_ledger.{call}(null, now())")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_stricter_isolation_level_is_refused(ledger, orders, level):
    with refused("RL005", level), ledger.transaction():
        ledger.execute(f"set transaction isolation level {level}")
        archive(ledger, NOW)


@pytest.fixture
def half_archived(ledger, orders):
    finish(ledger, 6)
    for n in range(6):
        for rows_there in (n, n + 1):
            observe(ledger, hour(n), "source", rows_there)
    assert archive(ledger, EVER, 3) == 3
    return orders


@pytest.mark.parametrize(
    "table", ["archived_record", "archived_record_event", "archived_record_observation"]
)
def test_the_archive_is_append_only(ledger, half_archived, table):
    before = snapshot(ledger)
    for name in (table, f"{table}_2026"):
        for statement in ("delete from {}", "update {} set generation = 7", "truncate {}"):
            with refused("RL003", f"record_ledger.{table}"):
                ledger.execute(statement.format(f"record_ledger.{name}"))
    assert snapshot(ledger) == before


@pytest.mark.parametrize("table", COPY)
def test_a_row_that_the_archive_does_not_have_is_never_deleted(ledger, half_archived, table):
    before = snapshot(ledger)
    for chosen in ("= %(start)s", "<= %(start)s", ">= %(start)s"):
        for n in range(3, WINDOWS):
            if table != "record" and n >= 6 and "<" not in chosen:
                continue  # there is none
            with refused(
                "RL003", f"delete of record_ledger.{table} is refused, the archive does not"
            ):
                ledger.execute(
                    f"delete from record_ledger.{table} where window_start_time {chosen}",
                    {"start": hour(n)},
                )
    assert snapshot(ledger) == before


# What each column is changed to.
OTHER = {
    "bigint": "coalesce({}, 0) + 1",
    "boolean": "not {}",
    "date": "{} + 1",
    "integer": "coalesce({}, 0) + 1",
    "jsonb": "{} || '{{\"other\": 1}}'",
    "text": "'WAIVED'",
    "text[]": "'{{other}}'",
    "timestamp with time zone": "{} + interval '1 second'",
}


@pytest.mark.parametrize("table", COPY)
def test_a_row_that_the_archive_has_with_any_difference_is_never_deleted(
    ledger, half_archived, table
):
    columns = rows(
        ledger,
        "select attname, format_type(atttypid, null) from pg_attribute where attrelid = %s::regclass "
        "and attnum > 0 and attname not in "
        "('pipeline_id', 'window_start_time', 'event_no', 'observation_no', 'archived_at')",
        [f"record_ledger.archived_{table}"],
    )
    assert len(columns) == {"record": 17, "record_event": 10, "record_observation": 10}[table]
    for column, kind in columns:
        with ledger.transaction(force_rollback=True):
            ledger.execute(f"alter table record_ledger.archived_{table} disable trigger user")
            ledger.execute(COPY[table], [hour(3)])
            ledger.execute(
                f"update record_ledger.archived_{table} set {column} = {OTHER[kind].format(column)} "
                "where window_start_time = %s",
                [hour(3)],
            )
            with refused("RL003", "the archive does not have"):
                ledger.execute(
                    f"delete from record_ledger.{table} where window_start_time = %s", [hour(3)]
                )


def test_a_row_that_the_archive_has_may_go_but_not_out_of_the_middle(ledger, half_archived):
    with ledger.transaction(force_rollback=True):
        ledger.execute(COPY["record_event"], [hour(3)])
        ledger.execute(
            "delete from record_ledger.record_event where window_start_time = %s", [hour(3)]
        )
        ledger.execute(COPY["record"], [hour(3)])
        with pytest.raises(
            psycopg.errors.ForeignKeyViolation, match="window_follows_the_previous_one"
        ):
            ledger.execute(
                "delete from record_ledger.record where window_start_time = %s", [hour(3)]
            )


def test_no_setting_lets_a_role_delete(ledger, half_archived):
    for setting in ("record_ledger.archiving", "record_ledger.allow_delete"):
        ledger.execute("select set_config(%s, 'on', false)", [setting])
    with refused("RL003"):
        ledger.execute("delete from record_ledger.record where window_start_time = %s", [hour(3)])


def test_an_open_record_cannot_be_put_into_the_archive(ledger, half_archived):
    with pytest.raises(psycopg.errors.CheckViolation, match="an_archived_record_is_finished"):
        ledger.execute(COPY["record"], [hour(7)])
