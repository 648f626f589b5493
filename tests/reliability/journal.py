"""A journal: what a process knows of the ledger. Each entry is on disk before the process goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIX = ".journal"
Entry = dict[str, Any]


class Journal:
    """Appends entries to a file of one process; a kill may tear the last entry only."""

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, what: str, **values: Any) -> None:
        """Writes the entry, with the time of a clock that all processes of the machine share."""
        entry = {"what": what, "at": time.monotonic(), **values}
        os.write(self._file, json.dumps(entry, default=str).encode() + b"\n")
        os.fsync(self._file)


def read_journals(folder: Path) -> list[Entry]:
    """Returns all entries of a folder's files."""
    return [entry for path in sorted(folder.glob(f"*{SUFFIX}")) for entry in read_file(path)]


def read_file(path: Path) -> Iterator[Entry]:
    """Gives the whole entries of one file, oldest first."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
