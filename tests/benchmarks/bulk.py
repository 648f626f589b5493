"""A million windows stored and backfilled, against bulk inserts; two million changed in steps."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.benchmarks.bench import START, STEP, Ledger, as_json, create_ledger, median, timed
from tests.benchmarks.report import Report, Result
from tests.support.server import Server

WINDOWS = 1_000_000
PER_CALL = 10_000
# Milliseconds that the runs of a pipeline may wait for an operator.
LONGEST_STEP = 200.0

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
where pipeline_id = 'history' and window_start_time >= %s
order by window_start_time
limit %s
"""
# The ledger's table without its triggers: the cost of its indexes and its chain of windows alone.
_ALIKE_TABLE = """
create table bench.alike (like record_ledger.record including all);
alter table bench.alike add foreign key (
    pipeline_id, previous_window_start_time, window_start_time
) references bench.alike (pipeline_id, window_start_time, window_end_time);
"""
_ALIKE_INSERT = """
insert into bench.alike
select *
from record_ledger.record
where pipeline_id = 'history' and window_start_time >= %s
order by window_start_time
limit %s
"""
_STEP = "select * from record_ledger.range_step(%s, 'history', %s, 'infinity', 'why', %s)"


def measure(server: Server, report: Report, windows: int = WINDOWS) -> None:
    """Stores so many windows in calls of 10,000, adds as many in one call, changes all in steps."""
    ledger = create_ledger(server, "bench_bulk")
    execute = ledger.connection.execute
    execute(_BARE_TABLE)
    execute(_ALIKE_TABLE)
    first = datetime.fromisoformat(START) + timedelta(seconds=windows * STEP)
    ledger.go_to_step(2 * windows + 10)
    config = ledger.config("history", first.isoformat())
    execute("select record_ledger.register_pipeline(%s)", [as_json(config)])
    # In turns, so that a busy machine slows both.
    stored, bare, alike = 0.0, 0.0, 0.0
    for done in range(0, windows, PER_CALL):
        stored += timed(execute, "call record_ledger.store_new_records('history')")[0]
        start = first + timedelta(seconds=done * STEP)
        bare += timed(execute, _BARE_INSERT, [start, PER_CALL])[0]
        alike += timed(execute, _ALIKE_INSERT, [start, PER_CALL])[0]
    execute("drop table bench.alike")
    before = _bare(ledger, first, windows)
    backfilled, cursor = timed(
        execute, "select record_ledger.backfill_records('history', %s)", [START]
    )
    assert cursor.fetchone() == (windows,)
    around = (before + _bare(ledger, first, windows)) / 2
    of = "of bulk inserts of the same rows with identity, unique and partial index"
    report.add(
        "bulk",
        [
            Result(
                f"{windows:,} windows stored in {windows // PER_CALL} calls",
                stored / bare,
                2.2,
                f"{of} ({bare / 1e6:.1f} s)",
            ),
            Result(
                "the same calls",
                stored / alike,
                1.2,
                f"of bulk inserts into a table with the ledger's indexes and foreign key "
                f"({alike / 1e6:.1f} s)",
            ),
            Result(
                f"{windows:,} windows backfilled in one call",
                backfilled / around,
                2.2,
                f"{of} ({around / 1e6:.1f} s)",
            ),
            *(_in_steps(ledger, operation) for operation in ("waive", "reopen")),
            _in_steps(ledger, "backfill", first - timedelta(seconds=2 * windows * STEP)),
        ],
    )
    ledger.connection.close()


def _bare(ledger: Ledger, start: datetime, windows: int) -> float:
    """Returns how long a bulk insert of the rows of so many windows takes."""
    ledger.connection.execute("truncate bench.windows")
    return timed(ledger.connection.execute, _BARE_INSERT, [start, windows])[0]


def _in_steps(ledger: Ledger, operation: str, from_time: datetime | str = "-infinity") -> Result:
    """Does an operation on all records in steps; the longest of them held the lock no longer."""
    start: datetime | str | None = from_time
    size, changed, spent = 1000, 0, []
    while start is not None:
        microseconds, cursor = timed(ledger.connection.execute, _STEP, [operation, start, size])
        count, start, size = cursor.fetchone()
        changed += count
        spent.append(microseconds / 1000)
    return Result(
        f"{operation} {changed:,} records in steps: the longest, in ms",
        max(spent),
        LONGEST_STEP,
        f"of {len(spent)} steps, lock and commit included; the median took {median(spent):.0f} ms, "
        f"all {sum(spent) / 1000:.0f} s",
    )
