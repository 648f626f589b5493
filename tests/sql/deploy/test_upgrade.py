"""A ledger that an older release deployed, and used, is upgraded without losing a row."""

from __future__ import annotations

import json

import psycopg
import pytest

from record_ledger.server.sql_files import package_release, sql_directory
from tests.sql.invariants import audit
from tests.sql.support import entry
from tests.support.databases import deploy, open_connection
from tests.support.releases import RELEASES, release_script

pytestmark = pytest.mark.slow

VIEWS = ("pipelines", "pipeline_events", "pipeline_records", "record_events")

CONFIG = {
    "timezone": "Europe/Berlin",
    "x_time_back": "1h",
    "granularity": "6h",
    "start_at": "2026-03-27",
    "max_attempts": 2,
    "retry_delay": "0s",
    "check_fields": ["key_x"],
    "default_record": {"pipeline_id": "old", "key_x": "a"},
}


@pytest.fixture
def old_ledger(empty_dsn, request):
    """A ledger of an older release, with a record in every state that a run can bring about."""
    with open_connection(empty_dsn) as connection:
        connection.execute(release_script(request.param))
        call = "select record from record_ledger.store_new_and_pass_valid_record(%s, %s)"
        passed = {}
        for run in ("done", "given back", "failed", "failed for good", "held"):
            row = connection.execute(call, [json.dumps(CONFIG), run]).fetchone()
            passed[run] = row[0]["claim_token"]
            if run == "done":
                connection.execute(
                    "select record_ledger.complete_record('old', %s, '{\"rows\": 7}')",
                    [passed[run]],
                )
            elif run == "failed for good":
                connection.execute(
                    "select record_ledger.fail_record('old', %s, 'no', false)", [passed[run]]
                )
        connection.execute("select record_ledger.release_record('old', %s)", [passed["given back"]])
        connection.execute("select record_ledger.fail_record('old', %s, 'no')", [passed["failed"]])
        incomplete = {
            **CONFIG,
            "default_record": {"pipeline_id": "incomplete", "key_x": ""},
        }
        connection.execute(call, [json.dumps(incomplete), "nothing"])
        yield empty_dsn, connection, passed


def rows_of(connection, columns):
    return {
        view: connection.execute(
            f"select {', '.join(columns[view])} from record_ledger.{view} order by 1, 2, 3"
        ).fetchall()
        for view in VIEWS
    }


def columns_of(connection):
    return {
        view: [
            row[0]
            for row in connection.execute(
                "select attname from pg_attribute "
                "where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
                [f"record_ledger.{view}"],
            )
        ]
        for view in VIEWS
    }


def one(connection, query, *parameters):
    return connection.execute(query, parameters).fetchone()


@pytest.mark.parametrize("old_ledger", RELEASES, indirect=True)
def test_an_upgrade_keeps_every_row_and_claim(old_ledger):
    dsn, connection, passed = old_ledger
    columns = columns_of(connection)
    before = rows_of(connection, columns)
    assert before["pipeline_records"] and before["record_events"]

    deploy(dsn)

    assert rows_of(connection, columns) == before
    # What was passed by the older release is asked for its counts when the config asks for them.
    register = "select record_ledger.register_pipeline(%s)"
    connection.execute(register, [json.dumps({**CONFIG, "required_counts": ["a", "b"]})])
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("select record_ledger.complete_record('old', %s)", [passed["held"]])
    assert caught.value.sqlstate == "RL007"
    connection.execute(register, [json.dumps(CONFIG)])
    # The claims that were held go on, and ended ones stay ended.
    connection.execute("select record_ledger.complete_record('old', %s)", [passed["held"]])
    connection.execute("select record_ledger.complete_record('old', %s)", [passed["done"]])
    call = (
        "select verdict, (record ->> 'window_start_time')::timestamptz "
        "from record_ledger.pass_valid_record('old', %s)"
    )
    assert one(connection, call, "done")[0] == "ALREADY_DONE"
    assert one(connection, call, "failed for good")[0] == "FAILED"
    starts = [
        row[0]
        for row in connection.execute(
            "select window_start_time from record_ledger.pipeline_records "
            "where pipeline_id = 'old' order by 1 limit 6"
        )
    ]
    # The oldest record is finished, and what comes after it is not.
    archived = "select record_ledger.archive_records('old', '2100-01-01T00:00:00Z')"
    assert [one(connection, archived)[0] for _ in range(2)] == [1, 0]
    # Those given back are the oldest, and come before the windows that were never passed.
    assert [one(connection, call, f"new {n}")[1] for n in range(3)] == [
        starts[1],
        starts[2],
        starts[5],
    ]
    audit(connection)
    # What the older release's triggers refused is refused, but for what archiving needs.
    connection.execute("select record_ledger.observe_record('old', %s, 'source', 7)", [starts[1]])
    for table in (
        "record", "record_event", "record_observation", "claim", "archived_record", "archived_record_event",
    ):  # fmt: skip
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"delete from record_ledger.{table}")
        assert caught.value.sqlstate == "RL003"


TOKENS = "select window_start_time, claim_token from record_ledger.claim where pipeline_id = 'old' order by 2"


@pytest.mark.parametrize("old_ledger", RELEASES, indirect=True)
def test_an_upgrade_keeps_old_tokens_and_later_ones_are_greater(old_ledger):
    dsn, connection, passed = old_ledger
    before = connection.execute(TOKENS).fetchall()
    assert {token for _, token in before} == set(passed.values())

    deploy(dsn)

    assert connection.execute(TOKENS).fetchall() == before
    assert one(connection, "select to_regclass('record_ledger.claim_token_seq')") == (None,)
    starts = dict(map(reversed, before))
    held, other = passed["held"], passed["done"]
    state = "select state from record_ledger.claim_state('old', %s)"
    assert one(connection, state, held) == ("current",)
    # By its window, too: the older release's runner sent none.
    for window in (starts[other], "1999-01-01T00:00Z"):
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(
                "select record_ledger.complete_record('old', %s, window_start_time => %s)",
                [held, window],
            )
        assert caught.value.sqlstate == "RL004"
    call = "select record from record_ledger.pass_valid_record('old', %s)"
    newer = one(connection, call, "new")[0]["claim_token"]
    assert max(passed.values()) < 10**6 < newer < 2**53
    # The run that held its record is passed it again: the token of the older release is lost.
    again = one(connection, call, "held")[0]
    assert again["claim_token"] > newer
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("select record_ledger.fail_record('old', %s, 'late')", [held])
    assert caught.value.sqlstate == "RL004"
    connection.execute(
        "select record_ledger.complete_record('old', %s, '{}', %s)",
        [again["claim_token"], starts[held]],
    )
    # One function of each name: calls without a window find it as well.
    for name in ("complete_record", "fail_record", "release_record", "extend_lease", "end_claim"):
        found = "select count(*) from pg_proc where pronamespace = 'record_ledger'::regnamespace and proname = %s"
        assert one(connection, found, name) == (1,), name
    audit(connection)


@pytest.mark.parametrize("ending", ["complete", "release", "fail", "cancel"])
@pytest.mark.parametrize("old_ledger", RELEASES, indirect=True)
def test_a_claim_of_an_older_release_ends_with_its_token(old_ledger, ending):
    dsn, connection, passed = old_ledger
    window = one(
        connection,
        "select window_start_time from record_ledger.claim where claim_token = %s",
        passed["held"],
    )[0]
    deploy(dsn)
    status = "select status from record_ledger.pipeline_records where pipeline_id = 'old' and window_start_time = %s"
    calls = {
        "complete": "complete_record('old', %s)",
        "release": "release_record('old', %s)",
        "fail": "fail_record('old', %s, 'no')",
        "cancel": "fail_record('old', %s, 'as asked')",
    }
    if ending == "cancel":
        connection.execute(
            "select record_ledger.cancel_records('old', '-infinity', 'infinity', 'a test')"
        )
    connection.execute(f"select record_ledger.{calls[ending]}", [passed["held"]])
    expected = {"complete": "COMPLETED", "cancel": "FAILED"}.get(ending, "PENDING")
    assert one(connection, status, window) == (expected,)
    audit(connection)


@pytest.mark.parametrize("release", RELEASES)
def test_what_an_older_release_left_to_be_built_is_built_by_its_pass(empty_dsn, release):
    def config(name, fields, **changes):
        return json.dumps(CONFIG | {"default_record": {"pipeline_id": name, **fields}, **changes})

    templates = config("unbuilt", {"key_x": "{{ target_day }}"})
    with open_connection(empty_dsn) as connection:
        connection.execute(release_script(release))
        call = "select verdict, record from record_ledger.store_new_and_pass_valid_record(%s, %s)"
        register = "select record_ledger.register_pipeline(%s)"
        store = "call record_ledger.store_new_records(%s)"
        # Stored with the first config, and two have followed: one with other fields, one with another lease.
        for fields, lease in (
            ({"key_x": "a"}, "1h"),
            ({"key_x": "b"}, "1h"),
            ({"key_x": "b"}, "2h"),
        ):
            connection.execute(register, [config("changed", fields, lease=lease)])
            connection.execute(store, ["changed"])
        connection.execute(register, [templates])
        connection.execute(store, ["unbuilt"])
        # Incomplete by the config in force, and by an older one than that.
        for name, filled in (("empty", ""), ("fixed", "x")):
            connection.execute(register, [config(name, {"key_x": ""})])
            connection.execute(store, [name])
            connection.execute(register, [config(name, {"key_x": filled}, lease="3h")])

        deploy(empty_dsn)

        assert connection.execute(
            "select pipeline_id, config_version, fields_version from record_ledger.pipelines order by 1"
        ).fetchall() == [("changed", 3, 2), ("empty", 2, 1), ("fixed", 2, 2), ("unbuilt", 1, 1)]
        _, passed = one(connection, call, config("changed", {"key_x": "b"}, lease="2h"), "a")
        assert (passed["key_x"], passed["window_start_time"]) == ("b", "2026-03-27T00:00:00+01:00")
        assert (
            one(connection, call, config("empty", {"key_x": ""}, lease="3h"), "a")[0]
            == "INCOMPLETE"
        )
        _, passed = one(connection, call, config("fixed", {"key_x": "x"}, lease="3h"), "a")
        assert (passed["key_x"], passed["window_start_time"]) == ("x", "2026-03-27T00:00:00+01:00")
        (asked,) = one(
            connection,
            "select to_build from record_ledger.store_new_and_pass_valid_record(%s, 'a')",
            templates,
        )
        assert [w["window_start_time"] for w in asked[:2]] == [
            "2026-03-27T00:00:00+01:00",
            "2026-03-27T06:00:00+01:00",
        ]
        built = json.dumps([entry(window, {"key_x": "y"}) for window in asked])
        _, passed = one(
            connection,
            "select verdict, record from record_ledger.store_new_and_pass_valid_record(%s, 'a', %s)",
            templates,
            built,
        )
        assert (passed["key_x"], passed["window_start_time"]) == ("y", "2026-03-27T00:00:00+01:00")
        assert one(
            connection,
            "select count(*) from record_ledger.record_verdicts "
            "where pipeline_id <> 'empty' and verdict = 'INCOMPLETE'",
        ) == (0,)
        audit(connection)


def test_the_migrations_of_a_release_are_never_edited():
    released = "".join(map(release_script, RELEASES))
    for path in sorted((sql_directory() / "migrations").glob("*.sql")):
        if f"'{path.stem}'" in released:
            assert path.read_text(encoding="utf-8") in released, f"{path.name} was edited"


def test_the_scripts_of_earlier_releases_are_kept_and_not_that_of_this_one():
    assert {"0.1.0", "0.2.0", "0.3.0", "0.4.0"} <= set(RELEASES)
    assert package_release() not in RELEASES


# ---------------------------------------------------------------- the zone that windows were cut with
ZONES = {
    "timezone": "UTC",
    "x_time_back": "0s",
    "granularity": "1d",
    "start_at": "2026-01-05",
}
VIEW = """
    select window_start_time at time zone 'UTC', window_timezone
    from record_ledger.{} where pipeline_id = %s order by 1
"""


def lived(connection, pipeline_id, steps, fields=None):
    """Registers and stores by the older release: each step is a config's changes, and days to store."""
    for number, (changes, until) in enumerate(steps):
        config = {
            **ZONES,
            **changes,
            "default_record": {"pipeline_id": pipeline_id, **(fields or {})},
        }
        # The older release's own clock, which stands still while a step lasts.
        connection.execute(
            "create or replace function record_ledger.clock() returns timestamptz language sql stable "
            f"as $$ select timestamptz '{until or steps[number - 1][1]}' + interval '{number} us' $$"
        )
        connection.execute("select record_ledger.register_pipeline(%s)", [json.dumps(config)])
        if until is not None:
            connection.execute("call record_ledger.store_new_records(%s)", [pipeline_id])
    return config


def stretches(connection, view, pipeline_id):
    found = connection.execute(VIEW.format(view), [pipeline_id]).fetchall()
    return [
        (start.isoformat(), zone)
        for (_, before), (start, zone) in zip([(None, None), *found], found, strict=False)
        if zone != before
    ]


@pytest.fixture
def older(empty_dsn, request):
    with open_connection(empty_dsn) as connection:
        connection.execute(release_script(request.param))
        yield empty_dsn, connection


@pytest.mark.parametrize("older", RELEASES, indirect=True)
def test_an_upgrade_finds_the_zone_that_windows_were_cut_with(older):
    dsn, connection = older
    berlin, tokyo = {"timezone": "Europe/Berlin"}, {"timezone": "Asia/Tokyo"}
    lived(connection, "one", [({}, "2026-01-08Z"), ({"lease": "2h"}, "2026-01-10Z")])
    moved = [({}, "2026-01-08Z"), (berlin, "2026-01-10Z"), (tokyo, None), (berlin, "2026-01-11Z")]
    lived(connection, "moved", moved)
    lived(connection, "waits", [({}, "2026-01-08Z"), (berlin, None)])
    # Stored unbuilt: when they were stored is all that is known.
    templated = {"key_x": "{{ target_day }}"}
    config = lived(connection, "unbuilt", [({}, "2026-01-08Z"), (berlin, "2026-01-10Z")], templated)
    # One of them is built with the newer config, by a call of that release.
    call = "select to_build from record_ledger.store_new_and_pass_valid_record(%s, null, %s)"
    (to_build,) = one(connection, call, json.dumps(config), "[]")
    built = [
        {"window_start_time": w["window_start_time"], "fields": {"key_x": "x"}} for w in to_build
    ]
    one(connection, call, json.dumps(config), json.dumps(built))
    lived(connection, "silent", [(berlin, "2026-01-08Z")])
    # As if its events had been lost.
    connection.execute("set session_replication_role = replica")
    connection.execute("delete from record_ledger.pipeline_event where pipeline_id = 'silent'")
    connection.execute("reset session_replication_role")
    config = {**ZONES, "default_record": {"pipeline_id": "empty"}}
    connection.execute("select record_ledger.register_pipeline(%s)", [json.dumps(config)])

    deploy(dsn)

    first = ("2026-01-05T00:00:00", "UTC")
    found = {
        name: stretches(connection, "pipeline_records", name)
        for name in ("one", "moved", "waits", "unbuilt", "silent", "empty")
    }
    assert found == {
        "one": [first],
        "moved": [first, ("2026-01-08T00:00:00", "Europe/Berlin")],
        "waits": [first],
        "unbuilt": [first, ("2026-01-08T00:00:00", "Europe/Berlin")],
        "silent": [("2026-01-04T23:00:00", "Europe/Berlin")],
        "empty": [],
    }
    since = dict(
        connection.execute(
            "select pipeline_id, zone_since::text from record_ledger.pipeline"
        ).fetchall()
    )
    assert {name for name in since if since[name] is not None} == {
        "one",
        "moved",
        "unbuilt",
        "silent",
    }
    assert {name for name in since if since[name] is None} == {"waits", "empty"}
    audit(connection)


@pytest.mark.parametrize("older", RELEASES, indirect=True)
def test_an_upgrade_and_a_change_of_zone_keep_every_sealed_day(older):
    dsn, connection = older
    lived(connection, "p", [({}, "2026-01-12Z")])
    call = (
        "select (record ->> 'claim_token')::bigint from record_ledger.pass_valid_record('p', null)"
    )
    while (token := one(connection, call)[0]) is not None:
        connection.execute("select record_ledger.complete_record('p', %s)", [token])
    deploy(dsn)
    days = [f"2026-01-{day:02}" for day in range(5, 12)]
    sealed = "select record_ledger.is_day_sealed('p', %s)"
    assert [one(connection, sealed, day)[0] for day in days] == [True] * 7
    covered = "select local_date::text from record_ledger.daily_coverage where is_sealed order by 1"
    for zone, expected in (
        ("Europe/Berlin", days[1:]),
        ("America/Los_Angeles", days[:-1]),
        ("UTC", days),
    ):
        config = {**ZONES, "timezone": zone, "default_record": {"pipeline_id": "p"}}
        connection.execute("select record_ledger.register_pipeline(%s)", [json.dumps(config)])
        # To the east the first day begins before the first window, to the west the last one ends after the last.
        assert [day for day in days if one(connection, sealed, day)[0]] == expected
        assert [row[0] for row in connection.execute(covered)] == expected
    # What is archived stays sealed as well.
    connection.execute("select record_ledger.archive_records('p', '2026-01-09Z')")
    assert [one(connection, sealed, day)[0] for day in days] == [True] * 7
    assert stretches(connection, "archived_records", "p") == [("2026-01-05T00:00:00", "UTC")]
