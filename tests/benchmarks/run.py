"""Prints the ratios that the ledger is held to: python tests/benchmarks/run.py [--quick]

Each is a ratio of medians measured in turns on one server of its own with fsync on, so that a noisy
machine spoils both sides. Nothing fails here: a ratio above its goal is marked, for a person.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import backfill, bulk, calls, growth, held_snapshot, moving, starts
from tests.benchmarks.bench import print_results
from tests.support.server import Server


def main() -> None:
    """Runs all benchmarks; `--quick` runs them short, to see that they work."""
    quick = "--quick" in sys.argv[1:]
    server = Server(settings={"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    try:
        print(f"PostgreSQL {server.version}, one client, fsync on", flush=True)
        results = starts.measure(3 if quick else starts.ROUNDS)
        results += calls.measure(server, 100 if quick else calls.ROUNDS)
        bulk_calls = 2 if quick else bulk.CALLS
        stored, backlog = bulk.measure(server, bulk_calls)
        results += stored
        results += backfill.measure(server, bulk_calls * bulk.PER_CALL)
        results += growth.measure(
            server, backlog, bulk_calls * bulk.PER_CALL, 50 if quick else growth.ROUNDS
        )
        results += held_snapshot.measure(server, 5_000 if quick else held_snapshot.CYCLES)
        results += moving.measure(*((1, 20_000) if quick else (moving.ROUNDS, moving.DOCUMENTS)))
    finally:
        server.remove()
    print_results(results)


if __name__ == "__main__":
    main()
