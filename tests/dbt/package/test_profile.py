"""The project's own profile: from environment variables, libpq's being the defaults."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.dbt.support import Dbt

LIBPQ = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}


def test_where_psql_connects_dbt_connects(ledger_dsn, tmp_path):
    parts = conninfo_to_dict(ledger_dsn)
    if "password" in parts:
        pytest.skip("this server wants a password, which libpq's variables do not give dbt")
    variables = {LIBPQ[key]: str(value) for key, value in parts.items() if key in LIBPQ}
    outcome = Dbt("", tmp_path)("debug", "--connection", **variables)
    assert outcome.success, outcome.error


def test_the_password_gets_into_no_log_and_no_artifact(role_dsn, tmp_path):
    dsn = role_dsn("reader")
    dbt = Dbt(dsn, tmp_path)
    outcome = dbt("debug", "--connection", "--log-level-file", "debug")
    assert outcome.success, outcome.error
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "dbt.log" for path in files)
    password = str(conninfo_to_dict(dsn)["password"]).encode()
    assert not [path.name for path in files if password in path.read_bytes()]
