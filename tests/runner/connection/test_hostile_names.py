"""No name that the project uses is looked up where a stranger can have put a better match.

Exact variants of every function and operator in use lie in schema public (tests.support.traps), and
a superuser deploys, upgrades, reads, works and operates: none of them is called, none is bound.
"""

from __future__ import annotations

import json
import re
import sys

import pytest

from record_ledger import queries
from record_ledger.cli import main
from record_ledger.server.deploy import deploy
from record_ledger.server.doctor import examine
from tests.support.databases import open_connection
from tests.support.releases import RELEASES, release_script
from tests.support.traps import FOREIGN_REFERENCES, bound_names, plant, sprung

pytestmark = pytest.mark.slow

STATEMENTS = {
    name: text
    for name, text in vars(queries).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str)
}


@pytest.fixture(scope="module")
def hostile(databases):
    """A database with the ledger, in which the traps were planted before it was deployed."""
    dsn = databases.empty()
    with open_connection(dsn) as connection:
        assert plant(connection) > 1800
    deploy(dsn)
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def admin(hostile):
    with open_connection(hostile) as connection:
        yield connection


def assert_nothing_sprung(connection):
    assert sprung(connection) is None
    assert connection.execute(FOREIGN_REFERENCES).fetchall() == []


def test_a_deploy_and_another_one_find_the_catalogues_names(hostile, admin):
    deploy(hostile)
    assert_nothing_sprung(admin)


@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_finds_the_catalogues_names(empty_dsn, release):
    with open_connection(empty_dsn) as connection:
        connection.execute(release_script(release))
        connection.execute(
            "select record_ledger.register_pipeline(%s)",
            [json.dumps({"timezone": "UTC", "x_time_back": "1h", "granularity": "6h",
                         "default_record": {"pipeline_id": "old"}})],
        )  # fmt: skip
        plant(connection)
        deploy(empty_dsn)
        assert_nothing_sprung(connection)


@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_frees_checks_from_operators_of_other_schemas(empty_dsn, release):
    with open_connection(empty_dsn) as connection:
        connection.execute(
            'create schema "Odd one"; grant create on schema "Odd one" to public;'
            'create function "Odd one".eq(numeric, integer) returns boolean language plpgsql '
            "as $$ begin return pg_catalog.numeric_eq($1, $2::pg_catalog.numeric); end $$;"
            'create operator "Odd one".= '
            '(leftarg = numeric, rightarg = integer, function = "Odd one".eq);'
            'set search_path = pg_catalog, "Odd one"'
        )
        connection.execute(release_script(release))
        bound = {row[0] for row in connection.execute(FOREIGN_REFERENCES)}
        assert "constraint durations_are_elapsed_time on table record_ledger.pipeline" in bound
        connection.execute(
            'create or replace function "Odd one".eq(numeric, integer) returns boolean '
            "language plpgsql as $$ begin raise exception 'TRAP'; end $$"
        )
        deploy(empty_dsn)
        assert connection.execute(FOREIGN_REFERENCES).fetchall() == []
        connection.execute('drop schema "Odd one" cascade')
        # They still check what they did.
        checks = connection.execute(
            "select count(*) from pg_constraint "
            "where conrelid = 'record_ledger.pipeline'::regclass and contype = 'c' "
            "and convalidated and pg_get_constraintdef(oid) ~ 'EXTRACT'"
        ).fetchone()
        assert checks == (2,)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_of_the_runner_binds_the_catalogues_names(admin, name):
    text = re.sub(r"%\(\w+\)s|%s", "null", STATEMENTS[name]).replace("%%", "%")
    if re.match(r"\s*(call|set) ", text):
        return
    assert bound_names(admin, "statement", "statement() returns void", text) == []


# Called for each row, or several times in each pass: a setting of their own would cost too much.
# Here with what they are called with, so that each of their expressions is looked up.
WITHOUT_A_PATH = {
    "local_day": ["'2026-03-29T01:00:00Z', 'Europe/Berlin'"],
    "local_instant": [
        "timestamp '2026-03-29 02:30', 'Europe/Berlin'",
        "timestamp '2026-10-25 02:30', 'Europe/Berlin'",
        "timestamp '2026-10-25 12:30', 'UTC'",
        # A whole day is skipped: the end of the gap is searched for.
        "timestamp '2011-12-30 12:00', 'Pacific/Apia'",
        "timestamp '2011-12-30 23:00', 'Pacific/Apia'",
    ],
    "local_time": [
        "'2026-03-29T01:00:00Z', 'Europe/Berlin'",
        "'2026-03-29T01:00:00.25Z', 'America/St_Johns'",
    ],
    # A procedure, which commits.
    "range_in_steps": [
        "'waive', 'orders', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z', 'a test', 0",
    ],
    "missing_fields": ["""'{"a": "", "b": 1, "c": null}', array['a', 'b', 'c', 'd']"""],
    "next_window": [
        "'2026-03-28T23:00:00Z', '5h', 'Europe/Berlin'",
        "'2026-03-28T23:00:00Z', '24h', 'Europe/Berlin'",
    ],
    "time_interval": [
        "'2026-03-28T23:00:00Z', '2026-03-29T04:01:01Z'",
        "'2026-03-28T23:00:00Z', '2026-03-29T00:00:00Z'",
    ],
}
CALLABLE = """
select p.proname::text, l.lanname::text, p.prosrc, pg_catalog.pg_get_function_arguments(p.oid),
    pg_catalog.pg_get_function_result(p.oid)
from pg_catalog.pg_proc as p
join pg_catalog.pg_language as l on l.oid operator(pg_catalog.=) p.prolang
where p.pronamespace operator(pg_catalog.=) 'record_ledger'::regnamespace::oid
    and pg_catalog.has_function_privilege('record_ledger_runner'::name, p.oid, 'execute'::text)
    and not p.prosecdef
    and (p.proconfig is null or not 'search_path=pg_catalog, pg_temp' = any (p.proconfig))
order by p.proname
"""


def test_what_users_may_call_finds_the_catalogues_names_or_has_a_path_of_its_own(admin):
    admin.execute(
        "select record_ledger.register_pipeline(%s)",
        [json.dumps({"timezone": "UTC", "x_time_back": "1h", "granularity": "6h",
                     "default_record": {"pipeline_id": "orders"}})],
    )  # fmt: skip
    found = admin.execute(CALLABLE).fetchall()
    assert len(found) > 10
    problems = {}
    for name, language, body, arguments, result in found:
        if language == "plpgsql":
            assert name in WITHOUT_A_PATH, f"{name}: set search_path = pg_catalog, pg_temp"
            for call in WITHOUT_A_PATH[name]:
                verb = "call" if result is None else "select * from"
                admin.execute(f"{verb} record_ledger.{name}({call})")
                if sprung(admin):
                    problems[name] = sprung(admin)
        else:
            statement = body.rstrip().rstrip(";")
            bound = bound_names(admin, name, f"{name}({arguments}) returns {result}", statement)
            if bound:
                problems[name] = bound
    assert problems == {}


def test_every_command_finds_the_catalogues_names(  # noqa: PLR0915 - all of them in one life
    hostile, admin, config, tmp_path, capfd
):
    file = tmp_path / "config.json"
    given = config(
        "shop",
        granularity="6h",
        start_at="2026-11-20",
        fields={"key_x": "{{ window_start_time }}"},
        required_counts={"stages": ["source", "target"], "tolerance": "0.5%"},
        source_retention="9000d",
    )
    file.write_text(json.dumps(given))

    def run(*arguments):
        code = main([arguments[0], "--dsn", hostile, *arguments[1:]])
        printed = capfd.readouterr()
        assert sprung(admin) is None, (arguments, sprung(admin))
        assert "TRAP" not in printed.out + printed.err, arguments
        # Whatever the answer is, it is one: neither the usage was wrong nor the ledger away.
        assert code in (0, 1, 99), (arguments, printed.err)
        assert "Traceback" not in printed.err, arguments
        return printed.out

    def passed():
        return json.loads(run("run", "--config", str(file)))["record"]

    def claim(record):
        return ("--pipeline", "shop", "--claim-token", str(record["claim_token"]))

    record = passed()
    window = ("--window", record["window_start_time"])
    for stage in ("source", "target"):
        run("observe", stage, "5", *claim(record), *window)
    run("heartbeat", *claim(record))
    run("complete", *claim(record))
    run("observe", "source", "50", "--pipeline", "shop", *window)
    record = passed()
    run("observe", "source", "5", *claim(record), "--window", record["window_start_time"])
    run("fail", *claim(record), "--error", "no")
    run("release", *claim(passed()))
    passed()
    run("waive-counts", "shop", "2026-11-20T12:00", "--reason", "x")
    for json_or_not in ([], ["--json"]):
        for command in ("status", "why", "at-risk", "lateness", "changed"):
            run(command, *json_or_not)
        for command in (
            "status", "why", "plan", "recount-due", "suggest-x-time-back", "lateness", "at-risk",
            "changed", "coverage",
        ):  # fmt: skip
            run(command, "shop", *json_or_not)
        run("history", "shop", "2026-11-20", *json_or_not)
        run("why", "shop", "--window", "2026-11-20T12:00", *json_or_not)
        run("as-of", "2026-11-21T00:00:00Z", *json_or_not)
        run("as-of", "2026-11-21T00:00:00Z", "shop", *json_or_not)
        run("at-risk", "shop", "--all", *json_or_not)
    run("plan", "shop", "--runs", "5", "--workers", "2", "--at", "2026-12-01T00:00:00Z")
    run("coverage", "shop", "--from", "2026-11-20", "--to", "2026-11-21")
    run("status", "--fail-on", "behind=1h")
    run("is-day-sealed", "shop", "2026-11-20")
    days = ("--from", "2026-11-20", "--to", "2026-11-21", "--reason", "x")
    for command in ("waive", "reopen", "expire"):
        run(command, "shop", *days, "--dry-run")
        run(command, "shop", *days)
    run("backfill", "shop", "--from", "2026-11-10", "--reason", "x", "--dry-run")
    run("backfill", "shop", "--from", "2026-11-10", "--reason", "x")
    run("reopen-changed", "shop")
    run("pause", "shop", "--reason", "x")
    run("resume", "shop")
    run("exec", "--config", str(file), "--", sys.executable, "-c", "pass")
    run("waive", "shop", "--from", "2026-11-10", "--to", "2026-11-12", "--reason", "x")
    run("archive", "shop", "--before", "2026-11-11", "--dry-run")
    run("archive", "shop", "--before", "2026-11-11")
    run("history", "shop", "2026-11-10")
    run("retire", "shop", "--reason", "x")
    run("status", "--retired")
    run("doctor")
    assert_nothing_sprung(admin)


def test_doctor_and_every_view_find_the_catalogues_names(hostile, admin):
    assert {check.state for check in examine(hostile)} == {"ok"}
    for (view,) in admin.execute(
        "select relname from pg_catalog.pg_class where relkind = 'v' "
        "and relnamespace = 'record_ledger'::regnamespace"
    ).fetchall():
        admin.execute(f"select * from record_ledger.{view}").fetchall()
    assert_nothing_sprung(admin)
