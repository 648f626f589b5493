"""Passes on what commands print, byte for byte and as it comes, to our own standard streams."""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 65536
# A line is kept together up to this length, so that one without an end takes no memory.
_LONGEST_LINE = 1 << 20
# No pipe holds more that was printed before its command ended.
_LARGEST_PIPE = 1 << 20


class Output:
    """A standard stream of ours, shared by threads: what one writes at once stays together.

    A write that fails ends it: with half a line written, nothing sensible can follow.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._in_line = False
        self._error: Exception | None = None

    def write(self, data: bytes) -> None:
        """Writes all of it before it returns.

        :raises OSError: when it cannot be written: the disk is full, its reader has gone.
        :raises ValueError: when the stream was closed.
        """
        if data:
            with self._lock:
                self._write(data)

    @property
    def is_in_line(self) -> bool:
        """Whether the last line was left open: what comes next needs one of its own."""
        return self._in_line

    def write_line(self, text: str) -> None:
        """Writes one line of ours, on a line of its own whatever was written before.

        :raises OSError: when it cannot be written.
        """
        line = text.encode(self._stream.encoding or "utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._write(b"\n" + line if self._in_line else line)

    def _write(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        try:
            self._stream.flush()
            descriptor = _descriptor_of(self._stream)
            if descriptor is not None:
                write_all(descriptor, data)
            elif hasattr(self._stream, "buffer"):
                self._stream.buffer.write(data)
            else:  # something in memory that holds text only
                self._stream.write(data.decode("utf-8", "replace"))
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._error, self._in_line = error, True
            raise
        self._in_line = not data.endswith(b"\n")


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it, and keeps no rest back that a later write would bring.

    Waits where another process has made the open file non-blocking, which is shared by all.

    :raises OSError: when it cannot be written.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # noqa: PERF203 - the rest is written all the same
            if sys.platform == "win32":
                raise
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError):  # something in memory
        return None


class Relay:
    """Passes one pipe of a command on to an output, from a thread of its own.

    With `whole_lines`, lines are kept together, for an output that several commands share. `tail`
    is the end of what came, at most `kept` bytes. `error` says why some of it could not be passed
    on, or is None: all of it was. The pipe is then closed, so that the command learns of it as it
    would without us; with `drains` it is read on, and only `tail` is kept.
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
        self.error: str | None = None
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
        try:
            with self._pipe as pipe:
                for data in self._chunks(pipe.fileno()):
                    if self._kept:
                        self.tail = (self.tail + data)[-self._kept :]
                    self._try(self._pass_on, data)
                    if self.error is not None and not self._drains:
                        return
            if self._held:
                self._try(self._output.write, self._held + b"\n")
        except Exception as error:  # noqa: BLE001 - whatever it was, some of it is lost
            self.error = self.error or f"{type(error).__name__}: {error}"

    def _try(self, write: Callable[[bytes], None], data: bytes) -> None:
        if self.error is None:
            try:
                write(data)
            except (OSError, ValueError) as error:
                self.error = getattr(error, "strerror", None) or str(error)

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
