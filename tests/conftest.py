"""Fixtures of all tests: a real PostgreSQL, and for every test a ledger of its own in it.

RECORD_LEDGER_TEST_PG=16    the major version of the server that the tests start (18 by default)
RECORD_LEDGER_TEST_DSN=...  a server of yours instead; its user must be allowed to create databases
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.configs import make_config
from tests.support.databases import TIME_ZONES, Connection, TestDatabases, open_connection
from tests.support.interleaving import Background, Rows, statement
from tests.support.server import Server

DSN_VARIABLE = "RECORD_LEDGER_TEST_DSN"
TIMEZONE_VARIABLE = "RECORD_LEDGER_TEST_TIMEZONE"

hypothesis.settings.register_profile(
    "ledger",
    deadline=None,  # a database answers when it answers
    # Examples share their test's database on purpose: a ledger is made to hold many pipelines.
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("ledger")


class _Site:
    """The server of this run: started at most once, by the process that owns the run."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.databases: TestDatabases | None = None

    def open(self) -> TestDatabases:
        if self.databases is None:
            dsn = os.environ.get(DSN_VARIABLE)
            if not dsn:
                self.server = Server(durable=False)
                self.server.start()
                dsn = self.server.dsn()
            self.databases = TestDatabases(dsn)
            self.databases.note_roles()
        return self.databases

    def close(self) -> None:
        # A server of our own goes with everything in it; another's keeps nothing of ours.
        if self.server is not None:
            self.server.remove()
        elif self.databases is not None:
            self.databases.drop_all()


_site = pytest.StashKey[_Site]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Whoever started the tests in the background, or by nohup, had them ignore signals, and every
    # process that a test starts would ignore them too.
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    config.stash[_site] = _Site()
    if config.option.basetemp is None:
        # Every run of pytest closes the folder that it shares with other runs to other users; an
        # embedded server, which is another user where tests run as root, would lose its data.
        folder = Path(tempfile.mkdtemp(prefix="rl-tests-"))
        folder.chmod(0o755)
        config.option.basetemp = str(folder / "tmp")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells an xdist worker which server to use: the workers of a run share one."""
    databases = node.config.stash[_site].open()
    node.workerinput["record_ledger_databases"] = (databases.admin_dsn, databases.run)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_site].close()


def pytest_report_header() -> str:
    if os.environ.get(DSN_VARIABLE):
        return f"PostgreSQL: the server of {DSN_VARIABLE}"
    return (
        f"PostgreSQL: version {os.environ.get('RECORD_LEDGER_TEST_PG', '18')}, started by the tests"
    )


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config) -> Iterator[TestDatabases]:
    """The databases of this run: `clone()`, `empty()`, `drop()`."""
    workerinput = getattr(pytestconfig, "workerinput", None)
    if workerinput is None:
        found = pytestconfig.stash[_site].open()
    else:
        admin_dsn, run = workerinput["record_ledger_databases"]
        found = TestDatabases(admin_dsn, run, worker=workerinput["workerid"])
    yield found
    found.close()


@pytest.fixture
def session_timezone(request: pytest.FixtureRequest) -> str:
    """The time zone of the test's sessions: another for each test, the same at each run of it."""
    chosen = zlib.crc32(request.node.nodeid.encode()) % len(TIME_ZONES)
    timezone = os.environ.get(TIMEZONE_VARIABLE, TIME_ZONES[chosen])
    request.node.add_report_section("setup", "ledger", f"session time zone: {timezone}")
    return timezone


@pytest.fixture
def ledger_dsn(databases: TestDatabases, session_timezone: str) -> Iterator[str]:
    """The conninfo string of a database of the test's own, with the ledger freshly deployed."""
    dsn = databases.clone(session_timezone)
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def empty_dsn(databases: TestDatabases) -> Iterator[str]:
    """The conninfo string of a database of the test's own, without a ledger."""
    dsn = databases.empty()
    yield dsn
    databases.drop(dsn)


@pytest.fixture(scope="session")
def login_as(databases: TestDatabases) -> Callable[[str, str], str]:
    """Gives a database as a login user who is only a 'reader' or only a 'runner'."""

    def as_member(dsn: str, role: str) -> str:
        try:
            return databases.login_as(dsn, f"record_ledger_{role}")
        except psycopg.errors.InsufficientPrivilege as error:
            pytest.skip(f"this server's user may not create roles: {error}")

    return as_member


@pytest.fixture
def role_dsn(login_as: Callable[[str, str], str], ledger_dsn: str) -> Callable[[str], str]:
    """Gives the test's database as a login user who is only a 'reader' or only a 'runner'."""
    return partial(login_as, ledger_dsn)


@pytest.fixture
def connect(ledger_dsn: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Connection]]:
    """Opens connections to the test's database, closed when it ends.

    `connect(role="runner", timezone="Asia/Tokyo", autocommit=False, dsn=...)`, each optional.
    """
    opened: list[Connection] = []

    def open_one(
        *,
        role: str | None = None,
        timezone: str | None = None,
        dsn: str | None = None,
        **options: Any,
    ) -> Connection:
        if dsn is None:
            dsn = ledger_dsn if role is None else request.getfixturevalue("role_dsn")(role)
        connection = open_connection(dsn, **options)
        opened.append(connection)
        if timezone is not None:
            connection.execute("select set_config('TimeZone', %s, false)", [timezone])
            if not connection.autocommit:
                connection.commit()
        return connection

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def ledger(connect: Callable[..., Connection]) -> Connection:
    """An autocommit connection to the test's database as its owner."""
    return connect()


@pytest.fixture
def clock(connect: Callable[..., Connection]) -> Clock:
    """The ledger's time in the test's database: `set`, `advance`, `free`, `now`."""
    return Clock(connect())


@pytest.fixture
def in_background(ledger_dsn: str) -> Iterator[Callable[..., Background[Any]]]:
    """Runs a statement (or a call) on a connection beside the test: see tests.support.interleaving.

    `in_background(connection, "select ...", [parameters])` or `in_background(connection, call)`.
    """
    started: list[Background[Any]] = []

    def start(
        connection: Connection, what: str | Callable[[], Any], parameters: Any = None
    ) -> Background[Rows | Any]:
        call = what if callable(what) else statement(connection, what, parameters)
        background = Background(connection, call, ledger_dsn)
        started.append(background)
        return background

    yield start
    for background in started:
        background.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A PostgreSQL of the test's own with fsync on: `kill()`, `start()`, `stop()`, `dsn(dbname)`.

    Its database `postgres` holds no ledger yet: `tests.support.databases.deploy(own_server.dsn())`.
    """
    if os.environ.get(DSN_VARIABLE):
        pytest.skip(f"{DSN_VARIABLE} is set: the tests start no server")
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    """Makes configs: `config("orders", granularity="1h", fields={"key_x": "a"})`."""
    return make_config
