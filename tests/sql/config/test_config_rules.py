"""The config table, rule by rule at its boundaries; what is wrong is said with key, value and advice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import one, refused, register, rows

HOUR = timedelta(hours=1)


def change(config, **changes):
    """A valid config with some keys changed; `default_record=...` and the like take a key away."""
    return config("orders", fields={"key_x": "a"}, **changes)


WRONG = {
    "timezone": [
        ..., "", "Mars/Olympus", "PST8PDX", "europe/berlin", "+02:00", "UTC+1", 7, ["UTC"], {}, True,
        "America/Los_Angeles ", "Europe/Berlin'; drop table x; --",
    ],
    "x_time_back": [
        ..., "", "1", "90", 86400, 1.5, "-1s", "-1d25h", "1 month", "1y", "1mon", "P1M", "P1Y", "infinity",
        "-infinity", "1d 2", "yesterday", "01:30:00", "1d ago", "36500d1s", "P", "PT", "1h;", "½h", [], True,
        {"days": 1}, "999999999999999999999999d",
    ],
    "granularity": [
        ..., "", "0s", "999ms", "1.5s", "0.5s", "1001ms", "1d1s", "24h1s", "86401s", "25h", "2d", "-2h", "2",
        "1 month", "P1M", "infinity", 3600, True, [],
    ],
    "lease": ["", "0s", "999ms", "-1h", "1", 60, "1 month", "36500d1s", "infinity", False],
    "retry_delay": ["", "-1us", "5", 300, "1 month", "36500d1s", [], True],
    "max_attempts": [0, -1, 1.5, "3", 1_000_000_000, True, [], {}],
    "max_active_records": [0, -1, 0.5, "1", 1_000_000_000, False, []],
    "depends_on_past": ["true", 0, 1, "yes", [], {}],
    "start_at": [
        "", "today", "tomorrow", "infinity", "epoch", "2026-13-01", "2026-02-30", "01/02/2026", "20260101",
        "2026-01-01T25:00", "2026-01-01T06", "2026-01-01T06:00+25:00", "2026-01-01T06:00 PST", 20260101, True,
        ["2026-01-01"], "2026-W01", "2026-01-01T06:00:00.1234567", "10000-01-01", "0000-01-01",
    ],
    "check_fields": ["key_x", {"key_x": 1}, 3, True],
    "default_record": [..., [], "orders", 3, True],
}  # fmt: skip


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_refused_naming_key_and_value_and_leaves_no_row(ledger, config, key):
    for value in WRONG[key]:
        with refused("RL001", f"(?s){key}: ") as caught:
            register(ledger, change(config, **{key: value}))
            pytest.fail(f"{key} = {value!r} was taken")
        message = caught.value.diag.message_primary
        if value is ...:
            assert "missing" in message, message
        elif isinstance(value, str) and "'" not in value:
            assert f'"{value}"' in message, message
    assert rows(ledger, "select * from record_ledger.pipelines") == []
    assert rows(ledger, "select * from record_ledger.pipeline_events") == []


RIGHT = {
    "timezone": ["UTC", "Asia/Kathmandu", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "GMT", "EST"],
    "max_attempts": [1, 999_999_999],
    "max_active_records": [1, 999_999_999],
    "depends_on_past": [True, False],
    "check_fields": [
        [], ["key_x"], ["key_x", "source_name"], ["pipeline_id", "target_day", "window_start_time"],
        ["window_end_time", "time_interval"], ["key_x", "key_x"],
    ],
}  # fmt: skip


@pytest.mark.parametrize("key", RIGHT)
def test_a_right_value_is_taken_and_can_be_read_back(ledger, config, key):
    for value in RIGHT[key]:
        register(ledger, change(config, **{key: value}))
        assert one(ledger, f"select {key} from record_ledger.pipelines") == value


DURATIONS = {
    "x_time_back": {
        "0s": 0 * HOUR, "1us": timedelta(microseconds=1), "1d": 24 * HOUR, "PT26H": 26 * HOUR,
        "1d2h30m20s": timedelta(days=1, hours=2, minutes=30, seconds=20), "P1DT2H": 26 * HOUR,
        "1 day 2 hours": 26 * HOUR, "90m": 1.5 * HOUR, "1.5h": 1.5 * HOUR, "1w": 168 * HOUR, "P1W": 168 * HOUR,
        "36500d": 876_000 * HOUR, "500ms": timedelta(milliseconds=500), "100h": 100 * HOUR,
    },
    "granularity": {
        "1s": timedelta(seconds=1), "1d": 24 * HOUR, "24h": 24 * HOUR, "86400s": 24 * HOUR, "PT24H": 24 * HOUR,
        "23h59m59s": 24 * HOUR - timedelta(seconds=1), "1000ms": timedelta(seconds=1), "7h": 7 * HOUR,
    },
    "lease": {"1s": timedelta(seconds=1), "36500d": 876_000 * HOUR, "90m": 1.5 * HOUR},
    "retry_delay": {"0s": 0 * HOUR, "5m": HOUR / 12, "36500d": 876_000 * HOUR},
}  # fmt: skip


@pytest.mark.parametrize("key", DURATIONS)
def test_a_duration_is_elapsed_time(ledger, config, key):
    for text, expected in DURATIONS[key].items():
        register(ledger, change(config, **{key: text}))
        seconds = one(ledger, f"select extract(epoch from {key}) from record_ledger.pipelines")
        assert float(seconds) == expected.total_seconds(), text
        assert one(ledger, f"select extract(day from {key}) from record_ledger.pipelines") == 0


def test_what_is_not_given_has_its_default(ledger, config):
    register(ledger, config("orders"))
    assert rows(
        ledger,
        "select check_fields, start_at, max_active_records, depends_on_past, lease, max_attempts, retry_delay "
        "from record_ledger.pipelines",
    ) == [([], None, None, False, HOUR, 3, HOUR / 12)]


def test_a_null_counts_as_not_given(ledger, config):
    optional = [
        "check_fields", "start_at", "max_active_records", "depends_on_past", "lease", "max_attempts",
        "retry_delay", "pipeline_id",
    ]  # fmt: skip
    register(ledger, config("orders"))
    register(ledger, config("orders") | dict.fromkeys(optional))
    assert one(ledger, "select config_version from record_ledger.pipelines") == 1
    for key in ("timezone", "x_time_back", "granularity", "default_record"):
        with refused("RL001", f"(?s){key}: missing"):
            register(ledger, config("orders") | {key: None})


@pytest.mark.parametrize(
    ("top", "inner", "message"),
    [
        (..., ..., "pipeline_id: missing"),
        ("", ..., 'pipeline_id: ""'),
        (..., " \t", "pipeline_id: "),
        (7, ..., "pipeline_id: 7"),
        (..., ["a"], "pipeline_id: "),
        ("a" * 256, ..., "pipeline_id: .*255"),
        (..., "ä" * 128, "pipeline_id: .*255"),
        (..., "orders_{{ target_day }}", "pipeline_id: .*template"),
        (..., "{% raw %}", "pipeline_id: .*template"),
        ("orders", "invoices", 'pipeline_id: .*"orders".*"invoices"'),
    ],
)
def test_a_pipeline_needs_one_name(ledger, config, top, inner, message):
    given = config("orders")
    del given["default_record"]["pipeline_id"]
    if top is not ...:
        given["pipeline_id"] = top
    if inner is not ...:
        given["default_record"]["pipeline_id"] = inner
    with refused("RL001", message):
        register(ledger, given)


def test_the_name_may_stand_in_the_config_in_its_default_record_or_in_both(ledger, config):
    inner = config("orders")
    top = config("orders") | {
        "pipeline_id": "orders",
        "default_record": {"source_name": "elasticsearch"},
    }
    both = config("orders") | {"pipeline_id": "orders"}
    assert [register(ledger, given) for given in (inner, top, both)] == ["orders"] * 3
    assert one(ledger, "select count(*) from record_ledger.pipelines") == 1
    for longest in ("a" * 255, "ä" * 127, "Ω/\n'\"; -- %s"):
        assert register(ledger, config(longest)) == longest


def test_default_record_may_not_hold_a_column_of_the_ledger(ledger, config):
    columns = [
        "target_day", "window_start_time", "window_end_time", "time_interval", "status", "generation", "attempt",
        "claim_token", "run_id", "lease_expires_at", "created_at", "updated_at", "missing_fields", "retry_at",
        "config_version", "fields",
    ]  # fmt: skip
    with refused("RL001") as caught:
        register(ledger, config("orders", fields=dict.fromkeys(columns, "x")))
    for column in columns:
        assert f'"{column}"' in caught.value.diag.message_primary
    # The record that a pass gives, and the analysts' table, hold none that a field could take.
    shown = rows(
        ledger,
        "select attname from pg_attribute where attrelid = 'record_ledger.pipeline_records'::regclass "
        "and attnum > 0 and attname not in ('pipeline_id', 'key_x', 'key_y', 'key_z')",
    )
    for (column,) in shown:
        with refused("RL001", f'"{column}"'):
            register(ledger, config("orders", fields={column: "x"}))
    with refused("RL001", 'default_record: ""'):
        register(ledger, config("orders", fields={"": "x"}))


def test_all_problems_are_reported_in_one_error_each_with_its_key_and_value(ledger, config):
    wrong = {
        "timezone": "Europe/Berln",
        "x_time_back": "soon",
        "granularity": "2d",
        "check_fields": ["sorce_name", 3],
        "start_at": "someday",
        "max_active_records": -5,
        "depends_on_past": "maybe",
        "lease": "0s",
        "max_attempts": 0,
        "retry_delay": "-7m",
    }
    with refused("RL001", "orders") as caught:
        register(ledger, config("orders", fields={"status": "x"}, **wrong))
    message = caught.value.diag.message_primary
    for key, value in wrong.items():
        for part in value if isinstance(value, list) else [value]:
            assert f"{key}: " in message
            assert str(part) in message
    assert 'default_record: "status"' in message
    assert '"Europe/Berlin"' in message
    assert '"source_name"' in message
    assert "12 problems" in message
    assert len(message.splitlines()) == 13


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/Los Angeles", "America/Los_Angeles"),
        ("Los_Angeles", "America/Los_Angeles"),
        ("Asia/Katmandhu", "Asia/Katmandu"),
        ("Amercia/New_York", "America/New_York"),
    ],
)
def test_an_unknown_time_zone_suggests_near_names(ledger, config, zone, meant):
    with refused("RL001", f"timezone: .*did you mean .*{meant}"):
        register(ledger, config("orders", timezone=zone))


TWO_READINGS = """
    select bool_or(t::timestamp <> t at time zone %s)
    from generate_series(timestamptz '1990-01-01', timestamptz '2030-01-01', interval '30 days') as t
"""


def test_a_zone_whose_name_the_server_reads_in_two_ways_is_refused(ledger, config):
    two_ways = []
    for (zone,) in rows(ledger, "select name from pg_timezone_names order by 1"):
        ledger.execute("select set_config('timezone', %s, false)", [zone])
        if one(ledger, TWO_READINGS, [zone]):
            two_ways.append(zone)
    assert two_ways == ["CET", "EET", "MET", "WET"]
    for zone in two_ways:
        with refused("RL001", f'timezone: "{zone}" .* abbreviation .*"Europe/Berlin"'):
            register(ledger, config("orders", timezone=zone))


@pytest.mark.parametrize(
    "routine", ["register_pipeline(%s)", "store_new_and_pass_valid_record(%s, 'run')"]
)
def test_a_config_that_is_not_an_object_is_refused_in_one_sentence(ledger, routine):
    for given in (None, [], "orders", 7, True, [{}]):
        with refused("RL001", "config: .* is not a JSON object"):
            ledger.execute(f"select record_ledger.{routine}", [Jsonb(given)])
    with refused("RL001", "config: null"):
        ledger.execute(f"select record_ledger.{routine}", [None])
