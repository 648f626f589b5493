"""Test databases: one template with the ledger deployed, a clone of it for every test."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

PREFIX = "rl_test"
GROUP_ROLES = ("record_ledger_reader", "record_ledger_runner")

# A clone gets one of these as its sessions' time zone, chosen by the test's name: what the ledger
# answers must not depend on it. Among them: no DST, half hours, both hemispheres, no midnight.
TIME_ZONES = (
    "UTC",
    "America/Los_Angeles",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
)

Connection = psycopg.Connection[Any]


def in_database(dsn: str, dbname: str, **options: str) -> str:
    """Returns the conninfo string of another database of the same server."""
    return make_conninfo(dsn, dbname=dbname, **options)


def open_connection(dsn: str, **options: Any) -> Connection:
    """Connects as the runner does: no prepared statements, and autocommit unless told otherwise."""
    return psycopg.connect(dsn, **{"autocommit": True, "prepare_threshold": None, **options})


@dataclass
class TestDatabases:
    """The databases of one run of the tests on one server, shared by all its workers.

    `run` is the run's name; `admin_dsn` may create databases.
    """

    __test__ = False

    admin_dsn: str
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    worker: str = "main"
    roles_before: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=count)
    _unused: list[str] = field(default_factory=list)
    _template: str | Exception | None = None
    _connection: Connection | None = None

    def empty(self) -> str:
        """Creates a database without a ledger and returns its conninfo string."""
        return self._create("template1")

    def clone(self, timezone: str = "UTC") -> str:
        """Creates a database with a freshly deployed ledger and returns its conninfo string."""
        dsn = self._create(self._template_name())
        name = conninfo_to_dict(dsn)["dbname"]
        self._admin(
            sql.SQL("alter database {} set timezone to {}").format(
                sql.Identifier(str(name)), sql.Literal(timezone)
            )
        )
        return dsn

    def copy(self, dsn: str) -> str:
        """Copies one of its databases as it is, which nobody may be connected to meanwhile."""
        return self._create(str(conninfo_to_dict(dsn)["dbname"]))

    def drop(self, dsn: str, *, immediately: bool = False) -> None:
        """Drops one of its databases, at the latest with the next but one that is created.

        A server waits a tenth of a second for sessions that are about to end; by then they have.
        A role that owns something in the database can be dropped after an immediate drop only.
        """
        name = str(conninfo_to_dict(dsn)["dbname"])
        assert name.startswith(f"{PREFIX}_{self.run}_"), f"{name} is not ours to drop"
        if immediately:
            self._drop(name)
        else:
            self._unused.append(name)

    def _drop(self, name: str) -> None:
        """Drops a database, whoever is still connected to it."""
        identifier = sql.Identifier(name)
        try:
            self._admin(sql.SQL("drop database if exists {} with (force)").format(identifier))
        except psycopg.errors.InsufficientPrivilege:
            # A login role's session is still about to end, and only a superuser may end it; without
            # force the server waits for it.
            self._admin(sql.SQL("drop database if exists {}").format(identifier))

    def drop_all(self) -> None:
        """Drops whatever of this run is left, template and login roles included."""
        pattern = f"{PREFIX}_{self.run}_%"
        with open_connection(self.admin_dsn) as admin:
            names = admin.execute(
                "select datname from pg_database where datname like %s", [pattern]
            ).fetchall()
            for (name,) in names:
                admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
            roles = admin.execute(
                "select rolname from pg_roles where rolname like %s", [pattern]
            ).fetchall()
            for (name,) in roles:
                admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
            for name in self._group_roles(admin) - self.roles_before:
                admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))

    def note_roles(self) -> None:
        """Remembers which of the ledger's roles the server had before: `drop_all` keeps those."""
        with open_connection(self.admin_dsn) as admin:
            self.roles_before = self._group_roles(admin)

    @staticmethod
    def _group_roles(admin: Connection) -> set[str]:
        return {
            name
            for (name,) in admin.execute(
                "select rolname from pg_roles where rolname = any(%s)", [list(GROUP_ROLES)]
            )
        }

    def login_as(self, dsn: str, group: str) -> str:
        """Returns a conninfo string for `dsn` as a login user who is only a member of `group`.

        :raises psycopg.errors.InsufficientPrivilege: where this server's user may not create roles.
        """
        name = self._name(group.rsplit("_", 1)[-1])
        password = secrets.token_hex(8)
        self._admin(
            sql.SQL("create role {} login password {} in role {}").format(
                sql.Identifier(name), sql.Literal(password), sql.Identifier(group)
            )
        )
        return make_conninfo(dsn, user=name, password=password)

    def _name(self, what: object) -> str:
        return f"{PREFIX}_{self.run}_{self.worker}_{next(self._numbers)}_{what}"

    def _create(self, template: str) -> str:
        while len(self._unused) > 1:
            self._drop(self._unused.pop(0))
        name = self._name("db")
        # Copying files takes a quarter of the time that logging every page takes.
        self._admin(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return in_database(self.admin_dsn, name)

    def _template_name(self) -> str:
        """Builds the template once per run, whichever worker comes first; fails alike for each."""
        if self._template is None:
            try:
                self._template = self._find_or_deploy_template()
            except Exception as error:  # noqa: BLE001 (told to every test that asks)
                self._template = error
        if isinstance(self._template, Exception):
            raise self._template
        return self._template

    def _find_or_deploy_template(self) -> str:
        name = f"{PREFIX}_{self.run}_template"
        with open_connection(self.admin_dsn) as admin:
            # Two workers at once would both find it missing; the lock ends with the connection.
            admin.execute("select pg_advisory_lock(hashtext(%s))", [name])
            found = admin.execute(
                "select from pg_database where datname = %s and not datallowconn", [name]
            ).fetchone()
            if found is None:
                identifier = sql.Identifier(name)
                admin.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
                admin.execute(sql.SQL("create database {}").format(identifier))
                deploy(in_database(self.admin_dsn, name))
                # Nobody may connect to it while it is copied; also the mark that it is whole.
                admin.execute(
                    sql.SQL("alter database {} with allow_connections false").format(identifier)
                )
        return name

    def _admin(self, statement: sql.Composed) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self.admin_dsn)
        self._connection.execute(statement)

    def close(self) -> None:
        """Drops what is no longer used, and closes the connection that creates and drops."""
        while self._unused:
            self._drop(self._unused.pop())
        if self._connection is not None:
            self._connection.close()


def deploy(dsn: str) -> None:
    """Deploys the ledger the way a user does."""
    from record_ledger.server.deploy import deploy as deploy_ledger

    deploy_ledger(dsn)
