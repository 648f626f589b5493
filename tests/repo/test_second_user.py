"""The set-up that the documents show lets a user who owns nothing work, and is needed for it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import PermissionDenied, RecordLedger
from record_ledger.server.deploy import deploy
from tests.support.databases import GROUP_ROLES, open_connection
from tests.support.documents import read_blocks
from tests.support.repository import ROOT

CONFIG = {
    "timezone": "Europe/Berlin",
    "x_time_back": "0s",
    "granularity": "1h",
    "default_record": {"pipeline_id": "second_user"},
}
PAGES = ("README.md", "python_runner/docs/airflow.md")


@pytest.fixture(scope="module")
def database(databases):
    """A database of an owner who is no superuser, in which the owner has deployed the ledger."""
    databases.drop(databases.clone())  # which makes the ledger's roles, if no test has yet
    dsn = databases.empty()
    name = conninfo_to_dict(dsn)["dbname"]
    owner = f"{name}_owner"
    with open_connection(databases.admin_dsn) as admin:
        try:
            admin.execute(f"create role {owner} login password 'x' createrole")
        except psycopg.errors.InsufficientPrivilege as error:
            pytest.skip(f"this server's user may not create roles: {error}")
        # On a server of its own the owner's deploy would make them, and the owner could grant them.
        for group in GROUP_ROLES:
            admin.execute(f"grant {group} to {owner} with admin option")
        admin.execute(f"alter database {name} owner to {owner}")
    deploy(make_conninfo(dsn, user=owner, password="x"))
    yield dsn, owner
    databases.drop(dsn, immediately=True)
    with open_connection(databases.admin_dsn) as admin:
        made = admin.execute("select rolname from pg_roles where rolname like %s", [f"{owner}_%"])
        # Whom a role was granted to goes before the role that granted it.
        for role in [*(name for (name,) in made.fetchall()), owner]:
            admin.execute(f"drop role {role}")


@pytest.fixture(params=PAGES)
def steps(request):
    """The set-up of a page: its grant, with the user that its clients connect as."""
    (script,) = (
        block.text
        for block in read_blocks(ROOT / Path(request.param))
        if "record-ledger deploy --dsn" in block.text
    )
    (grant,) = re.findall(r"^psql \S+ -c '(.+)'$", script, re.MULTILINE)
    (user,) = set(re.findall(r"--conn-login (\w+)|DSN=postgresql://(\w+)@", script)[0]) - {""}
    return grant, user


def test_the_steps_let_a_second_user_pass_and_complete_a_record(database, databases, steps):
    dsn, owner = database
    grant, user = steps
    assert grant == f"grant record_ledger_runner to {user}"
    login = f"{owner}_{user}"
    with open_connection(databases.admin_dsn) as admin:
        admin.execute(f"create role {login} login password 'x'")
    as_user = make_conninfo(dsn, user=login, password="x")

    start_at = (datetime.now(timezone.utc) - timedelta(hours=4)).isoformat()
    config = {**CONFIG, "start_at": start_at}

    with RecordLedger(as_user) as ledger, pytest.raises(PermissionDenied):
        ledger.store_new_and_pass_valid_record(config, run_id=user)
    with open_connection(make_conninfo(dsn, user=owner, password="x")) as connection:
        connection.execute(grant.replace(f" to {user}", f" to {login}"))

    with RecordLedger(as_user) as ledger:
        record = ledger.store_new_and_pass_valid_record(config, run_id=user).record
        assert record is not None
        ledger.complete_record("second_user", record["claim_token"])
        again = ledger.store_new_and_pass_valid_record(config, run_id=user)
    assert again.verdict == "ALREADY_DONE"
