"""A million windows stored in a hundred calls, against one bulk insert of the same rows."""

from __future__ import annotations

from tests.benchmarks.bench import Ledger, Result, as_json, create_ledger, timed
from tests.support.server import Server

CALLS = 100
PER_CALL = 10_000
BACKLOG = "backlog"

BARE_TABLE = """
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
BARE_INSERT = """
insert into bench.windows (
    pipeline_id, window_start_time, window_end_time, target_day, fields, created_at, updated_at
)
select pipeline_id, window_start_time, window_end_time, target_day, fields, created_at, updated_at
from record_ledger.pipeline_records
where pipeline_id = %s
order by window_start_time
"""


def measure(server: Server, calls: int = CALLS) -> tuple[list[Result], Ledger]:
    """Measures the bulk store; returns the ledger with the backlog that it made."""
    ledger = create_ledger(server, "bench_backlog")
    ledger.go_to_step(calls * PER_CALL + 10)
    ledger.connection.execute(
        "select record_ledger.register_pipeline(%s)", [as_json(ledger.config(BACKLOG))]
    )
    spent = 0.0
    for _ in range(calls):
        spent_us, _ = timed(
            ledger.connection.execute, "call record_ledger.store_new_records(%s)", [BACKLOG]
        )
        spent += spent_us
    row = ledger.connection.execute(
        "select count(*) from record_ledger.pipeline_records"
    ).fetchone()
    assert row == (calls * PER_CALL,), row
    ledger.connection.execute(BARE_TABLE)
    bare, _ = timed(ledger.connection.execute, BARE_INSERT, [BACKLOG])
    ledger.connection.execute("drop table bench.windows")
    result = Result(
        f"{calls * PER_CALL:,} windows stored in {calls} calls",
        spent / bare,
        3.0,
        f"of one bulk insert with identity, unique and partial index ({bare / 1e6:.1f} s)",
    )
    return [result], ledger
