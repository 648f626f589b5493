"""What a plan reads depends on how many runs are asked for, not on how many records wait. Rows are counted, never time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.support import NOW, PIPELINE, complete, one, pass_valid, register, rows, store

BACKLOG = 20_000
READ = """
    select coalesce(sum(seq_tup_read), 0)::int, coalesce(sum(idx_tup_fetch), 0)::int
    from pg_stat_xact_user_tables where schemaname = 'record_ledger' and relname <> 'pipeline'
"""
# The whole backlog in another lane, as years of operations could have left it.
MOVE = "update record_ledger.record set {} where status = 'PENDING'"
LANES = {
    "waiting": None,
    "returned": "event_count = 1, lane = 'returned'",
    "historical": "is_historical = true, lane = 'historical'",
    "incomplete0000000001": "missing_fields = '{source_name}', lane = 'incomplete0000000001'",
    "incomplete0000000001h": (
        "is_historical = true, missing_fields = '{source_name}', lane = 'incomplete0000000001h'"
    ),
}


def read(connection, runs):
    """The rows that a plan reads: (by sequential scans, through indexes)."""
    with connection.transaction():
        before = rows(connection, READ)[0]
        found = rows(
            connection,
            "select window_start_time from record_ledger.plan_runs(%s, %s)",
            [PIPELINE, runs],
        )
        after = rows(connection, READ)[0]
    assert len(found) == runs
    return after[0] - before[0], after[1] - before[1]


@pytest.fixture
def backlog(ledger, clock, config):
    clock.set(NOW)
    register(
        ledger, config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at=NOW)
    )
    clock.advance(timedelta(minutes=BACKLOG))
    while store(ledger, PIPELINE):
        pass
    complete(ledger, pass_valid(ledger, PIPELINE).token)


@pytest.mark.parametrize("lane", LANES)
def test_a_plan_reads_a_few_rows_per_run_of_any_backlog(ledger, connect, backlog, lane):
    session = connect()
    read(session, 10)  # plans are made
    if LANES[lane]:
        with ledger.transaction():
            ledger.execute("alter table record_ledger.record disable trigger user")
            ledger.execute(MOVE.format(LANES[lane]))
            ledger.execute("alter table record_ledger.record enable trigger user")
    if lane in ("historical", "incomplete0000000001h"):
        ledger.execute("update record_ledger.pipeline set backfill_share = 0.5")
    if lane.startswith("incomplete"):
        # By a config since then they are complete.
        ledger.execute("update record_ledger.pipeline set config_version = 2, fields_version = 2")
    assert (
        one(ledger, "select count(*) from record_ledger.record where lane = %s", [lane])
        == BACKLOG - 1
    )
    few, more = read(session, 10), read(session, 300)
    assert few[0] == more[0] == 0
    assert few[1] <= 60 + 10 * 6 and more[1] <= 60 + 300 * 6, (few, more)
