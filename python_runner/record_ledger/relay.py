"""Passes on what commands print, byte for byte and as it comes, to our own standard streams."""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65536
# A line is kept together up to this length, so that one without an end takes no memory.
_LONGEST_LINE = 1 << 20
# No pipe holds more that was printed before its command ended.
_LARGEST_PIPE = 1 << 20


class Output:
    """A standard stream of ours, shared by threads: what one writes at once stays together."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._in_line = False

    def write(self, data: bytes) -> None:
        """Writes all of it before it returns.

        :raises OSError: when nobody reads the stream any more.
        """
        if data:
            with self._lock:
                self._write(data)

    def end_line(self) -> None:
        """Ends the line that somebody left open, so that what comes next has one of its own.

        :raises OSError: when nobody reads the stream any more.
        """
        with self._lock:
            if self._in_line:
                self._write(b"\n")

    def write_line(self, text: str) -> None:
        """Writes one line of ours, on a line of its own whatever was written before.

        :raises OSError: when nobody reads the stream any more.
        """
        line = text.encode(self._stream.encoding or "utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._write(b"\n" + line if self._in_line else line)

    def _write(self, data: bytes) -> None:
        self._stream.flush()
        if hasattr(self._stream, "buffer"):
            self._stream.buffer.write(data)
        else:  # something in memory that holds text only
            self._stream.write(data.decode("utf-8", "replace"))
        self._stream.flush()
        self._in_line = not data.endswith(b"\n")


class Relay:
    """Passes one pipe of a command on to an output, from a thread of its own.

    With `whole_lines`, lines are kept together, for an output that several commands share. `tail`
    is the end of what came, at most `kept` bytes. When nobody reads the output any more, the pipe
    is closed, so that the command learns of it as it would without us; with `drains` it is read
    on, and only `tail` is kept.
    """

    def __init__(
        self,
        pipe: IO[bytes],
        output: Output,
        *,
        whole_lines: bool = False,
        kept: int = 0,
        drains: bool = False,
    ) -> None:
        self.tail = b""
        self._pipe = pipe
        self._output = output
        self._whole_lines = whole_lines
        self._kept = kept
        self._drains = drains
        self._held = b""
        self._finishing, self._finish = os.pipe()
        self._thread = threading.Thread(target=self._run, name="record-ledger-relay", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Returns when all is passed on that the command printed; to be called when it has ended.

        A process that left its group may hold the pipe open: what that one prints later has no
        reader.
        """
        os.close(self._finish)
        self._thread.join()
        os.close(self._finishing)

    def _run(self) -> None:
        reads = True
        with self._pipe as pipe:
            for data in self._chunks(pipe.fileno()):
                if self._kept:
                    self.tail = (self.tail + data)[-self._kept :]
                try:
                    if reads:
                        self._pass_on(data)
                except (OSError, ValueError):  # nobody reads it, or it was closed
                    reads = False
                    if not self._drains:
                        return
        with suppress(OSError, ValueError):
            if reads and self._held:
                self._output.write(self._held + b"\n")

    def _chunks(self, pipe: int) -> Iterator[bytes]:
        """Yields what comes, to the pipe's end or, once `finish` was called, to the last of it."""
        is_finishing, left = False, _LARGEST_PIPE
        while left > 0:
            ready = self._ready(pipe)
            is_finishing = is_finishing or self._finishing in ready
            data = os.read(pipe, _CHUNK) if pipe in ready else b""
            if not data:
                return
            yield data
            if is_finishing:
                left -= len(data)

    def _ready(self, pipe: int) -> set[int]:
        """Waits until there is something to read, or until `finish` is called."""
        if sys.platform == "win32":  # which can wait for one of them only
            return {pipe}
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self._finishing, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll()}

    def _pass_on(self, data: bytes) -> None:
        if not self._whole_lines:
            self._output.write(data)
            return
        held = self._held + data
        ready = len(held) if len(held) > _LONGEST_LINE else held.rfind(b"\n") + 1
        self._held = held[ready:]
        self._output.write(held[:ready])
