"""Cycles of one pipeline while an old snapshot is held open: a pass must not slow down."""

from __future__ import annotations

from tests.benchmarks.bench import as_json, create_ledger, median, timed
from tests.benchmarks.report import Report, Result
from tests.support.databases import open_connection
from tests.support.server import Server

CYCLES = 50_000
LONG_CYCLES = 200_000
SAMPLE = 1_000
_WARM_UP = 200


def measure(server: Server, report: Report, cycles: int = CYCLES) -> None:
    """Measures passes of each thousand cycles, without waiting for the disk."""
    ledger = create_ledger(server, "bench_snapshot")
    config = as_json(ledger.config("analysed"))
    # Commits that wait for no disk show the pass itself, and whatever would make it grow.
    ledger.connection.execute("set synchronous_commit = off")
    times: list[float] = []
    with open_connection(ledger.dsn, autocommit=False) as analyst:
        analyst.execute("set transaction isolation level repeatable read")
        analyst.execute("select count(*) from record_ledger.pipeline_records")
        for step in range(2, cycles + _WARM_UP + 2):
            ledger.go_to_step(step)
            spent, record = timed(ledger.cycle, config)
            ledger.complete(record)
            times.append(spent)
    ledger.connection.close()
    times = times[_WARM_UP:]
    first, last = median(times[:SAMPLE]), median(times[-SAMPLE:])
    report.series["held_snapshot"] = [
        {"cycles": start + SAMPLE, "pass_us": round(median(times[start : start + SAMPLE]))}
        for start in range(0, cycles - SAMPLE + 1, max(SAMPLE, cycles // 50))
    ]
    report.add(
        "held snapshot",
        [
            Result(
                f"a pass after {cycles:,} cycles under a held snapshot",
                last / first,
                1.2,
                f"of a pass in the first {SAMPLE:,} ({first:.0f} us, no wait for the disk)",
            )
        ],
    )
