"""Optional programs beside PostgreSQL and Python, and a wrong clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.support.repository import ROOT
from tests.support.server import Server

BOUNCER_VARIABLE = "RECORD_LEDGER_TEST_PGBOUNCER"
DEADLINE = 30.0
_BOUNCER_INI = """
[databases]
* = host={server} port=5432 user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
pidfile = {folder}/pgbouncer.pid
logfile = {folder}/pgbouncer.log
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_login_retry = 1
max_client_conn = 200
"""


def find_bouncer() -> str | None:
    """Returns PgBouncer's program, or None where it is not installed."""
    given = os.environ.get(BOUNCER_VARIABLE)
    return given or shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class Bouncer:
    """A PgBouncer in transaction mode in front of a server, on a Unix socket in that folder."""

    def __init__(self, program: str, server: Server, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        self.socket = folder / ".s.PGSQL.6432"
        self._options = server.process_options
        self._ini = folder / "pgbouncer.ini"
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        text = _BOUNCER_INI.format(server=server.socket.parent, folder=folder)
        self._ini.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Starts it and returns once it takes connections."""
        with suppress(FileNotFoundError):
            (self._ini.parent / "pgbouncer.pid").unlink()
        self._process = subprocess.Popen(  # type: ignore[call-overload]
            [self._program, "-q", self._ini],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._options,
        )
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    @property
    def dsn(self) -> str:
        return f"host={self.socket.parent} port=6432 user=postgres dbname=postgres"

    def kill(self) -> None:
        """Ends it immediately; its clients lose their connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def wrong_clock(seconds: int) -> dict[str, str]:
    """Returns the variables with which a process has a clock that is wrong by that much.

    Only the clock of its Python is wrong. (libfaketime also changes the C library's clock, and breaks
    time.sleep of Python 3.11 and later.)
    """
    folder = Path(__file__).parent / "wrong_clock"
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "WRONG_BY_SECONDS": str(seconds)}


def run_program(server: Server, name: str, *arguments: str) -> str:
    """Runs a program of PostgreSQL, of the server's own version; returns its output."""
    done = subprocess.run(
        [server.binaries / name, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed with {done.returncode}:\n{done.stderr}")
    return done.stdout


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
