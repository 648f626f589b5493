"""The record that a pass gives, and that a session's settings change nothing about any answer."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.support import (
    PIPELINE,
    Answer,
    complete,
    cycle,
    extend,
    fail,
    one,
    pass_valid,
    register,
    release,
    rows,
    store,
)


def test_a_record_is_flat_its_fields_and_the_ledgers_columns(ledger, clock, config):
    clock.set("2026-11-22T20:00:00.123456Z")
    given = config(PIPELINE, fields={"key_x": {"deep": [1, None]}, "key_y": None})
    answer = cycle(ledger, given | {"start_at": "2026-11-21"}, "a")
    assert answer.record == {
        "source_name": "elasticsearch",
        "target_name": "snowflake",
        "key_x": {"deep": [1, None]},
        "key_y": None,
        "pipeline_id": PIPELINE,
        "target_day": "2026-11-21",
        "window_start_time": "2026-11-21T00:00:00-08:00",
        "window_end_time": "2026-11-21T02:00:00-08:00",
        "time_interval": "2h",
        "status": "IN_PROGRESS",
        "generation": 1,
        "attempt": 1,
        "claim_token": answer.token,
        "run_id": "a",
        "lease_expires_at": "2026-11-22T13:00:00.123456-08:00",
        "created_at": "2026-11-22T12:00:00.123456-08:00",
        "updated_at": "2026-11-22T12:00:00.123456-08:00",
    }


def test_the_oldest_pending_record_has_the_same_shape_and_is_not_passed(ledger, clock, config):
    clock.set("2026-11-23T20:00:00Z")
    for name in ("b", "a"):
        register(ledger, config(name, start_at="2026-11-22"))
        store(ledger, name)
    pending = one(ledger, "select record_ledger.oldest_pending_record()")
    assert pending["pipeline_id"] == "a"
    assert (pending["status"], pending["claim_token"], pending["run_id"]) == ("PENDING", None, None)
    passed = pass_valid(ledger, "a", "x").record
    assert passed.keys() == pending.keys()
    changed = {"status", "attempt", "claim_token", "run_id", "lease_expires_at", "updated_at"}
    assert {k: v for k, v in passed.items() if k not in changed} == {
        k: v for k, v in pending.items() if k not in changed
    }
    assert one(ledger, "select record_ledger.oldest_pending_record('b')")["pipeline_id"] == "b"
    assert one(ledger, "select record_ledger.oldest_pending_record()")["pipeline_id"] == "b"


OFFSETS = [
    ("America/Los_Angeles", "2026-11-01T08:30Z", "2026-11-01T01:30:00-07:00"),
    ("America/Los_Angeles", "2026-11-01T09:30Z", "2026-11-01T01:30:00-08:00"),
    ("Asia/Kathmandu", "2026-06-01T00:00Z", "2026-06-01T05:45:00+05:45"),
    ("America/St_Johns", "2010-11-07T02:31Z", "2010-11-06T23:01:00-03:30"),
    ("Australia/Lord_Howe", "2026-10-03T15:30Z", "2026-10-04T02:30:00+11:00"),
    ("Pacific/Apia", "2011-12-30T10:00Z", "2011-12-31T00:00:00+14:00"),
    ("Europe/Dublin", "2026-01-01T00:00Z", "2026-01-01T00:00:00+00:00"),
    # The offset had seconds until 1972.
    ("Africa/Monrovia", "1970-01-01T00:00Z", "1969-12-31T23:15:30-00:44:30"),
]


@pytest.mark.parametrize(("zone", "start", "written"), OFFSETS)
def test_times_have_the_offset_that_the_server_computes_for_the_pipelines_zone(
    ledger, clock, config, zone, start, written
):
    given = config(PIPELINE, timezone=zone, x_time_back="0s", granularity="1m", start_at=start)
    clock.set(start)
    register(ledger, given)
    clock.advance("1m")
    assert cycle(ledger, given).record["window_start_time"] == written


SETTINGS = [
    {"timezone": "UTC"},
    {"timezone": "America/New_York", "datestyle": "German", "intervalstyle": "sql_standard"},
    {"timezone": "Pacific/Apia", "datestyle": "SQL, DMY", "intervalstyle": "iso_8601"},
    {"timezone": "Asia/Kathmandu", "datestyle": "Postgres, MDY", "intervalstyle": "postgres_verbose"},
    {"timezone": "<-13>+13", "datestyle": "ISO, YMD", "extra_float_digits": "-15", "bytea_output": "escape"},
    {"timezone": "Africa/Cairo", "array_nulls": "off", "transform_null_equals": "on", "quote_all_identifiers": "on"},
    {"timezone": "Atlantic/Azores", "timezone_abbreviations": "India", "lc_numeric": "C", "lc_time": "C",
     "standard_conforming_strings": "off"},
    {"timezone": "America/Havana", "plan_cache_mode": "force_custom_plan", "enable_indexscan": "off",
     "enable_nestloop": "off", "jit": "on"},
    {"timezone": "Asia/Tokyo", "enable_seqscan": "off", "enable_sort": "off", "search_path": "pg_temp"},
]  # fmt: skip


def story(connection, clock, config, name):
    """One of everything that the contract answers."""
    given = config(
        name, x_time_back="1d2h30m20s", granularity="5h", start_at="2026-10-31", lease="PT90M", retry_delay="7m",
        fields={"key_x": ""}, check_fields=["source_name"],
    )  # fmt: skip
    clock.set("2026-11-03T06:07:08.000009Z")
    register(connection, given)
    answers = [rows(connection, "select * from record_ledger.new_windows(%s)", [name])]
    answers.append(cycle(connection, given, "a"))
    fail(connection, answers[-1].token, "later", pipeline_id=name)
    answers.append(pass_valid(connection, name, "b"))
    answers.append(extend(connection, answers[-1].token, name).timestamp())
    release(connection, answers[-2].token, name)
    clock.advance("7m")
    answers += [pass_valid(connection, name, run) for run in ("b", "a", "c")]
    complete(connection, answers[-1].token, name)
    clock.advance("1h31m")
    answers.append(cycle(connection, given | {"check_fields": ["key_x"]}, "d"))
    template = given | {"default_record": {**given["default_record"], "key_x": "{{ target_day }}"}}
    answers.append(cycle(connection, template, "e"))
    for view, order in (
        ("pipelines", "1"), ("pipeline_records", "3"), ("record_events", "2, 3"), ("record_verdicts", "2"),
        ("oldest_valid_record", "1"), ("pipeline_progress", "1"), ("pipeline_events", "2"),
    ):  # fmt: skip
        query = f"select * from record_ledger.{view} where pipeline_id = %s order by {order}"
        answers.append(rows(connection, query, [name]))
    for wrong in (
        {"start_at": "03/04/2026"},
        {"x_time_back": "1 month"},
        {"x_time_back": "-1d25h"},
        {"start_at": "2026-03-08T02:30 PST"},
    ):
        try:
            answers.append(register(connection, given | wrong))
        except psycopg.Error as error:
            answers.append(error.diag.message_primary)
    # Tokens have random bits: they are compared by their order.
    tokens = [a.token for a in answers if isinstance(a, Answer) and a.record is not None]
    written = [repr(part) for part in answers]
    for number, token in enumerate(tokens):
        written = [part.replace(str(token), f"token {number}") for part in written]
    return [
        part.replace(f"'{name}'", "'PIPELINE'")
        .replace(f'pipeline "{name}"', "")
        .replace(f"pipeline {name}", "")
        for part in written
    ]


class Binary:
    """A connection that reads values in binary: how a session writes them is not what is compared."""

    def __init__(self, connection):
        self.connection = connection

    def execute(self, query, parameters=None):
        return self.connection.execute(query, parameters, binary=True)


def test_no_setting_of_a_session_changes_an_answer(ledger, connect, clock, config):
    first = None
    for number, settings in enumerate(SETTINGS):
        session = connect()
        for setting, value in settings.items():
            session.execute("select set_config(%s, %s, false)", [setting, value])
        answers = story(Binary(session), clock, config, f"p{number}")
        first = first or answers
        for part, expected in zip(answers, first, strict=True):
            assert part == expected, settings
        for setting in ("timezone", "search_path", "plan_cache_mode"):
            if setting in settings:
                assert one(session, "select current_setting(%s)", [setting]) == settings[setting]
