"""A worker whose every block takes longer than a lease: python -m tests.reliability.steady_worker SPEC

Only heartbeats keep its claims. Nobody interferes, so none of them may be lost.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.reliability.worker import Spec, Step, Worker

TIMES_THE_LEASE = 1.3


class Steady(Worker):
    """A worker that takes its time, until it is told to stop."""

    def steps(self) -> list[Step]:
        return [self.block]

    def take_time(self) -> None:
        until = time.monotonic() + self.spec.lease * TIMES_THE_LEASE
        while time.monotonic() < until and not Path(self.spec.stop).exists():
            time.sleep(0.1)


if __name__ == "__main__":
    Steady(Spec(**json.loads(sys.argv[1]))).work()
