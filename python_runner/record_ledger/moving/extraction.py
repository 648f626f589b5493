"""Writes a window's documents into staged parts: compressed, of bounded size, in bounded memory."""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from record_ledger import logs

from .errors import MoveFailed
from .manifest import Part
from .protocols import StartAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .manifest import StagedNames
    from .protocols import Stage, Writable

# Batches that wait to be compressed while the source is asked for more.
_WAITING = 4
# A window that cannot be read through in as many attempts is left to the ledger's own retries.
_TRIES = 3
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class PartSettings:
    """How large a part becomes (compressed, in bytes) and how hard it is compressed (1 to 9)."""

    byte_count: int = 64 * 1024 * 1024
    compression: int = 1


def extract_parts(
    read: Callable[[], Iterable[Sequence[bytes]]],
    names: StagedNames,
    stage: Stage,
    settings: PartSettings,
    progress: Callable[[int], object],
) -> tuple[Part, ...]:
    """Returns the parts that now hold each document that `read` yields once, in its order.

    Memory holds a few batches of the source and what the stage buffers, for a window of any size.
    `progress(rows)` is called after each batch and may raise to stop. After any exception, no
    uncommitted part is left behind.

    :raises MoveFailed: when the source could not read the window through three times in a row.
    """
    last: StartAgain | None = None
    for _ in range(_TRIES):
        writer = _PartWriter(stage, names, settings)
        try:
            with _Compressing(writer) as compressing:
                for batch in read():
                    compressing.add(batch)
                    progress(len(batch))
            return tuple(writer.parts)
        except StartAgain as error:
            logs.logger.warning(logs.line(event="window_started_again", reason=str(error)))
            last = error
    raise MoveFailed(f"the window could not be read through: {last}") from last


class _PartWriter:
    """Compresses batches into one part after the other."""

    def __init__(self, stage: Stage, names: StagedNames, settings: PartSettings) -> None:
        self.parts: list[Part] = []
        self._stage = stage
        self._names = names
        self._settings = settings
        self._file: Writable | None = None

    def write(self, batch: Sequence[bytes]) -> None:
        if not batch:
            return
        if self._file is None:
            self._begin()
        self._rows += len(batch)
        self._put(self._gzip.compress(b"\n".join(batch) + b"\n"))
        if self._bytes >= self._settings.byte_count:
            self.finish()

    def finish(self) -> None:
        """Commits the part that is open."""
        if self._file is None:
            return
        self._put(self._gzip.flush())
        checksum = self._file.commit()
        self._file = None
        self.parts.append(
            Part(self._name, self._rows, self._bytes, self._sha256.hexdigest(), checksum)
        )

    def abort(self) -> None:
        """Leaves nothing of the part that is open."""
        if self._file is not None:
            self._file.abort()
            self._file = None

    def _begin(self) -> None:
        self._name = self._names.part(len(self.parts) + 1)
        self._rows = self._bytes = 0
        self._sha256 = hashlib.sha256()
        # No time and no name in the header: the same documents are the same bytes.
        self._gzip = zlib.compressobj(self._settings.compression, zlib.DEFLATED, _GZIP)
        self._file = self._stage.create(self._name)

    def _put(self, data: bytes) -> None:
        if data and self._file is not None:
            self._sha256.update(data)
            self._bytes += len(data)
            self._file.write(data)


class _Compressing:
    """Has a thread compress and stage what is added, while the source reads on.

    zlib, the digest and the network let go of Python's lock, so both work at the same time.
    """

    def __init__(self, writer: _PartWriter) -> None:
        self._writer = writer
        self._batches: queue.Queue[Sequence[bytes] | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, name="record-ledger-compress", daemon=True
        )

    def __enter__(self) -> _Compressing:
        self._thread.start()
        return self

    def add(self, batch: Sequence[bytes]) -> None:
        """Hands over a batch; raises what the thread met."""
        if self._error is not None:
            raise self._error
        self._batches.put(batch)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._batches.put(None)
        self._thread.join()
        try:
            if error is None:
                if self._error is not None:
                    raise self._error
                self._writer.finish()
        finally:
            self._writer.abort()

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            # After a failure the queue is only emptied, so that the reader does not wait for room.
            if self._error is None:
                try:
                    self._writer.write(batch)
                except BaseException as error:  # noqa: BLE001 - raised in the thread that adds
                    self._error = error
