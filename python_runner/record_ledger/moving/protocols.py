"""What a source, a stage and a target have to do: three small protocols, for classes of your own.

A factory of each is registered as an entry point of the group `record_ledger.sources`,
`record_ledger.stages` or `record_ledger.targets`, under the name that a pipeline definition gives
as its `kind`: a callable that takes the `Settings` of that table and the `RecordLedger`.

All methods take the record that was passed. They are called again after a failure, by the same
claim or by a later one, and must then come to the same end.

A source and a target may also have `check(pipeline_id)`, and a stage `check(name)`, with a name as
long as any of the pipeline's. `Move.check` calls them before a record is passed: they raise
MoveFailed when no window could be moved, and leave nothing behind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

    from .manifest import Manifest
    from .settings import Settings

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

SOURCES, STAGES, TARGETS = "record_ledger.sources", "record_ledger.stages", "record_ledger.targets"


class Source(Protocol):
    """Reads a window."""

    def count(self, record: Record) -> int:
        """Returns how many documents the window holds now."""
        ...

    def read(self, record: Record) -> Iterator[Sequence[bytes]]:
        """Yields each document of the window once, in batches that fit into memory.

        A document is a JSON object as one line of UTF-8 without its line feed: see `document_line`.

        :raises StartAgain: when what was yielded so far has to be forgotten.
        """
        ...


class StartAgain(Exception):
    """The source cannot go on where it was: the window has to be read from its start."""


class Readable(Protocol):
    """An open staged file."""

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, at most `size`; none at the end."""
        ...


class Writable(Protocol):
    """A file that is being staged; nobody sees it before `commit`."""

    def write(self, data: bytes, /) -> object:
        """Adds bytes."""
        ...

    def commit(self) -> str:
        """Makes the whole file visible; returns its checksum as `Stage.checksum` would.

        :raises StagedDataDamaged: when a later claim has removed what was written.
        """
        ...

    def abort(self) -> None:
        """Leaves nothing of it."""
        ...


class Stage(Protocol):
    """Keeps files by name; a name has slashes, and what is before the last one is its folder."""

    def create(self, name: str) -> Writable:
        """Begins a file; one of that name is replaced when this one is committed."""
        ...

    def write_once(self, name: str, data: bytes) -> bool:
        """Stores a small file unless there is one of that name; returns whether it did.

        :raises StagedDataDamaged: when a later claim has removed what was written.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Opens a file for reading.

        :raises FileNotFoundError: when there is none of that name.
        """
        ...

    def checksum(self, name: str) -> str | None:
        """Returns what proves that a file is what it was when committed; None: it is not there."""
        ...

    def remove(self, folder: str, unless: Callable[[str, float], bool]) -> int:
        """Removes files below a folder, half-written ones too, and returns how many.

        `unless(name, age)` says which ones stay; the age is in seconds, and that of a file which
        was never committed counts from its beginning.
        """
        ...


@dataclass(frozen=True)
class Published:
    """What a target holds of a window: from which generation and claim, and how many rows."""

    generation: int
    claim_token: int
    digest: str
    row_count: int


class Target(Protocol):
    """Publishes windows, each whole, and only for the newest claim that it has heard of."""

    def begin(self, record: Record) -> Published | None:
        """Shuts out earlier claims on the window from now on; returns what is published of it.

        :raises ClaimLost: when a later claim has begun.
        """
        ...

    def load(self, record: Record, manifest: Manifest, stage: Stage) -> int:
        """Loads a manifest's parts beside the published data; returns the rows it counted there.

        What an earlier claim has loaded of the same parts may be taken over.

        :raises ClaimLost: when a later claim has begun.
        :raises MoveFailed: when the parts are damaged, or not all of their rows arrived.
        """
        ...

    def publish(self, record: Record, manifest: Manifest) -> int:
        """Replaces exactly this window by what was loaded, in one transaction; returns its rows.

        :raises ClaimLost: when a later claim has begun; nothing was changed.
        :raises MoveFailed: when nothing, or something else, is loaded; nothing was changed.
        """
        ...

    def clean(self, record: Record) -> None:
        """Removes what this claim and earlier ones have loaded and not published."""
        ...


class Factory(Protocol):
    """What an entry point names."""

    def __call__(self, settings: Settings, ledger: RecordLedger) -> Any:
        """Returns a source, stage or target made from its table in a pipeline definition."""
        ...


def document_line(document: Mapping[str, Any]) -> bytes:
    r"""Returns a document as the line of JSON that is staged, without a line feed.

    Half of a surrogate pair, which UTF-8 cannot carry, stays the `\ud83d` that it was.

    :raises ValueError: when it holds NaN or an infinity.
    :raises TypeError: when it holds what JSON does not know.
    """
    try:
        return _encode(document).encode("utf-8")
    except UnicodeEncodeError:
        return _encode_ascii(document).encode("ascii")
