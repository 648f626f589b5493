"""Drivers that call SQL through psycopg: the bare commit, the ledger and its parts, pgmq-style SQL.

    with_psycopg.py CONTENDER DSN NUMBER [CONFIG]

The ledger's clock is a sequence that the driver's application_name names (see contenders.py).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import psycopg
from loop import serve

BARE = "insert into bench.bare (note) values ('x')"
PASS = (
    "select exit_dag, verdict, reason, record, to_build "
    "from record_ledger.store_new_and_pass_valid_record(%s, %s)"
)
COMPLETE = "select record_ledger.complete_record(%s, %s)"
MESSAGE = '{"source_name": "elasticsearch", "target_name": "snowflake"}'


def run_ids(number: str) -> Callable[[], str]:
    numbers, run = count(), f"{time.time_ns():x}"
    return lambda: f"dag/{run}/task-{number}/{next(numbers)}"


def bare(dsn: str, number: str, config: str) -> Callable[[], float]:
    execute = psycopg.connect(dsn, autocommit=True, prepare_threshold=None).execute

    def item() -> float:
        execute(BARE)
        return perf_counter()

    return item


def ledger(dsn: str, number: str, config: str) -> Callable[[], float]:
    from record_ledger import RecordLedger

    runner, run_id, final_config = RecordLedger(dsn), run_ids(number), json.loads(config)

    def item() -> float:
        result = runner.store_new_and_pass_valid_record(final_config, run_id())
        called = perf_counter()
        if result.record is None:
            raise SystemExit(f"nothing to pass: {result.verdict}: {result.reason}")
        runner.complete_record(result.record["pipeline_id"], result.record["claim_token"])
        return called

    return item


def ledger_sql(dsn: str, number: str, config: str) -> Callable[[], float]:
    execute = psycopg.connect(dsn, autocommit=True, prepare_threshold=None).execute
    run_id = run_ids(number)

    def item() -> float:
        row: Any = execute(PASS, [config, run_id()]).fetchone()
        called = perf_counter()
        if row[0]:
            raise SystemExit(f"nothing to pass: {row[1]}: {row[2]}")
        execute(COMPLETE, [row[3]["pipeline_id"], row[3]["claim_token"]])
        return called

    return item


def ledger_exit(dsn: str, number: str, config: str) -> Callable[[], float]:
    from record_ledger import RecordLedger

    runner, run_id, final_config = RecordLedger(dsn), run_ids(number), json.loads(config)

    def item() -> float:
        result = runner.store_new_and_pass_valid_record(final_config, run_id())
        called = perf_counter()
        if result.record is not None:
            raise SystemExit("a record was passed where none is due")
        return called

    return item


def baseline(function: str, dsn: str, number: str, config: str) -> Callable[[], float]:
    execute = psycopg.connect(dsn, autocommit=True, prepare_threshold=None).execute
    run_id = run_ids(number)
    call = PASS.replace("record_ledger.store_new_and_pass_valid_record", f"bench.{function}")

    def item() -> float:
        execute(call, [config, run_id()]).fetchone()
        return perf_counter()

    return item


def pgmq_style(dsn: str, number: str, config: str) -> Callable[[], float]:
    # psycopg's own default: it prepares what it has executed five times.
    execute = psycopg.connect(dsn, autocommit=True).execute

    def item() -> float:
        execute("select pgmq_style.send(%s)", [MESSAGE])
        row: Any = None
        while row is None:
            row = execute("select * from pgmq_style.read(30, 1)").fetchone()
        called = perf_counter()
        execute("select pgmq_style.archive(%s)", [row[0]])
        return called

    return item


CONTENDERS = {
    "bare": bare,
    "ledger": ledger,
    "ledger_sql": ledger_sql,
    "ledger_exit": ledger_exit,
    **{part: partial(baseline, part) for part in ("empty", "look_ups", "rows")},
    "pgmq_style": pgmq_style,
}
contender, dsn, number, config = [*sys.argv[1:], ""][:4]
serve(CONTENDERS[contender](dsn, number, config))
