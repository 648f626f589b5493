"""Archiving: the oldest finished records go, oldest first, and what is gone is still answered for."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.archive.archiving import (
    EVER,
    START,
    WINDOWS,
    archivable,
    archived,
    change,
    eight_hours,
    finish,
    hour,
)
from tests.sql.support import (
    MICROSECOND,
    PIPELINE,
    archive,
    audit,
    complete,
    cycle,
    end,
    extend,
    fail,
    one,
    pass_valid,
    register,
    rows,
    snapshot,
    store,
    windows,
)


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config)


@pytest.fixture
def orders(given):
    return PIPELINE


# ---------------------------------------------------------------- which records go
def test_finished_records_go_up_to_the_first_open_one(ledger, orders):
    finish(ledger, 5)
    change(ledger, "reopen", hour(3))
    assert archive(ledger, EVER) == 3
    assert archived(ledger) == [hour(n) for n in range(3)]
    assert windows(ledger)[0] == (hour(3), hour(4))
    assert archive(ledger, EVER) == 0
    audit(ledger)


@pytest.mark.parametrize("status", ["PENDING", "IN_PROGRESS", "FAILED"])
def test_an_open_record_stays_with_all_that_came_after_it(ledger, orders, status):
    finish(ledger, 2)
    answer = pass_valid(ledger, PIPELINE, "holder")
    complete(ledger, pass_valid(ledger, PIPELINE, "later").token)
    if status != "IN_PROGRESS":
        fail(ledger, answer.token, retry=status == "PENDING")
    assert archivable(ledger)[0::4] == (
        2,
        f"window 2026-11-22T02:00:00+00:00 stays: it is {status}",
    )
    assert archive(ledger, EVER) == 2
    assert windows(ledger)[0][0] == hour(2)
    audit(ledger)


def test_waived_records_are_finished_too(ledger, orders):
    for n in range(3):
        change(ledger, "waive", hour(n))
    assert archive(ledger, EVER) == 3
    assert rows(
        ledger, "select distinct status, last_event from record_ledger.archived_records"
    ) == [("WAIVED", "waived")]
    audit(ledger)


def test_the_newest_record_of_a_pipeline_stays(ledger, clock, given, orders):
    finish(ledger, WINDOWS)
    assert archive(ledger, EVER) == WINDOWS - 1
    assert windows(ledger) == [(hour(7), hour(8))]
    assert archivable(ledger)[0::4] == (
        0,
        "window 2026-11-22T07:00:00+00:00 stays: it is the newest one of the pipeline",
    )
    clock.advance("1h")
    assert cycle(ledger, given, "next").start == hour(8)
    audit(ledger)


def test_a_window_goes_when_it_ends_at_before_and_not_a_microsecond_earlier(ledger, orders):
    finish(ledger, 6)
    assert archive(ledger, hour(2) - MICROSECOND) == 1
    assert archive(ledger, hour(2)) == 1
    assert archive(ledger, hour(2) + MICROSECOND) == 0
    assert archived(ledger) == [hour(0), hour(1)]
    assert archivable(ledger, hour(2))[0::4] == (
        0,
        "window 2026-11-22T02:00:00+00:00 stays: it ends after 2026-11-22T02:00:00+00:00",
    )
    assert archive(ledger, START) == archive(ledger, "0001-01-01T00:00:00Z") == 0
    audit(ledger)


def test_each_call_moves_so_many_and_the_oldest_first(ledger, orders):
    finish(ledger, 7)
    assert archivable(ledger, max_records=3) == (3, hour(0), hour(2), hour(3), None)
    assert archive(ledger, EVER, 3) == 3
    assert archived(ledger) == [hour(n) for n in range(3)]
    audit(ledger)
    assert archivable(ledger) == (
        4,
        hour(3),
        hour(6),
        hour(7),
        "window 2026-11-22T07:00:00+00:00 stays: it is PENDING",
    )
    assert [archive(ledger, EVER, 3) for _ in range(3)] == [3, 1, 0]
    audit(ledger)


def test_a_pipeline_without_windows_or_finished_records_has_nothing_to_archive(
    ledger, clock, config, orders
):
    register(ledger, config("empty"))
    assert archive(ledger, EVER, pipeline_id="empty") == archive(ledger, EVER) == 0
    assert one(ledger, "select reason from record_ledger.archivable_records('empty', now())") == (
        "no window is stored"
    )
    assert (
        one(ledger, "select count(*) from record_ledger.pipeline_events where event = 'archived'")
        == 0
    )
    audit(ledger)


# ---------------------------------------------------------------- what was moved
def test_a_record_and_its_events_are_in_the_archive_as_they_were(ledger, clock, orders):
    token = pass_valid(ledger, PIPELINE, "a").token
    fail(ledger, token, "no disk")
    finish(ledger, 3)
    columns = (
        "pipeline_id, window_start_time, window_end_time, target_day, time_interval, status, key_x, key_y, key_z, "
        "created_at, updated_at, fields, generation, attempt, claim_token, run_id, lease_expires_at, retry_at, "
        "missing_fields, config_version, last_event, last_detail"
    )
    query = f"select {columns} from record_ledger.{{}} where window_start_time < %s order by 1, 2"
    events = "select * from record_ledger.{} where window_start_time < %s order by 1, 2, 3"
    before = [
        rows(ledger, query.format("pipeline_records"), [hour(3)]),
        rows(ledger, events.format("record_events"), [hour(3)]),
    ]
    clock.advance("5m")
    assert archive(ledger, hour(3)) == 3
    assert before == [
        rows(ledger, query.format("archived_records"), [hour(3)]),
        rows(ledger, events.format("archived_record_events"), [hour(3)]),
    ]
    assert rows(ledger, "select distinct archived_at from record_ledger.archived_records") == [
        (clock.now(),)
    ]
    assert len(before[0]) == 3 and len(before[1]) == 8
    assert rows(ledger, query.format("pipeline_records"), [hour(3)]) == []
    assert rows(ledger, events.format("record_events"), [hour(3)]) == []


def test_the_archive_lies_in_a_partition_per_year_in_every_session(ledger, clock, config):
    clock.set("2026-01-01T12:00:00Z")
    register(ledger, config(PIPELINE, timezone="Pacific/Kiritimati", x_time_back="0s", granularity="1d",
                            start_at="2024-12-30"))  # fmt: skip
    store(ledger, PIPELINE)
    finish(ledger, 367)
    assert archive(ledger, "2025-01-01T00:00:00Z") == 2
    partitions = "select inhrelid::regclass::text from pg_inherits where inhparent = 'record_ledger.{}'::regclass order by 1"
    assert rows(ledger, partitions.format("archived_record")) == [
        ("record_ledger.archived_record_2024",)
    ]
    while archive(ledger, EVER, 100):
        pass
    for table in ("archived_record", "archived_record_event"):
        assert rows(ledger, partitions.format(table)) == [
            (f"record_ledger.{table}_{year}",) for year in (2024, 2025)
        ]
        assert rows(
            ledger,
            f"select tableoid::regclass::text, extract(year from min(window_start_time) at time zone 'UTC')::int, "
            f"extract(year from max(window_start_time) at time zone 'UTC')::int from record_ledger.{table} "
            "group by 1 order by 1",
        ) == [(f"record_ledger.{table}_{year}", year, year) for year in (2024, 2025)]  # fmt: skip
    assert len(archived(ledger)) == 367
    audit(ledger)


def test_each_call_that_moved_something_is_an_event_of_the_pipeline(ledger, clock, orders):
    finish(ledger, 4)
    archive(ledger, hour(3), 2)
    archive(ledger, hour(3), 2)
    archive(ledger, hour(3), 2)
    recorded = rows(
        ledger,
        "select event_no, event, actor = session_user, event_time, detail from record_ledger.pipeline_events "
        "where event = 'archived' order by 1",
    )
    before = "2026-11-22T03:00:00+00:00"
    assert recorded == [
        (2, "archived", True, clock.now(), {"count": 2, "until": "2026-11-22T02:00:00+00:00", "before": before}),
        (3, "archived", True, clock.now(), {"count": 1, "until": before, "before": before}),
    ]  # fmt: skip


def test_the_end_of_the_archive_is_where_the_ledger_begins(ledger, orders):
    end_of_archive = "select record_ledger.archive_end(%s)"
    finish(ledger, 4)
    assert one(ledger, end_of_archive, [PIPELINE]) is None
    archive(ledger, EVER, 3)
    assert one(ledger, end_of_archive, [PIPELINE]) == hour(3) == windows(ledger)[0][0]
    assert one(ledger, end_of_archive, ["unknown"]) is None


# ---------------------------------------------------------------- what is still answered
def test_a_run_whose_record_is_archived_gets_no_second_window(ledger, orders):
    finish(ledger, 3)
    archive(ledger, EVER)
    answer = pass_valid(ledger, PIPELINE, "run 1")
    assert (answer.exit_dag, answer.verdict) == (True, "ALREADY_DONE")
    assert answer.reason == (
        "run run 1 was passed window 2026-11-22T01:00:00+00:00, which is archived"
    )
    assert pass_valid(ledger, PIPELINE, "another").start == hour(3)


def test_tokens_of_archived_records_are_answered_as_before(ledger, clock, orders):
    released = pass_valid(ledger, PIPELINE, "a").token
    end(ledger, "release", released)
    again = [pass_valid(ledger, PIPELINE, "a").token for _ in range(2)]
    fail(ledger, again[1])
    unbound = pass_valid(ledger, PIPELINE).token
    complete(ledger, unbound)
    lapsed = pass_valid(ledger, PIPELINE).token
    clock.advance("2h")
    complete(ledger, pass_valid(ledger, PIPELINE).token)
    tokens = {"release": released, "fail": again[1], "complete": unbound}
    calls = {
        (how, token): _outcome(ledger, how, token)
        for how in ("complete", "fail", "release", "extend")
        for token in (*tokens.values(), again[0], lapsed, 10**6)
    }
    assert archive(ledger, EVER) == 2
    before = snapshot(ledger)
    assert {key: _outcome(ledger, *key) for key in calls} == calls
    assert snapshot(ledger) == before
    assert [how for (how, token), outcome in calls.items() if outcome is None] == [
        "complete", "fail", "release",
    ]  # fmt: skip
    assert calls["fail", unbound][1].endswith("the record was completed")
    assert calls["complete", lapsed][1].endswith("its lease expired")
    assert calls["complete", again[0]][1].endswith("with a newer token")
    assert "never passed" in calls["extend", 10**6][1]


def _outcome(ledger, how, token):
    """None when the call succeeds, else (SQLSTATE, message)."""
    try:
        extend(ledger, token) if how == "extend" else end(ledger, how, token)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary
    return None
