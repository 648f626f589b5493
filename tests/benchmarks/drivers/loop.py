"""What each driver of the speed benchmark does: run items for as long as it is told, and answer.

A driver is a process with one connection. It says `ready`, then reads how many seconds to go on and
answers with what each call (enqueue and claim) and each item (the call and completing it) took, in
microseconds. Where several claim at once, `skip locked` may find nothing in its snapshot though a
job is there: the driver then claims again. It needs the standard library only, so it runs in the
environment of any peer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter


class Slice:
    """The items of one stretch of time."""

    def __init__(self, seconds: str) -> None:
        self._calls: list[int] = []
        self._items: list[int] = []
        self._started = self.now = perf_counter()
        self._ends = self._started + float(seconds)

    @property
    def goes_on(self) -> bool:
        return self.now < self._ends

    def note(self, called: float) -> None:
        """Notes an item that has just been completed, and whose call had ended at `called`."""
        done = perf_counter()
        self._calls.append(round((called - self.now) * 1e6))
        self._items.append(round((done - self.now) * 1e6))
        self.now = done

    def answer(self) -> None:
        seconds = self.now - self._started
        print(json.dumps({"calls": self._calls, "items": self._items, "seconds": seconds}))
        sys.stdout.flush()


def serve(item: Callable[[], float]) -> None:
    """Runs items, each of which returns the instant at which its call had ended."""
    print("ready", flush=True)
    for seconds in sys.stdin:
        part = Slice(seconds)
        while part.goes_on:
            part.note(item())
        part.answer()


async def serve_async(item: Callable[[], Awaitable[float]]) -> None:
    """Does the same on an event loop, which has nothing else to do between the stretches."""
    print("ready", flush=True)
    for seconds in sys.stdin:
        part = Slice(seconds)
        while part.goes_on:
            part.note(await item())
        part.answer()
