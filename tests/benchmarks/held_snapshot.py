"""50,000 cycles of one pipeline while an old snapshot is held open: a pass must not slow down."""

from __future__ import annotations

from tests.benchmarks.bench import Result, as_json, create_ledger, median, timed
from tests.support.databases import open_connection
from tests.support.server import Server

CYCLES = 50_000
SAMPLE = 2_000


def measure(server: Server, cycles: int = CYCLES) -> list[Result]:
    """Measures passes at the beginning and at the end, without waiting for the disk."""
    ledger = create_ledger(server, "bench_snapshot")
    config = as_json(ledger.config("analysed"))
    # Commits that wait for no disk show the pass itself, and whatever would make it grow.
    ledger.connection.execute("set synchronous_commit = off")
    first: list[float] = []
    last: list[float] = []
    with open_connection(ledger.dsn, autocommit=False) as analyst:
        analyst.execute("set transaction isolation level repeatable read")
        analyst.execute("select count(*) from record_ledger.pipeline_records")
        for step in range(2, cycles + 2):
            ledger.go_to_step(step)
            spent, record = timed(ledger.cycle, config)
            ledger.complete(record)
            if 200 <= step < 200 + SAMPLE:
                first.append(spent)
            elif step >= cycles + 2 - SAMPLE:
                last.append(spent)
    ledger.connection.close()
    return [
        Result(
            f"a pass after {cycles:,} cycles under a held snapshot",
            median(last) / median(first),
            1.2,
            f"of a pass at its beginning ({median(first):.0f} us, no wait for the disk)",
        )
    ]
