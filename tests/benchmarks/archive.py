"""Archiving ten million finished records: python tests/benchmarks/archive.py [--records N]

Prints ratios: archiving against moving the same rows between plain tables; what a pass takes and
touches before, during and after; whether readers of the archive wait. It takes about 15 minutes
and 20 GB, so run.py leaves it out. It marks a ratio above its goal.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.bench import (
    START,
    STEP,
    Ledger,
    as_json,
    create_ledger,
    median,
    timed,
)
from tests.benchmarks.filling import fill
from tests.benchmarks.report import Result
from tests.benchmarks.report import table as lines_of
from tests.support.databases import Connection, open_connection
from tests.support.server import Server

PIPELINES = 10
BATCH = 10_000
ROUNDS = 400
ARCHIVE = "select record_ledger.archive_records(%s, '2100-01-01T00:00:00Z', %s)"

_PLAIN = """
create table bench.{0} (like record_ledger.{0} including defaults);
create table bench.moved_{0} (like record_ledger.{0} including defaults);
insert into bench.{0} select * from record_ledger.{0} where pipeline_id = 'p0';
alter table bench.{0} add primary key ({1});
alter table bench.moved_{0} add primary key ({1});
analyze bench.{0};
"""
_KEYS = {
    "record": "pipeline_id, window_start_time",
    "record_event": "pipeline_id, window_start_time, event_no",
}
_LOOKS = (
    f"""
    select count(*) from record_ledger.archived_records
    where pipeline_id = 'p0' and window_start_time < timestamptz '{START}' + interval '1 hour'
    """,
    f"""
    select count(*) from record_ledger.archived_record_events
    where pipeline_id = 'p2' and window_start_time < timestamptz '{START}' + interval '1 hour'
    """,
    f"""
    select * from record_ledger.records_as_of('{START}')
    where pipeline_id = 'p1' and window_start_time = '{START}'
    """,
)
_PAGES = """
explain (analyze, buffers, format json)
select record_ledger.store_new_and_pass_valid_record(%s, null)
"""
_COMPLETE_ALL = """
select record_ledger.complete_record(pipeline_id, claim_token)
from record_ledger.pipeline_records where status = 'IN_PROGRESS'
"""


def fill_all(ledger: Ledger, records: int) -> None:
    """Makes the pipelines p0, p1 ... with as many finished records in all."""
    ledger.go_to_step(records // PIPELINES + 2)
    for number in range(PIPELINES):
        fill(ledger.connection, ledger.config(f"p{number}"), records // PIPELINES)
        print(f"filled {(number + 1) * (records // PIPELINES):,} records", flush=True)
    for table, key in _KEYS.items():
        ledger.connection.execute(_PLAIN.format(table, key))  # type: ignore[arg-type]
    ledger.connection.execute("vacuum analyze")


def move_plain(ledger: Ledger, first: int) -> None:
    """Moves a batch of the same rows from plain tables to plain tables, in one transaction."""
    bounds = [f"{(first + edge) * STEP} seconds" for edge in (0, BATCH)]
    where = (
        f"where pipeline_id = 'p0' and window_start_time >= timestamptz '{START}' + %s::interval "
        f"and window_start_time < timestamptz '{START}' + %s::interval"
    )
    with ledger.connection.transaction():
        for table in _KEYS:
            copy = f"insert into bench.moved_{table} select * from bench.{table} {where}"
            ledger.connection.execute(copy, bounds)  # type: ignore[arg-type]
            ledger.connection.execute(f"delete from bench.{table} {where}", bounds)  # type: ignore[arg-type]


class Passes:
    """Cycles of one pipeline in a session of its own; no commit waits for the disk."""

    def __init__(self, dsn: str, first_step: int) -> None:
        self._ledger = Ledger(dsn, open_connection(dsn))
        self._ledger.connection.execute("set synchronous_commit = off")
        self._step = first_step
        starts = datetime.fromisoformat(START) + timedelta(seconds=STEP * (first_step - 1))
        self._config = as_json(self._ledger.config("live", starts.isoformat()))

    def measure(self, rounds: int = ROUNDS) -> tuple[float, float, int]:
        """Returns the medians of a cycle and of a bare commit (us), and the pages of a pass."""
        cycles, commits = [], []
        for turn in range(rounds + 20):
            self._go_on()
            passing, record = timed(self._ledger.cycle, self._config)
            ending, _ = timed(self._ledger.complete, record)
            commit, _ = timed(self._ledger.bare_commit)
            if turn >= 20:
                cycles.append(passing + ending)
                commits.append(commit)
        self._go_on()
        row = self._ledger.connection.execute(_PAGES, [self._config]).fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        self._ledger.connection.execute(_COMPLETE_ALL)
        return (
            median(cycles),
            median(commits),
            plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        )

    def _go_on(self) -> None:
        self._step += 1
        self._ledger.go_to_step(self._step)


@dataclass
class Archiver:
    """Archives every pipeline, batch by batch, and records the time of each call."""

    dsn: str
    moved: int = 0
    spent: list[float] = field(default_factory=list)

    def run(self) -> None:
        with open_connection(self.dsn) as connection:
            for number in range(PIPELINES):
                while self.step(connection, f"p{number}"):
                    pass

    def step(self, connection: Connection, name: str) -> int:
        spent, cursor = timed(connection.execute, ARCHIVE, [name, BATCH])
        count: int = cursor.fetchone()[0]
        if count:
            self.spent.append(spent)
        self.moved += count
        return count


def look_on(dsn: str, ended: threading.Event, waits: list[float]) -> None:
    """Reads the archive again and again; a wait for a lock of a tenth of a second is an error."""
    with open_connection(dsn) as connection:
        connection.execute("set lock_timeout = '100ms'")
        while not ended.is_set():
            waits.extend(timed(connection.execute, query)[0] for query in _LOOKS)
            time.sleep(0.05)


def measure(server: Server, records: int) -> list[Result]:
    """Measures archiving on a ledger of so many finished records."""
    ledger = create_ledger(server, "bench_archive")
    fill_all(ledger, records)
    each = records // PIPELINES
    passes, archiver = Passes(ledger.dsn, each + 10), Archiver(ledger.dsn)
    before = passes.measure()

    plain = []
    for turn in range(min(50, each // BATCH - 1)):
        plain.append(timed(move_plain, ledger, turn * BATCH)[0])
        archiver.step(ledger.connection, "p0")
    in_turns = list(archiver.spent)

    ended, waits = threading.Event(), [0.0]
    reader = threading.Thread(target=look_on, args=[ledger.dsn, ended, waits])
    mover = threading.Thread(target=archiver.run)
    reader.start()
    mover.start()
    during = passes.measure()
    was_beside = mover.is_alive()
    mover.join()
    ended.set()
    reader.join()
    ledger.connection.execute("vacuum analyze")
    after = passes.measure()

    print(
        f"{archiver.moved:,} records with their events archived, "
        f"{archiver.moved / sum(archiver.spent) * 1e6:,.0f} records/s, a call of {BATCH:,} in "
        f"{median(archiver.spent) / 1e3:.0f} ms (the longest {max(archiver.spent) / 1e3:.0f});\n"
        f"{len(waits):,} looks into the archive meanwhile, the longest {max(waits) / 1e3:.0f} ms;\n"
        f"(cycle us, bare commit us, pages of a pass) before {before}, during {during}"
        f"{'' if was_beside else ' (but archiving ended first)'}, after {after}"
    )
    quiet = before[0] / before[1]
    commit = f"both of a bare commit beside it ({before[1]:.0f} us, no wait for the disk)"
    return [
        Result(
            f"archiving {BATCH:,} records",
            median(in_turns) / median(plain),
            4.0,
            f"of moving the same rows between plain tables ({median(plain) / 1e3:.0f} ms)",
        ),
        Result("a cycle meanwhile", during[0] / during[1] / quiet, 1.2, f"of one before, {commit}"),
        Result("a cycle after it", after[0] / after[1] / quiet, 1.2, f"of one before, {commit}"),
        Result("pages of a pass meanwhile", during[2] / before[2], 1.2, f"of {before[2]} before"),
        Result("pages of a pass after it", after[2] / before[2], 1.2, f"of {before[2]} before"),
    ]


def main() -> None:
    """Runs the benchmark on a server of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000_000)
    records = parser.parse_args().records
    server = Server(settings={"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    try:
        print(f"PostgreSQL {server.version}, fsync on, {records:,} records", flush=True)
        results = measure(server, records)
    finally:
        server.remove()
    print(lines_of(results, "archiving"))


if __name__ == "__main__":
    main()
