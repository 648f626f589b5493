"""A target's keys: columns that can tell two windows apart, or no record is taken."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial

import psycopg
import pytest
from psycopg import sql

from record_ledger.connection import connect as open_database
from record_ledger.errors import CountsDisagree
from record_ledger.moving import MoveFailed
from record_ledger.moving.connectors.postgres.source import PostgresSource
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.moving.support import moved, passed, target_at

HOUR = dt.timedelta(hours=1)
PUBLISHED = {
    "pipeline_id": "text",
    "window_start_time": "timestamptz",
    "claim_token": "bigint",
    "generation": "integer",
    "published_by": "bigint",
    "digest": "text",
    "row_count": "bigint",
    "published_at": "timestamptz",
}
SMALL = (("claim_token", "integer"), ("published_by", "integer"), ("row_count", "integer"))


@pytest.fixture
def types(empty_database):
    empty_database.execute(
        "create domain local_time as timestamp; create domain instant as timestamptz;"
        "create domain name_of as text; create domain names_of as name_of;"
    )


@pytest.mark.parametrize(
    ("column", "of_type"),
    [
        ("window_start_time", "timestamp"),
        ("window_start_time", "timestamp(3)"),
        ("window_start_time", "date"),
        ("window_start_time", "text"),
        ("window_start_time", "bigint"),
        ("window_start_time", "local_time"),
        ("pipeline_id", "char(20)"),
        ("pipeline_id", "name"),
        ("pipeline_id", "varchar(5)"),
    ],
)
@pytest.mark.parametrize("of_table", ["orders", "record_ledger_published"])
def test_a_key_that_cannot_tell_windows_apart_is_refused(
    types, empty_dsn, empty_database, column, of_type, of_table
):
    orders = {"pipeline_id": "text", "window_start_time": "timestamptz", "document": "jsonb"}
    columns = {**(orders if of_table == "orders" else PUBLISHED), column: of_type}
    create_table(empty_database, of_table, columns)
    target = target_at(empty_dsn)

    for call in (partial(target.check, "orders"), partial(target.begin, passed())):
        with pytest.raises(MoveFailed) as refused:
            call()
        said = str(refused.value)
        assert f"table public.{of_table}, column {column}: " in said
        assert "it is of type " in said
        assert f"alter table public.{of_table} alter column {column} type " in said


def test_a_key_that_takes_different_names_for_the_same_is_refused(empty_dsn, empty_database):
    try:
        empty_database.execute(
            "create collation alike "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported as error:
        pytest.skip(f"this server has no such collation: {error}")
    empty_database.execute(
        "create table orders (pipeline_id text collate alike, window_start_time timestamptz, "
        "document jsonb)"
    )

    with pytest.raises(MoveFailed, match="column pipeline_id: its collation takes"):
        target_at(empty_dsn).check("orders")


@pytest.mark.parametrize(("column", "of_type"), [*SMALL, ("published_at", "timestamp")])
def test_what_is_kept_of_windows_must_fit(empty_dsn, empty_database, column, of_type):
    create_table(empty_database, "record_ledger_published", {**PUBLISHED, column: of_type})

    with pytest.raises(MoveFailed, match=f"column {column}: it is of type .*; it must be"):
        target_at(empty_dsn).check("orders")


def test_what_is_kept_of_windows_must_have_its_key(empty_dsn, empty_database):
    create_table(empty_database, "record_ledger_published", PUBLISHED, key="")

    with pytest.raises(MoveFailed, match="has no unique key of pipeline_id and window_start_time"):
        target_at(empty_dsn).check("orders")


@pytest.mark.parametrize("of_type", ["timestamptz", "timestamptz(0)", "instant"])
@pytest.mark.parametrize("name", ["text", "varchar", "varchar(6)", "names_of"])
def test_what_tells_them_apart_fits(types, empty_dsn, empty_database, local_stage, of_type, name):
    columns = {"pipeline_id": name, "window_start_time": of_type, "document": "jsonb"}
    create_table(empty_database, "orders", columns)
    target = target_at(empty_dsn)
    target.check("orders")
    for _ in range(2):
        moved(target, local_stage, passed(), [{"n": 1}])

    assert empty_database.execute("select count(*) from orders").fetchone() == (1,)


def create_table(database, name, columns, key="primary key (pipeline_id, window_start_time)"):
    parts = [f"{column} {of_type}" for column, of_type in columns.items()]
    if name != "orders" and key:
        parts.append(key)
    database.execute(f"create table {name} ({', '.join(parts)})")


def test_a_key_that_is_rounded_publishes_nothing(empty_dsn, empty_database, local_stage):
    """Else the next publication would not find the rows, and they would be there twice."""
    empty_database.execute(
        "create table orders (pipeline_id text, window_start_time timestamptz(0), document jsonb)"
    )
    record = passed()
    record["window_start_time"] += dt.timedelta(milliseconds=250)

    with pytest.raises(CountsDisagree, match="looked up by their window: 0 rows, but 1"):
        moved(target_at(empty_dsn), local_stage, record, [{"n": 1}])
    assert empty_database.execute("select count(*) from orders").fetchone() == (0,)


def test_the_windows_of_the_hour_that_comes_twice_are_two(
    empty_dsn, empty_database, local_stage, monkeypatch
):
    """In sessions of any zone, published and published again."""
    start = dt.datetime(2026, 10, 25, 0, tzinfo=dt.timezone.utc)
    token = 0
    for zone in ("Europe/Berlin", "UTC", "Asia/Kathmandu"):
        monkeypatch.setenv("PGTZ", zone)
        for hour in range(2):
            token += 1
            record = {**passed(token), "window_start_time": start + hour * HOUR}
            moved(target_at(empty_dsn), local_stage, record, [{"hour": hour}])

    found = empty_database.execute(
        "select window_start_time, document from orders order by 1"
    ).fetchall()
    assert found == [(start, {"hour": 0}), (start + HOUR, {"hour": 1})]


def test_what_a_check_creates_is_not_kept(empty_dsn, empty_database):
    target_at(empty_dsn).check("orders")

    assert (
        empty_database.execute("select from pg_tables where schemaname = 'public'").fetchall() == []
    )


def test_a_user_who_may_create_nothing_is_refused(empty_dsn, empty_database):
    empty_database.execute("revoke create on schema public from public")
    name = sql.Identifier(f"rl_{empty_database.info.dbname}"[:63])
    empty_database.execute(sql.SQL("create role {} login").format(name))
    try:
        dsn = psycopg.conninfo.make_conninfo(empty_dsn, user=name._obj[0])
        with pytest.raises(MoveFailed, match="permission denied for schema public"):
            target_at(dsn).check("orders")
    finally:
        empty_database.execute(sql.SQL("drop role {}").format(name))


HOSTILE = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "German, DMY",
    "IntervalStyle": "postgres_verbose",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "timezone_abbreviations": "Australia",
    "search_path": "hostile, pg_catalog",
    "array_nulls": "off",
    "transform_null_equals": "on",
}


def make_hostile(database):
    """Gives a database settings, and names in the way, that must change nothing."""
    name = sql.Identifier(database.info.dbname)
    database.execute(
        "create schema hostile;"
        "create function hostile.to_jsonb(anyelement) returns jsonb language sql as 'select null';"
        "create function hostile.at(timestamptz, timestamptz) returns boolean language sql as "
        "'select true';"
        "create operator hostile.>= "
        "(leftarg = timestamptz, rightarg = timestamptz, function = hostile.at);"
        "create operator hostile.= "
        "(leftarg = timestamptz, rightarg = timestamptz, function = hostile.at);"
        "create domain hostile.text as varchar(1); create domain hostile.timestamptz as date"
    )
    for setting, value in HOSTILE.items():
        set_to = sql.SQL(value) if "," in value else sql.Literal(value)
        database.execute(
            sql.SQL("alter database {} set {} to {}").format(name, sql.Identifier(setting), set_to)
        )


def test_settings_of_the_database_change_nothing_that_is_moved(
    databases, empty_dsn, empty_database, local_stage
):
    rows = []
    for hostile in (False, True):
        dsn = databases.empty()
        with psycopg.connect(dsn, autocommit=True) as database:
            database.execute(
                "create table sales as select 1 as id, timestamptz '2026-11-21T08:30Z' as at, "
                "timestamp '2026-02-01 08:00' as local, date '2026-02-01' as day, "
                "interval '1 mon 2 days 03:04:05' as length, 0.1::float8 + 0.2 as third, "
                "'\\x00ff'::bytea as bytes, tstzrange('2026-11-21T08:30Z', null) as span, "
                "12.5::money as price, 'ä☃' as snowman"
            )
            database.execute(
                "create table orders (pipeline_id text, window_start_time timestamptz, at "
                "timestamptz, day date, length interval, span tstzrange, bytes bytea, third float8,"
                " unsaid timestamptz, list text[])"
            )
            if hostile:
                make_hostile(database)
        lines = []
        source = PostgresSource(partial(open_database, dsn), "sales", "at")
        for batch in source.read(passed()):
            lines += batch
        assert source.count(passed()) == len(lines) == 1
        (line,) = lines
        document = {**json.loads(line), "unsaid": "2026-10-25 02:30", "list": "{a,NULL}"}
        columns = {
            name: name
            for name in ("at", "day", "length", "span", "bytes", "third", "unsaid", "list")
        }
        target = PostgresTarget(partial(open_database, dsn), "orders", columns=columns)
        target.check("orders")
        for token in (1, 2):
            moved(target, local_stage, passed(token), [document])
        with psycopg.connect(dsn, autocommit=True) as database:
            database.execute(
                "set search_path = public; set timezone = 'UTC'; set datestyle = 'ISO'"
            )
            database.execute("set extra_float_digits = 1; set intervalstyle = 'iso_8601'")
            database.execute("set bytea_output = 'hex'")
            stored = database.execute("select o::text from orders as o").fetchall()
            kept = database.execute(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                "where attrelid = 'record_ledger_published'::regclass and attnum > 0"
            ).fetchall()
        rows.append((line, stored, kept))
        databases.drop(dsn)

    assert rows[0] == rows[1]
    assert len(rows[0][1]) == 1
    assert "2026-10-25 02:30:00+00" in rows[0][1][0][0]
