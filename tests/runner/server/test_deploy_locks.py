"""A deploy waits for a limited time and names the holder; it says which roles it cannot grant."""

from __future__ import annotations

import json

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import DeployRefused
from record_ledger.cli import main
from record_ledger.server.deploy import deploy
from record_ledger.server.doctor import examine
from record_ledger.server.sql_files import deploy_script, package_release
from tests.support.databases import open_connection
from tests.support.releases import release_script

KEY = "hashtext('record_ledger'), hashtext('deploy')"


def impatient(dsn):
    return make_conninfo(dsn, options="-c lock_timeout=100ms")


@pytest.fixture
def holder(ledger_dsn):
    with open_connection(ledger_dsn, application_name="someone's shell") as connection:
        yield connection


def test_the_deploys_lock_that_anyone_can_hold_is_waited_for_a_limited_time(ledger_dsn, role_dsn):
    dsn = make_conninfo(role_dsn("reader"), application_name="someone's shell")
    with open_connection(dsn) as holder:
        holder.execute(f"select pg_advisory_lock({KEY})")
        with pytest.raises(DeployRefused) as caught:
            deploy(impatient(ledger_dsn))
        who = f"process {holder.info.backend_pid} of user {holder.info.user}"
    assert caught.value.sqlstate == "RL006"
    assert who in caught.value.message
    assert "application 'someone''s shell', since 20" in caught.value.message
    assert "not free within 100ms" in caught.value.message
    assert "pg_terminate_backend" in (caught.value.hint or "")
    assert deploy(impatient(ledger_dsn)).outcome == "unchanged"


def test_without_a_limit_of_the_caller_there_is_one(ledger):
    script = deploy_script(package_release())
    ledger.execute(script.removesuffix("commit;\n"))
    assert ledger.execute("show lock_timeout").fetchone() == ("15s",)
    ledger.execute("rollback")
    ledger.execute("set lock_timeout = '7s'")
    ledger.execute(script.removesuffix("commit;\n"))
    assert ledger.execute("show lock_timeout").fetchone() == ("7s",)
    ledger.execute("rollback")


@pytest.mark.parametrize("relation", ["pipeline_records", "record_events"])
def test_a_long_query_on_a_view_is_named(ledger_dsn, holder, relation):
    holder.execute("begin")
    holder.execute(f"select * from record_ledger.{relation}")
    with pytest.raises(DeployRefused) as caught:
        deploy(impatient(ledger_dsn))
    assert f"view record_ledger.{relation} was not free within 100ms" in caught.value.message
    assert f"process {holder.info.backend_pid} of user {holder.info.user}" in caught.value.message
    holder.execute("rollback")
    assert deploy(ledger_dsn).outcome == "unchanged"


def test_a_row_that_is_locked_while_an_upgrade_needs_its_table_is_named(empty_dsn):
    with open_connection(empty_dsn) as owner, open_connection(empty_dsn) as holder:
        owner.execute(release_script("0.4.0"))
        owner.execute(
            "select record_ledger.register_pipeline(%s)",
            [json.dumps({"timezone": "UTC", "x_time_back": "1h", "granularity": "6h",
                         "default_record": {"pipeline_id": "old"}})],
        )  # fmt: skip
        holder.execute("begin")
        holder.execute("select record_ledger.pause_pipeline('old', 'forgotten')")
        with pytest.raises(DeployRefused) as caught:
            deploy(impatient(empty_dsn))
        assert "table record_ledger.pipeline was not free" in caught.value.message
        assert f"process {holder.info.backend_pid} of user" in caught.value.message
        holder.execute("commit")
    assert deploy(empty_dsn).outcome == "upgraded"


# ---------------------------------------------------------------- a second team in the same server
@pytest.fixture
def second_team(databases, ledger_dsn, empty_dsn):
    """The database of another team, as its owner; the roles exist since ledger_dsn was deployed."""
    name = str(conninfo_to_dict(empty_dsn)["dbname"])
    owner = sql.Identifier(f"{name}_owner")
    with open_connection(databases.admin_dsn) as admin:
        admin.execute(sql.SQL("create role {} login password 'x'").format(owner))
        admin.execute(sql.SQL("alter database {} owner to {}").format(sql.Identifier(name), owner))
        yield make_conninfo(empty_dsn, user=f"{name}_owner", password="x")
        admin.execute(
            sql.SQL("revoke record_ledger_reader, record_ledger_runner from {}").format(owner)
        )


def test_a_deployer_who_cannot_grant_the_roles_is_told_what_an_administrator_runs(
    second_team, databases, capsys
):
    user = conninfo_to_dict(second_team)["user"]
    wanted = f"grant record_ledger_reader, record_ledger_runner to {user} with admin option"
    assert main(["deploy", "--dsn", second_team]) == 0
    (notice,) = json.loads(capsys.readouterr().out)["notices"]
    assert f"{user} may not grant record_ledger_reader and record_ledger_runner" in notice
    assert wanted in notice
    roles = [check for check in examine(second_team) if check.name == "roles"]
    assert [check.state for check in roles] == ["ok", "ok", "warning"]
    assert wanted in roles[-1].advice

    with open_connection(databases.admin_dsn) as admin:
        admin.execute(wanted)
    assert deploy(second_team).notices == ()
    assert {check.state for check in examine(second_team) if check.name == "roles"} == {"ok"}


def test_who_only_works_with_the_ledger_need_not_grant_its_roles(role_dsn):
    checks = examine(role_dsn("runner"))
    assert {check.state for check in checks} == {"ok"}


def test_a_user_whose_path_puts_another_schema_before_the_catalogue_is_warned(ledger_dsn):
    hostile = make_conninfo(ledger_dsn, options="-c search_path=public,pg_catalog")
    (found,) = [check for check in examine(hostile) if check.name == "names"]
    assert found.state == "warning"
    assert "public" in found.finding and "pg_catalog" in found.finding
    assert "search_path" in found.advice
