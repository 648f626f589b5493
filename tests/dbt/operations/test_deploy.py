"""`dbt run-operation deploy_ledger`: the deploy of the runner, without Python but dbt's own."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg
import pytest

from record_ledger.server.deploy import deploy
from record_ledger.server.sql_files import deploy_script, package_release
from tests.dbt.support import PROJECT, Dbt, dbt_command, environment
from tests.support.deploy_macro import COMMAND, MACRO_FILE, current_macro, macro

# What a deploy makes, by name: the text of each routine and view, the columns, comments and grants.
MADE = """
select 'routine', p.oid::regprocedure::text, pg_get_functiondef(p.oid) || p.proacl::text
from pg_proc as p
where p.pronamespace = 'record_ledger'::regnamespace
union all
select 'view', c.relname, pg_get_viewdef(c.oid) || c.relacl::text
from pg_class as c
where c.relnamespace = 'record_ledger'::regnamespace and c.relkind = 'v'
union all
select 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
where c.relnamespace = 'record_ledger'::regnamespace and a.attnum > 0
union all
select 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description
from pg_description as d
where pg_describe_object(d.classoid, d.objoid, d.objsubid) like '%record_ledger.%'
union all
select 'migration', m.name, m.checksum
from record_ledger.migration as m
order by 1, 2
"""
OBJECTS = """
select count(*) from pg_class where relnamespace = to_regnamespace('record_ledger')
union all
select count(*) from pg_proc where pronamespace = to_regnamespace('record_ledger')
"""


def test_the_macro_holds_the_deploy_script():
    current = MACRO_FILE.read_text(encoding="utf-8")
    assert current == current_macro(), f"sql/ or the release has changed: run `{COMMAND}`"


def test_a_script_that_would_leave_its_raw_block_is_no_macro():
    assert "{{ x }}" in macro("select '{{ x }}{% y %}{# z #}';")
    with pytest.raises(ValueError, match="endraw"):
        macro("select '{%- endraw %}';")


def test_the_operation_deploys_what_the_runner_deploys_and_again_changes_nothing(
    empty_dsn, ledger_dsn, tmp_path, connect, capsys
):
    dbt = Dbt(empty_dsn, tmp_path)

    def deploy_ledger():
        outcome = dbt("run-operation", "deploy_ledger")
        assert outcome.success, outcome.error
        return json.loads(capsys.readouterr().out)

    first = deploy_ledger()
    made = connect(dsn=empty_dsn).execute(MADE).fetchall()
    again = deploy_ledger()

    release = package_release()
    migrations = sorted(path.stem for path in (PROJECT.parent / "sql" / "migrations").glob("*"))
    assert first == {
        "outcome": "fresh",
        "release": release,
        "previous_release": None,
        "applied_migrations": migrations,
    }
    assert made == connect(dsn=ledger_dsn).execute(MADE.replace("%", "%%"), []).fetchall()
    assert again == {
        "outcome": "unchanged",
        "release": release,
        "previous_release": release,
        "applied_migrations": [],
    }
    assert connect(dsn=empty_dsn).execute(MADE).fetchall() == made
    # Checksums are of what reached the server: nothing on the way has changed a character.
    assert deploy(empty_dsn).outcome == "unchanged"


@pytest.mark.slow
def test_a_deploy_that_fails_leaves_nothing_and_one_onto_a_newer_release_is_refused(
    empty_dsn, tmp_path, connect
):
    dbt = Dbt(empty_dsn, tmp_path)
    connection = connect(dsn=empty_dsn)
    connection.execute("create schema record_ledger; create table record_ledger.record (x integer)")
    before = connection.execute(OBJECTS).fetchall()

    outcome = dbt("run-operation", "deploy_ledger")

    assert not outcome.success
    assert "is not empty and holds no ledger: table record_ledger.record" in outcome.error
    assert connection.execute(OBJECTS).fetchall() == before

    connection.execute("drop table record_ledger.record")
    connection.execute(deploy_script("999.0.0"))
    before = connection.execute(OBJECTS).fetchall()
    outcome = dbt("run-operation", "deploy_ledger")
    assert not outcome.success
    release = package_release()
    assert f"deploy refused: the database holds release 999.0.0, newer than {release}" in (
        outcome.error
    )
    assert "Upgrade the record-ledger package" in outcome.error
    assert connection.execute(OBJECTS).fetchall() == before


@pytest.mark.slow
def test_deploys_at_once_wait_for_each_other_and_all_succeed(empty_dsn, tmp_path, connect):
    commands = [
        [dbt_command(), "--warn-error", "--quiet", "run-operation", "deploy_ledger",
         "--project-dir", PROJECT, "--profiles-dir", PROJECT]
    ] * 2 + [[sys.executable, "-m", "record_ledger", "deploy", "--dsn", empty_dsn]]  # fmt: skip
    with psycopg.connect(empty_dsn) as holder:
        holder.execute(
            "select pg_advisory_xact_lock(hashtext('record_ledger'), hashtext('deploy'))"
        )
        started = [
            subprocess.Popen(
                command,
                env=environment(empty_dsn, tmp_path / str(number)),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            )
            for number, command in enumerate(commands)
        ]  # fmt: skip
        waiting = (
            "select count(*) from pg_locks where locktype = 'advisory' and not granted and "
            "database = (select oid from pg_database where datname = current_database())"
        )
        watcher = connect(dsn=empty_dsn)
        while watcher.execute(waiting).fetchone() != (len(commands),):
            assert all(process.poll() is None for process in started)
    answers = [json.loads(process.communicate()[0]) for process in started]
    assert [process.returncode for process in started] == [0] * len(commands)
    # Each reads what is deployed before it waits.
    assert {answer["release"] for answer in answers} == {package_release()}
    applied = connect(dsn=empty_dsn).execute("select count(*) from record_ledger.migration")
    assert applied.fetchone() == (len(answers[0]["applied_migrations"]),)
