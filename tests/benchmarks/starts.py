"""How long Python takes to import the package, against its driver alone."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from tests.benchmarks.bench import Result, median, timed

ROUNDS = 15


def measure(rounds: int = ROUNDS) -> list[Result]:
    """Measures new processes that import psycopg, and such that import record_ledger, in turns."""
    times: dict[str, list[float]] = {"psycopg": [], "record_ledger": []}
    for _ in range(rounds):
        for module, spent in times.items():
            command = [sys.executable, "-c", f"import {module}"]
            spent_us, _ = timed(partial(subprocess.run, command, check=True))
            spent.append(spent_us)
    base = median(times["psycopg"])
    return [
        Result(
            "import record_ledger",
            median(times["record_ledger"]) / base,
            1.3,
            f"of import psycopg ({base / 1000:.0f} ms with the interpreter's start)",
        )
    ]
