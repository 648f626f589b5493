"""Times without a zone: each row is in exactly one window, whatever a session's zone is."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial

import pytest
from psycopg import sql

from record_ledger.connection import connect as open_database
from record_ledger.moving import MoveFailed
from record_ledger.moving.connectors.postgres.source import PostgresSource

UTC = dt.timezone.utc
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
# What a worker, a role or a database may say, and what must change nothing.
WORKERS = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")
# (zone, the local day before which the rows begin, the days that they go on for)
CHANGES = [
    ("Europe/Berlin", "2026-10-24", 3),  # 02:00 to 03:00 comes twice
    ("Europe/Berlin", "2026-03-28", 3),  # and is skipped
    ("America/Santiago", "2026-09-05", 3),  # a day without midnight
    ("America/Santiago", "2026-04-04", 2),  # 23:00 to 24:00 comes twice
    ("America/St_Johns", "2010-11-06", 3),  # a minute after midnight it is 23:01 again
    ("Australia/Lord_Howe", "2026-04-04", 3),  # half an hour comes twice
    ("Pacific/Apia", "2011-12-28", 5),  # a day is skipped
    ("America/Juneau", "1867-10-17", 4),  # a day comes twice
    ("Asia/Kathmandu", "2026-10-24", 2),  # nothing happens
]


def record_of(start, end):
    return {
        "pipeline_id": "orders",
        "window_start_time": start,
        "window_end_time": end,
        "generation": 1,
        "claim_token": 1,
    }


def windows_of(first, last, length):
    while first < last:
        yield record_of(first, min(first + length, last))
        first += length


@pytest.fixture
def source_at(empty_dsn, monkeypatch):
    def make(column="at", zone=None, worker="UTC", table="sales", **options):
        def connect():
            with monkeypatch.context() as patch:
                patch.setenv("PGTZ", worker)
                return open_database(empty_dsn)

        return PostgresSource(connect, table, column, time_zone=zone, **options)

    return make


@pytest.fixture
def read():
    def ids(source, record):
        found = [json.loads(line)["id"] for batch in source.read(record) for line in batch]
        assert source.count(record) == len(found)
        return found

    return ids


@pytest.mark.parametrize(
    ("zone", "day", "days", "of_type"),
    [
        (*CHANGES[0], "timestamp"),
        *(pytest.param(*change, "timestamp", marks=pytest.mark.slow) for change in CHANGES[1:]),
        *(
            pytest.param(*change, "date", marks=pytest.mark.slow)
            for change in CHANGES
            if change[0].startswith(("Europe", "Pacific"))
        ),
        pytest.param(*CHANGES[0], "local_time", marks=pytest.mark.slow),
    ],
)
def test_each_row_is_in_exactly_one_window(
    empty_database, source_at, read, zone, day, days, of_type
):
    empty_database.execute("create domain local_time as timestamp(3)")
    empty_database.execute(
        "create table sales as "
        f"select n as id, (%s::timestamp + n * interval '10 minutes')::{of_type} as at "
        "from generate_series(0, %s * 144 - 1) as n",
        [day, days],
    )
    # The clocks show the repeated hour twice, and rows are written in both.
    empty_database.execute("insert into sales select id + 10000, at from sales")
    instants = dict(
        empty_database.execute(
            "select id, at::timestamp at time zone %s from sales", [zone]
        ).fetchall()
    )
    first = dt.datetime.fromisoformat(day).replace(tzinfo=UTC) - DAY
    sources = [source_at("at", zone, worker) for worker in WORKERS]
    seen = []
    for number, record in enumerate(windows_of(first, first + (days + 2) * DAY, HOUR)):
        found = read(sources[number % len(sources)], record)
        assert all(
            record["window_start_time"] <= instants[one] < record["window_end_time"]
            for one in found
        )
        seen += found

    assert sorted(seen) == sorted(instants)


def test_the_windows_of_a_day_that_workers_of_two_zones_move_have_each_row_once(
    empty_dsn, empty_database, source_at, read
):
    """As in the report: 432 rows, 73 windows, 20 of them by a worker with PGTZ=UTC."""
    name = sql.Identifier(empty_database.info.dbname)
    empty_database.execute(
        sql.SQL("alter database {} set timezone to 'Europe/Berlin'").format(name)
    )
    empty_database.execute(
        "create table sales as select n as id, timestamp '2026-10-24' + n * interval '10 minutes' "
        "as at from generate_series(0, 431) as n"
    )
    start = dt.datetime(2026, 10, 23, 22, tzinfo=UTC)

    sources = [source_at("at", "Europe/Berlin", worker) for worker in WORKERS[:2]]
    found = []
    for number, record in enumerate(windows_of(start, start + 73 * HOUR, HOUR)):
        found.append(read(sources[number % 3 == 1], record))

    assert len(found) == 73
    assert sorted(one for window in found for one in window) == list(range(432))
    # The rule of the documentation: what may be either hour is in the later one.
    assert (len(found[26]), len(found[27])) == (0, 6)


@pytest.mark.parametrize("of_type", ["timestamptz", "timestamptz(0)", "instant"])
def test_a_column_of_instants_needs_no_zone(empty_database, source_at, read, of_type):
    empty_database.execute("create domain instant as timestamptz")
    empty_database.execute(f"create table sales (id int, at {of_type})")
    empty_database.execute(
        "insert into sales values (1, '2026-10-25T00:30Z'), (2, '2026-10-25T01:00Z')"
    )
    record = record_of(*(dt.datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (0, 1)))

    for worker in WORKERS:
        assert read(source_at(worker=worker), record) == [1]


def test_a_view_and_a_partitioned_table_are_read_by_their_columns(empty_database, source_at, read):
    empty_database.execute(
        "create table parted (id int, at timestamp) partition by range (at);"
        "create table parted_2026 partition of parted "
        "for values from ('2026-01-01') to ('2027-01-01');"
        "insert into parted values (1, '2026-10-25 02:30'), (2, '2026-10-25 03:00');"
        "create view seen as select id, at from parted"
    )
    record = record_of(*(dt.datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (1, 2)))

    for table in ("parted", "seen"):
        assert read(source_at(zone="Europe/Berlin", table=table), record) == [1]


@pytest.mark.parametrize(
    ("of_type", "zone", "says"),
    [
        ("timestamp", None, ["table sales, column at", "timestamp without time zone", "time_zone"]),
        ("timestamp(0)", None, ["timestamp(0) without time zone", "time_zone"]),
        ("date", None, ["is of type date", "time_zone"]),
        ("local_time", None, ["is of type local_time (timestamp)", "time_zone"]),
        ("timestamptz", "UTC", ["timestamp with time zone", "time_zone", "Remove time_zone"]),
        ("instant", "UTC", ["is of type instant (timestamptz)", "Remove time_zone"]),
        ("text", None, ["is of type text", "timestamptz"]),
        ("text", "UTC", ["is of type text", "timestamptz"]),
        ("integer", None, ["is of type integer"]),
        ("time", "UTC", ["is of type time"]),
        ("timestamptz[]", None, ["timestamp with time zone[]"]),
        ("tstzrange", None, ["is of type tstzrange"]),
        ("timestamp", "Europe/Berlim", ["time_zone", "Europe/Berlim"]),
        ("timestamp", "CET", ["time_zone", "CET", "summer time"]),
        ("timestamp", "UTC+2", ["time_zone", "UTC+2"]),
        ("timestamp", "+02:00", ["time_zone", "+02:00"]),
    ],
)  # fmt: skip
def test_what_is_no_instant_is_refused(empty_database, source_at, of_type, zone, says):
    empty_database.execute("create domain local_time as timestamp")
    empty_database.execute("create domain instant as timestamptz")
    empty_database.execute(f"create table sales (id int, at {of_type})")
    record = record_of(*(dt.datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (0, 1)))
    source = source_at(zone=zone)

    for call in (partial(source.check, "orders"), partial(source.count, record),
                 lambda: list(source.read(record))):  # fmt: skip
        with pytest.raises(MoveFailed) as refused:
            call()
        for part in says:
            assert part in str(refused.value)


def test_a_table_or_a_column_that_is_missing_is_refused(empty_database, source_at):
    with pytest.raises(MoveFailed, match=r'relation "public\.sales" does not exist'):
        source_at().check("orders")
    empty_database.execute("create table sales (id int, sold_at timestamptz)")
    with pytest.raises(MoveFailed, match=r"has no column at, (.|\n)*Its columns are id, sold_at"):
        source_at().check("orders")


@pytest.mark.parametrize(("column", "table"), [("at", "s" * 64), ("ä" * 32, "sales")])
def test_a_name_that_the_server_would_cut_is_refused(source_at, column, table):
    with pytest.raises(ValueError, match="longer than 63 bytes"):
        source_at(column, table=table)


@pytest.mark.parametrize("of_type", ["timestamp", "date"])
def test_an_index_on_the_column_serves_a_window(empty_database, source_at, of_type):
    empty_database.execute(
        f"create table sales as select n as id, (timestamp '2000-01-01' + n * interval '1 hour')"
        f"::{of_type} as at from generate_series(0, 50000) as n;"
        "create index on sales (at); analyze sales"
    )
    record = record_of(*(dt.datetime(2002, 10, 25, hour, tzinfo=UTC) for hour in (0, 1)))
    source = source_at(zone="Europe/Berlin")
    with source._transaction() as connection:
        where, parameters = source._window(connection, record)
        ((plan,),) = connection.execute(
            sql.SQL("explain (analyze, format json) select from sales as t where {}").format(where),
            parameters,
        )

    node = plan[0]["Plan"]
    while "Plans" in node:
        (node,) = node["Plans"]
    assert "at" in node["Index Cond"]
    # Two days would be 48 rows or more.
    assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= 48


def test_a_row_is_moved_whole_when_a_column_has_the_name_of_an_alias(
    empty_database, source_at, read
):
    empty_database.execute("create table sales (id int, at timestamptz, t text, sales text)")
    empty_database.execute("insert into sales values (1, '2026-10-25T00:30Z', 'x', 'y')")
    record = record_of(*(dt.datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (0, 1)))

    assert read(source_at(), record) == [1]
