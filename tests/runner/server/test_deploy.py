"""Deploying: one transaction, the same text for psql, repeatable, refusing to step back."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from record_ledger import DeployRefused, LedgerError, RecordLedger
from record_ledger.cli import main
from record_ledger.server.deploy import deploy, deploy_if_missing
from record_ledger.server.sql_files import deploy_script, package_release, sql_directory


@pytest.fixture
def sql_copy(tmp_path):
    """A copy of the SQL files that a test may change."""
    return shutil.copytree(sql_directory(), tmp_path / "sql")


def objects(dsn):
    """Every object of the schema, with its definition's fingerprint."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            """
            select p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)), p.proacl::text
            from pg_proc as p
            where p.pronamespace = 'record_ledger'::regnamespace
            union all
            select c.oid::regclass::text, coalesce(md5(pg_get_viewdef(c.oid)), ''), c.relacl::text
            from pg_class as c
            where c.relnamespace = 'record_ledger'::regnamespace and c.relkind in ('v', 'r', 'S')
            order by 1
            """
        ).fetchall()


def test_a_fresh_deploy_says_so_and_a_repeated_one_changes_nothing(empty_dsn):
    first = deploy(empty_dsn)
    before = objects(empty_dsn)
    second = deploy(empty_dsn)

    assert first.outcome == "fresh"
    assert first.release == package_release()
    assert first.previous_release is None
    assert first.applied_migrations[0] == "0001_tables"
    assert second.outcome == "unchanged"
    assert second.applied_migrations == ()
    assert objects(empty_dsn) == before


def test_deploying_leaves_records_as_they_are(ledger_dsn, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    with RecordLedger(ledger_dsn) as runner:
        record = runner.store_new_and_pass_valid_record(config("orders")).record
        before = runner.pipeline_records("orders")
        deploy(ledger_dsn)

        assert runner.pipeline_records("orders") == before
        runner.complete_record("orders", record["claim_token"])


@pytest.mark.parametrize("default", ["read committed", "serializable"])
def test_two_deploys_at_once_both_succeed(empty_dsn, default):
    with psycopg.connect(empty_dsn, autocommit=True) as owner:
        owner.execute(
            psycopg.sql.SQL("alter database {} set default_transaction_isolation = {}").format(
                psycopg.sql.Identifier(owner.info.dbname), psycopg.sql.Literal(default)
            )
        )
    results, errors = [], []

    def work():
        try:
            results.append(deploy(empty_dsn))
        except LedgerError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(results) == 3


def test_psql_deploys_the_same_with_the_printed_script(empty_dsn, databases, capsys):
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql here")
    assert main(["deploy", "--print-sql"]) == 0
    script = capsys.readouterr().out
    assert script == deploy_script(package_release())

    done = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty_dsn],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    other = databases.empty()
    deploy(other)
    assert objects(empty_dsn) == objects(other)
    assert deploy(empty_dsn).outcome == "unchanged"
    databases.drop(other)


def test_the_command_prints_what_it_did(empty_dsn, capsys):
    assert main(["deploy", "--dsn", empty_dsn]) == 0
    fresh = json.loads(capsys.readouterr().out)
    assert main(["deploy", "--dsn", empty_dsn]) == 0
    again = json.loads(capsys.readouterr().out)

    assert fresh["outcome"] == "fresh"
    assert again == {
        "outcome": "unchanged",
        "release": package_release(),
        "previous_release": package_release(),
        "applied_migrations": [],
        "notices": [],
    }


def test_an_edited_migration_is_refused_and_nothing_is_changed(ledger_dsn, sql_copy, monkeypatch):
    migration = sql_copy / "migrations" / "0001_tables.sql"
    migration.write_text(migration.read_text(encoding="utf-8") + "\n-- edited\n", encoding="utf-8")
    monkeypatch.setattr("record_ledger.server.sql_files.sql_directory", lambda: sql_copy)
    before = objects(ledger_dsn)

    with pytest.raises(DeployRefused, match="0001_tables") as caught:
        deploy(ledger_dsn)

    assert caught.value.sqlstate == "RL006"
    assert objects(ledger_dsn) == before


def test_line_ends_of_windows_are_no_edit(ledger_dsn, sql_copy, monkeypatch):
    for path in sql_copy.rglob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr("record_ledger.server.sql_files.sql_directory", lambda: sql_copy)

    assert deploy(ledger_dsn).outcome == "unchanged"


def test_a_newer_release_in_the_database_is_refused(ledger_dsn, ledger):
    ledger.execute("insert into record_ledger.deployment (release) values ('99.0.0')")

    with pytest.raises(DeployRefused, match=r"99\.0\.0"):
        deploy(ledger_dsn)


def test_a_new_migration_is_an_upgrade(ledger_dsn, sql_copy, monkeypatch):
    monkeypatch.setattr("record_ledger.server.sql_files.sql_directory", lambda: sql_copy)
    last = max(sql_copy.joinpath("migrations").glob("*.sql"))
    number = int(last.stem[:4]) + 1
    name = f"{number:04d}_quote"
    (sql_copy / "migrations" / f"{name}.sql").write_text(
        "create table record_ledger.q (t text default 'a $body$ and ''quotes''');\n",
        encoding="utf-8",
    )

    result = deploy(ledger_dsn)

    assert result.outcome == "upgraded"
    assert result.applied_migrations == (name,)


@pytest.mark.parametrize("name", ["0001_tables.sql", "1_x.sql", "0099_hole.sql", "0002-dash.sql"])
def test_migrations_are_numbered_without_a_hole(sql_copy, name):
    (sql_copy / "migrations" / "0001_tables.sql").unlink()
    (sql_copy / "migrations" / name).write_text("select 1;\n", encoding="utf-8")
    if name == "0001_tables.sql":
        assert "0001_tables" in deploy_script("1.0.0", sql_copy)
        return
    with pytest.raises(ValueError, match="migration"):
        deploy_script("1.0.0", sql_copy)


def test_a_failing_file_leaves_nothing_of_the_deploy(empty_dsn, sql_copy, monkeypatch):
    (sql_copy / "views" / "zzz_broken.sql").write_text("select 1/0;\n", encoding="utf-8")
    monkeypatch.setattr("record_ledger.server.sql_files.sql_directory", lambda: sql_copy)

    with pytest.raises(LedgerError, match="division by zero"):
        deploy(empty_dsn)

    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute("select to_regnamespace('record_ledger')").fetchone()
    assert found == (None,)


def test_deploying_where_it_is_missing_leaves_a_ledger_alone(empty_dsn):
    deploy_if_missing(empty_dsn)
    before = objects(empty_dsn)
    deploy_if_missing(empty_dsn)

    assert before
    assert objects(empty_dsn) == before


def test_a_user_who_may_not_create_a_schema_is_told_so(empty_dsn, databases, role_dsn):
    stranger = conninfo_to_dict(role_dsn("reader"))["user"]

    with pytest.raises(LedgerError, match="permission denied") as caught:
        deploy(psycopg.conninfo.make_conninfo(empty_dsn, user=stranger))

    assert type(caught.value).__name__ == "PermissionDenied"
    assert "grant create on database" in caught.value.hint
    assert "record_ledger_runner" not in caught.value.hint


@pytest.mark.parametrize("role", ["reader", "runner"])
def test_a_user_who_does_not_own_the_ledger_is_told_who_does(ledger_dsn, ledger, role_dsn, role):
    """Before anything of the schema is called: what others have put there is not trusted."""
    (owner,) = ledger.execute("select current_user").fetchone()
    ledger.execute("insert into record_ledger.deployment (release) values ('0.0.1')")

    with pytest.raises(LedgerError) as caught:
        deploy(role_dsn(role))

    assert caught.value.sqlstate == "RL006"
    assert f"belongs to role {owner}" in caught.value.message
    assert f"deploy as {owner}" in caught.value.hint
    assert "record_ledger_runner" not in caught.value.hint
