"""Settings of a database, a role and the environment that must not change any result."""

from __future__ import annotations

from psycopg import sql

from tests.support.databases import Connection

DATABASE = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "German, DMY",
    "client_encoding": "LATIN1",
    "search_path": "hostile, pg_catalog",
    "standard_conforming_strings": "off",
    "timezone_abbreviations": "Australia",
}
ROLE = {
    "IntervalStyle": "postgres_verbose",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "lc_monetary": "C",
}
ENVIRONMENT = {"PGTZ": "America/St_Johns", "PGDATESTYLE": "SQL, DMY", "PGCLIENTENCODING": "LATIN1"}


def make_hostile(database: Connection) -> None:
    """Gives every session settings that must not change any result."""
    database.execute("create schema hostile; grant usage on schema hostile to public")
    name, user = sql.Identifier(database.info.dbname), sql.Identifier(database.info.user)
    whose = [
        (sql.SQL("alter database {}").format(name), DATABASE),
        (sql.SQL("alter role {} in database {}").format(user, name), ROLE),
    ]
    for owner, settings in whose:
        for setting, value in settings.items():
            set_to = sql.SQL(value) if "," in value else sql.Literal(value)
            database.execute(
                sql.SQL("{} set {} to {}").format(owner, sql.Identifier(setting), set_to)
            )
