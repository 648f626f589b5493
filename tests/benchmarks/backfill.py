"""A million windows added before a pipeline's first one, against a bulk insert of the same rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.benchmarks.bench import START, STEP, Result, as_json, create_ledger, timed
from tests.benchmarks.bulk import BARE_INSERT, BARE_TABLE
from tests.support.server import Server

PIPELINE = "history"


def measure(server: Server, windows: int) -> list[Result]:
    """Measures one call that adds so many windows of a hundred seconds."""
    ledger = create_ledger(server, "bench_backfill")
    execute = ledger.connection.execute
    first = datetime.fromisoformat(START) + timedelta(seconds=windows * STEP)
    ledger.go_to_step(windows + 10)
    config = ledger.config(PIPELINE, first.isoformat())
    execute("select record_ledger.register_pipeline(%s)", [as_json(config)])
    execute("call record_ledger.store_new_records(%s)", [PIPELINE])
    spent, cursor = timed(
        execute, "select record_ledger.backfill_records(%s, %s)", [PIPELINE, START]
    )
    assert cursor.fetchone() == (windows,)
    execute(BARE_TABLE)
    bare, _ = timed(execute, BARE_INSERT, [PIPELINE])
    return [
        Result(
            f"{windows:,} windows backfilled in one call",
            spent / bare,
            3.5,
            f"of one bulk insert with identity, unique and partial index ({bare / 1e6:.1f} s)",
        )
    ]
