"""A network that can hold all data: connections stay open, and nothing arrives."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from psycopg.conninfo import make_conninfo

_CHUNK = 65536


class HeldNetwork:
    """Listens on a loopback port and speaks to a Unix socket; in a `with` block.

    `hold` blocks the connections that are open now, for good; new ones work. `opened` counts all
    connections, `round_trips` the server's answers.
    """

    def __init__(self, upstream: Path) -> None:
        self.opened = 0
        self.round_trips = 0
        self._asked = False
        self._upstream = upstream
        self._held: set[threading.Event] = set()
        self._open: set[threading.Event] = set()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> HeldNetwork:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def conninfo(self, conninfo: str) -> str:
        """Returns the way to the same database through this network."""
        port = self._listener.getsockname()[1]
        return make_conninfo(
            conninfo, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )

    def answered(self, data: bytes) -> bytes:
        """Returns what a client gets instead of that part of the server's answers."""
        return data

    def hold(self) -> None:
        """Blocks the connections that are open now."""
        for connection in self._open:
            connection.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._upstream))
                held = threading.Event()
                self._sockets += [client, server]
                self._open.add(held)
                self.opened += 1
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._carry, args=(source, target, held, source is client),
                        daemon=True,
                    ).start()  # fmt: skip

    def _carry(
        self, source: socket.socket, target: socket.socket, held: threading.Event, asks: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if held.is_set():
                    return
                self.round_trips += self._asked and not asks
                self._asked = asks
                target.sendall(data if asks else self.answered(data))
            if not held.is_set():
                target.shutdown(socket.SHUT_RDWR)


class FakePooler(HeldNetwork):
    """Announces another process id than the server's own, as poolers do, and nothing more."""

    def answered(self, data: bytes) -> bytes:
        """Changes the pid in the message BackendKeyData: its type, its length 12, pid, secret."""
        start, found, rest = data.partition(b"K\x00\x00\x00\x0c")
        return start + found + bytes(byte ^ 0x55 for byte in rest[:4]) + rest[4:] if found else data
