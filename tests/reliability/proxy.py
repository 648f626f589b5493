"""A bad network: forwards bytes to a server's socket, and loses, delays and tears some of them."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

REQUEST_LOST = "request lost"  # the server never sees the statement
CUT_AT_WORK = "cut in mid-statement"  # the server works on, and finds no client to answer
ANSWER_LOST = "answer lost"  # it was done, and the client got no answer
ANSWER_TORN = "answer torn"
DELAYED = "answer delayed"
HELD = "request held, then lost"
CUT_ALL = "all connections cut"
FAULTS = (REQUEST_LOST, CUT_AT_WORK, ANSWER_LOST, ANSWER_LOST, ANSWER_TORN, DELAYED, DELAYED, HELD)
LONGEST_DELAY = 1.5
_CHUNK = 65536


@dataclass(eq=False)
class _Pair:
    """One connection: the client's side, the server's side, and the fault of the next answer."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    answer: str | None = None

    def cut(self) -> None:
        for side in (self.client, self.server):
            side.transport.abort()


class FaultyProxy:
    """Listens on a loopback port and speaks to a Unix socket; in a `with` block.

    About one request in `every` meets a fault. Only the seed and the connection's number decide
    which requests, and which faults. While `calm`, no request meets a fault.
    """

    def __init__(self, upstream: Path, seed: object, every: float = 100.0) -> None:
        self.upstream, self.seed, self.every = upstream, seed, every
        self.calm = False
        self.port = 0
        self.faults: Counter[str] = Counter()
        self._pairs: set[_Pair] = set()
        self._numbers = 0

    def __enter__(self) -> FaultyProxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def conninfo(self, conninfo: str) -> str:
        """Returns the way to the same database through this network."""
        return make_conninfo(
            conninfo, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable"
        )

    def cut_all(self) -> None:
        """Cuts all connections at the same time, as a switch that restarts would."""
        self.faults[CUT_ALL] += 1
        self._loop.call_soon_threadsafe(self._cut_all)

    def _cut_all(self) -> None:
        for pair in self._pairs:
            pair.cut()

    async def _close(self) -> None:
        self._server.close()
        self._cut_all()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._numbers += 1
        chosen = random.Random(f"{self.seed}/{self._numbers}")
        try:
            from_server, to_server = await asyncio.open_unix_connection(str(self.upstream))
        except OSError:  # the server is down: so is the connection
            to_client.transport.abort()
            return
        pair = _Pair(to_client, to_server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._requests(from_client, pair, chosen), self._answers(from_server, pair, chosen)
            )
        except OSError:
            pass
        finally:
            pair.cut()
            self._pairs.discard(pair)

    async def _requests(
        self, reader: asyncio.StreamReader, pair: _Pair, chosen: random.Random
    ) -> None:
        left = self._wait(chosen)
        while request := await reader.read(_CHUNK):
            left -= 1
            fault = None
            if left <= 0:
                left, drawn = self._wait(chosen), chosen.choice(FAULTS)
                fault = None if self.calm else drawn
            if fault is not None:
                self.faults[fault] += 1
            if fault == HELD:
                await asyncio.sleep(chosen.uniform(0, LONGEST_DELAY))
            if fault in (REQUEST_LOST, HELD):
                break
            pair.answer = fault
            pair.server.write(request)
            await pair.server.drain()
            if fault == CUT_AT_WORK:
                break
        pair.cut()

    async def _answers(
        self, reader: asyncio.StreamReader, pair: _Pair, chosen: random.Random
    ) -> None:
        while answer := await reader.read(_CHUNK):
            fault, pair.answer = pair.answer, None
            if fault == ANSWER_LOST:
                break
            if fault == ANSWER_TORN:
                answer = answer[: len(answer) // 2]
            if fault == DELAYED:
                await asyncio.sleep(chosen.uniform(0, LONGEST_DELAY))
            pair.client.write(answer)
            await pair.client.drain()
            if fault == ANSWER_TORN:
                break
        # Written bytes go out before the end of the stream.
        pair.client.close()
        pair.server.transport.abort()

    def _wait(self, chosen: random.Random) -> int:
        """Draws the number of requests until the next fault; the first request opens the connection."""
        return 1 + int(chosen.expovariate(1 / self.every))
