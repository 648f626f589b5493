"""The clock by which leases are counted on this machine."""

from __future__ import annotations

import time

# A lease runs on while the machine sleeps; CLOCK_MONOTONIC, which Python's own uses, does not.
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed() -> float:
    """Returns seconds that only ever grow, those in which the machine was suspended included.

    Where the platform has no such clock (macOS, Windows), `time.monotonic` answers.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
