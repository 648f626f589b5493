"""A pass, an exit and a completion read as much with many records in a lane as with few.

Counted are rows and pages, never time. Both pipelines are in one ledger, so that every index has as
many levels for the one as for the other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.benchmarks.bench import START, STEP
from tests.benchmarks.filling import HISTORIES, LANES, Lane
from tests.sql.support import audit, cycle, one, rows
from tests.support.databases import Connection

FEW = 500
# What a look-up reads more now and then: another page at the end of a table, a page that was split;
# and of the records whose backoff is over, up to fifty are read.
ROWS, PAGES = 60, 30
# Plans are made, caches are filled.
WARM_UP = 3

READ = """
    select coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::int
    from pg_stat_xact_user_tables where schemaname = 'record_ledger'
"""
PASS = "select record_ledger.store_new_and_pass_valid_record({}, {}, {})"
COMPLETE = "select record_ledger.complete_record({}, {}, window_start_time => {})"
NEWEST_CLAIM = """
    select claim_token, window_start_time from record_ledger.claim
    where pipeline_id = %s order by claim_token desc limit 1
"""


def at_step(step: float) -> datetime:
    return datetime.fromisoformat(START) + timedelta(seconds=step * STEP + 1)


def read(connection: Connection, query: str, values: list[Any]) -> tuple[int, int]:
    """What a statement reads: (rows, pages)."""
    with connection.transaction():
        before = one(connection, READ)
        plan = one(
            connection, f"explain (analyze, buffers, timing off, format json) {query}", values
        )
        after = one(connection, READ)
    found = plan[0]["Plan"]
    return after - before, found["Shared Hit Blocks"] + found["Shared Read Blocks"]


class Side:
    """One of the two pipelines."""

    def __init__(self, connection: Connection, lane: Lane, name: str) -> None:
        self.connection = connection
        self.name = name
        # A record that was taken back can be passed immediately, however long ago its lease ran out.
        self.config = {**lane.config(name), "retry_delay": "0s"}
        self.runs = 0

    def _pass(self, built: list[Any]) -> tuple[int, int]:
        self.runs += 1
        query = PASS.format("%s", "%s", "%s")
        return read(self.connection, query, [Jsonb(self.config), f"run {self.runs}", Jsonb(built)])

    def item(self) -> dict[str, tuple[int, int]]:
        """Stores a window, passes a record and completes it; what both calls read."""
        built = []
        if any("{{" in value for value in self.config["default_record"].values()):
            answer = cycle(self.connection, self.config, "renders")
            fields = {"path": "rendered", "source_name": "shop", "target_name": "warehouse"}
            built = [{**window, "fields": fields} for window in answer.to_build]
        before = rows(self.connection, NEWEST_CLAIM, [self.name])
        passing = self._pass(built)
        after = rows(self.connection, NEWEST_CLAIM, [self.name])
        assert after != before, "nothing was passed"
        query = COMPLETE.format("%s", "%s", "%s")
        return {"pass": passing, "completion": read(self.connection, query, [self.name, *after[0]])}

    def exit(self) -> tuple[int, int]:
        """Asks by a config by which no window is stable; what that reads."""
        self.config["x_time_back"] = "36500d"
        before = rows(self.connection, NEWEST_CLAIM, [self.name])
        found = self._pass([])
        assert rows(self.connection, NEWEST_CLAIM, [self.name]) == before, "a record was passed"
        return found


@pytest.mark.parametrize(
    "many", [2_500, pytest.param(50_000, marks=pytest.mark.slow)], ids=lambda many: f"{many:,}"
)
@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
def test_a_call_reads_no_more_with_more_records_in_the_lane(ledger, clock, lane, many):
    sides = [Side(ledger, lane, name) for name in ("few", "many")]
    for side, count in zip(sides, (FEW, many), strict=True):
        lane.fill(ledger, side.name, count, many - count)
    ledger.execute("vacuum analyze")
    found = []
    for side in sides:
        for turn in range(WARM_UP):
            clock.set(at_step(many + 3 + turn))
            reads = side.item()
        for turn in range(WARM_UP):
            clock.set(at_step(many + 3 + WARM_UP + turn))
            reads["exit"] = side.exit()
        found.append(reads)
    few, more = found
    grown = {
        call: (few[call], more[call])
        for call in few
        if more[call][0] > few[call][0] + ROWS or more[call][1] > few[call][1] + PAGES
    }
    assert not grown, f"(rows, pages) with {FEW} and with {many}: {grown}"


def test_what_fills_a_lane_is_what_the_routines_leave(ledger, clock):
    clock.set(at_step(43))
    for number, lane in enumerate(LANES):
        lane.fill(ledger, f"p{number}", 40)
    audit(ledger)
    filled = "select pipeline_id, window_start_time, lane, open_pipeline_id from record_ledger.record order by 1, 2"
    before = rows(ledger, filled)
    assert len(before) == 40 * len(LANES)
    # A change that is none: the trigger writes each lane anew.
    ledger.execute("update record_ledger.record set fields = fields")
    assert rows(ledger, filled) == before
    for number, lane in enumerate(LANES):
        side = Side(ledger, lane, f"p{number}")
        side.item()
    audit(ledger)


def test_every_life_is_in_a_lane_that_is_measured():
    measured = {history for lane in LANES for history, _ in lane.histories}
    assert measured == set(HISTORIES.values())
