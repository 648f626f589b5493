"""A million windows stored and backfilled, against bulk inserts of the same rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.benchmarks.bench import START, STEP, Ledger, as_json, create_ledger, timed
from tests.benchmarks.report import Report, Result
from tests.support.server import Server

WINDOWS = 1_000_000
PER_CALL = 10_000

_BARE_TABLE = """
create table bench.windows (
    id bigint generated always as identity primary key,
    pipeline_id text not null,
    window_start_time timestamptz not null,
    window_end_time timestamptz not null,
    target_day date not null,
    status text not null default 'PENDING',
    fields jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (pipeline_id, window_start_time)
);
create index on bench.windows (pipeline_id, window_start_time) where status = 'PENDING';
"""
_BARE_INSERT = """
insert into bench.windows (
    pipeline_id, window_start_time, window_end_time, target_day, fields, created_at, updated_at
)
select pipeline_id, window_start_time, window_end_time, target_day, fields, created_at, updated_at
from record_ledger.pipeline_records
order by window_start_time
limit %s
"""


def measure(server: Server, report: Report, windows: int = WINDOWS) -> None:
    """Stores so many windows in calls of 10,000, and adds as many in one call before the first."""
    ledger = create_ledger(server, "bench_bulk")
    execute = ledger.connection.execute
    first = datetime.fromisoformat(START) + timedelta(seconds=windows * STEP)
    ledger.go_to_step(2 * windows + 10)
    config = ledger.config("history", first.isoformat())
    execute("select record_ledger.register_pipeline(%s)", [as_json(config)])
    stored = sum(
        timed(execute, "call record_ledger.store_new_records('history')")[0]
        for _ in range(windows // PER_CALL)
    )
    bare = _bare(ledger, windows)
    backfilled, cursor = timed(
        execute, "select record_ledger.backfill_records('history', %s)", [START]
    )
    assert cursor.fetchone() == (windows,)
    bare_again = _bare(ledger, windows)
    ledger.connection.close()
    of = "of one bulk insert with identity, unique and partial index"
    report.add(
        "bulk",
        [
            Result(
                f"{windows:,} windows stored in {windows // PER_CALL} calls",
                stored / bare,
                3.0,
                f"{of} ({bare / 1e6:.1f} s)",
            ),
            Result(
                f"{windows:,} windows backfilled in one call",
                backfilled / bare_again,
                3.5,
                f"{of} ({bare_again / 1e6:.1f} s)",
            ),
        ],
    )


def _bare(ledger: Ledger, windows: int) -> float:
    """Returns how long a bulk insert of the rows of the first so many windows takes."""
    ledger.connection.execute(_BARE_TABLE)
    spent, _ = timed(ledger.connection.execute, _BARE_INSERT, [windows])
    ledger.connection.execute("drop table bench.windows")
    return spent
