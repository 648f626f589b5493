"""What a process knows of the ledger, in a file of its own: each note is on disk before it goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIX = ".notes"
Note = dict[str, Any]


class Notes:
    """Appends notes to a file that nobody else writes; a kill may tear the last one only."""

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, what: str, **values: Any) -> None:
        """Writes the note, with the time of a clock that all processes of the machine share."""
        note = {"what": what, "at": time.monotonic(), **values}
        os.write(self._file, json.dumps(note, default=str).encode() + b"\n")
        os.fsync(self._file)


def read_notes(folder: Path) -> list[Note]:
    """Returns all notes of a folder's files."""
    return [note for path in sorted(folder.glob(f"*{SUFFIX}")) for note in read_file(path)]


def read_file(path: Path) -> Iterator[Note]:
    """Gives the whole notes of one file, oldest first."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
