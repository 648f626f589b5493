"""The dbt package over a large ledger: python tests/benchmarks/marts.py [--records N]

A million records of a thousand pipelines, with all their events. Prints seconds: of the whole `dbt
build` (goal 60), of one reading of each mart, the best of several (pipeline_status: goal 0.1), and
of each node of the build. Takes about ten minutes, so run.py leaves it out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import lived_ledger
from tests.dbt.support import MARTS, SCHEMA, WITHOUT_UNIT_TESTS, Dbt
from tests.support.databases import open_connection
from tests.support.server import Server

PIPELINES = 1000
ROUNDS = 3


def measure(server: Server, records: int) -> None:
    """Prints the seconds that a build and the readings of the marts take."""
    dsn = lived_ledger.create(server, PIPELINES, records // PIPELINES)
    with tempfile.TemporaryDirectory() as folder:
        dbt = Dbt(dsn, Path(folder))
        builds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            outcome = dbt.build(*WITHOUT_UNIT_TESTS)
            builds.append(time.perf_counter() - started)
        print(f"dbt build, {len(outcome.results)} nodes  {min(builds):8.2f} s  (goal 60)")
        slowest = sorted(
            (result["execution_time"], result["unique_id"].split(".")[2])
            for result in dbt.artifact("run_results")["results"]
        )
        for seconds, name in reversed(slowest[-8:]):
            print(f"    {name:<40} {seconds:8.2f} s")
    with open_connection(dsn) as connection:
        for mart in MARTS:
            print(f"{mart:<44} {_best(connection, mart):8.3f} s", end="")
            print("  (goal 0.1)" if mart == "pipeline_status" else "", flush=True)


def _best(connection: object, mart: str) -> float:
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        connection.execute(f"select count(m) from {SCHEMA}.{mart} as m")  # type: ignore[attr-defined]
        took.append(time.perf_counter() - started)
    return min(took)


def main() -> None:
    """Measures at a million records, or at `--records`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    records = parser.parse_args().records
    server = Server(settings={"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    try:
        print(f"PostgreSQL {server.version}, {records:,} records, load {os.getloadavg()[0]:.1f}")
        measure(server, records)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
