"""One due window through what teams run in the ledger's place, and through the ledger, in turns.

SQLMesh runs one missing interval of an incremental model, with its state in PostgreSQL. dbt runs
one microbatch between given bounds: it keeps no state and does not know what is due. Both also
move 60 rows, which takes a few milliseconds. The ledger passes and completes a window around
`true`. Per window, the statements are those that the server logged, and the transactions those that
it counted.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from tests.benchmarks.bench import timed
from tests.benchmarks.environments import Environments, Unavailable, version
from tests.benchmarks.report import Report, Result
from tests.support.databases import deploy, in_database, open_connection
from tests.support.server import Server

ROUNDS = 5
SQLMESH = ("sqlmesh[postgres]==0.236.4",)
_COMMANDS = Path(sys.executable).parent
_QUIET = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_VERSION_CHECK": "false", "DO_NOT_TRACK": "1",
    "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true",
}  # fmt: skip
_LOGGED = re.compile(r"LOG:  (?:statement|execute)\b")
_EVENTS = """
create table raw.orders as
select s as ordered_at, 1 as amount from generate_series(%s::timestamp, %s, '1 minute') as s
"""
_CONNECTION = "type: postgres\nhost: {host}\nport: 5432\nuser: postgres\npassword: unused\n"
_SQLMESH_MODEL = """
MODEL (
    name bench.orders, kind INCREMENTAL_BY_TIME_RANGE (time_column ordered_at), cron '@hourly',
    start '{start}'
);
select ordered_at::timestamp as ordered_at, amount::int as amount
from raw.orders where ordered_at between @start_ts and @end_ts
"""
_DBT_MODEL = """
{{{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='ordered_at',
    event_time='ordered_at', batch_size='hour', begin='{start}', lookback=0
) }}}}
select ordered_at, amount from {{{{ source('raw', 'orders') }}}}
"""
_DBT_SOURCES = """
sources:
  - name: raw
    tables:
      - name: orders
        config:
          event_time: ordered_at
"""


@dataclass
class Way:
    """A way to process one window: what it took, and what the server saw of it."""

    name: str
    database: str
    run: Callable[[int], Any]
    check: str
    rows: int
    times: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)
    transactions: list[int] = field(default_factory=list)


def measure(
    server: Server, environments: Environments, report: Report, rounds: int = ROUNDS
) -> None:
    """Has each way do one window after another, in turns."""
    first = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    first -= timedelta(days=2)
    ways = _ledger(server, environments, first)
    for other in (_sqlmesh, _dbt):
        with report.skipping(Unavailable):
            ways.append(other(server, environments, report, first))
    for way in ways:
        with open_connection(in_database(server.dsn(), way.database)) as connection:
            connection.execute(f"alter database {way.database} set log_statement = 'all'")  # type: ignore[arg-type]
    # SQLMesh and dbt filled their caches of the parsed project when their tables were made.
    for turn in range(rounds):
        for way in ways:
            _take_turn(server, way, turn)
    report.series["due_window"] = [
        {
            "name": way.name,
            "milliseconds": round(statistics.median(way.times) / 1000, 1),
            "statements": min(way.statements),
            "transactions": min(way.transactions),
        }
        for way in ways
    ]
    report.add("one due window", [_result(ways[1], way) for way in ways if way is not ways[1]])


def _result(ours: Way, way: Way) -> Result:
    ratio = statistics.median(
        mine / theirs for mine, theirs in zip(ours.times, way.times, strict=True)
    )
    return Result(
        f"{ours.name} beside {way.name}",
        ratio,
        None,
        f"of {statistics.median(way.times) / 1000:,.0f} ms, {min(way.statements)} statements and "
        f"{min(way.transactions)} transactions "
        f"(it: {min(ours.statements)} and {min(ours.transactions)})",
    )


def _take_turn(server: Server, way: Way, turn: int) -> None:
    with open_connection(server.dsn()) as watcher:
        rows, logged = _rows(server, way), len(server.log)
        seen = _transactions(watcher, way.database)
        spent, _ = timed(way.run, turn)
        way.times.append(spent)
        way.transactions.append(_transactions(watcher, way.database) - seen)
        way.statements.append(len(_LOGGED.findall(server.log[logged:])))
        done = _rows(server, way) - rows
        if done != way.rows:
            raise RuntimeError(f"{way.name} did {done} rows in place of {way.rows}")


def _rows(server: Server, way: Way) -> int:
    with open_connection(in_database(server.dsn(), way.database)) as connection:
        row = connection.execute(way.check).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return int(row[0])


def _transactions(watcher: Any, database: str) -> int:
    """Returns how many transactions ended in a database, once its last session has reported."""
    sessions = "select count(*) from pg_stat_activity where datname = %s"
    while watcher.execute(sessions, [database]).fetchone()[0]:
        time.sleep(0.01)
    counted = "select xact_commit + xact_rollback from pg_stat_database where datname = %s"
    return int(watcher.execute(counted, [database]).fetchone()[0])


# ---------------------------------------------------------------- the ledger
def _ledger(server: Server, environments: Environments, first: datetime) -> list[Way]:
    from record_ledger import RecordLedger

    dsn = _database(server, "window_ledger")
    deploy(dsn)
    configs = {
        name: {
            "timezone": "UTC", "x_time_back": "1h", "granularity": "1h", "start_at": str(first),
            "default_record": {"pipeline_id": name, "source_name": "raw", "target_name": "orders"},
        }
        for name in ("called", "executed")
    }  # fmt: skip
    file = environments.folder / "executed.json"
    file.write_text(json.dumps(configs["executed"]), encoding="utf-8")
    command = [str(_COMMANDS / "record-ledger"), "exec", "--config", str(file), "--", "true"]

    def call(turn: int) -> None:
        with (
            RecordLedger(dsn) as ledger,
            ledger.processing(configs["called"], run_id=f"run-{turn}") as record,
        ):
            assert record is not None

    check = (
        "select count(*) from record_ledger.record where status = 'COMPLETED' "
        "and pipeline_id = '{}'"
    )
    environment = {"RECORD_LEDGER_DSN": dsn}
    return [
        Way("the Python call", "window_ledger", call, check.format("called"), 1),
        Way(
            "record-ledger exec",
            "window_ledger",
            lambda _: _command(command, environments.folder, environment),
            check.format("executed"),
            1,
        ),
    ]


# ---------------------------------------------------------------- SQLMesh and dbt
def _sqlmesh(server: Server, environments: Environments, report: Report, first: datetime) -> Way:
    commands = environments.python("sqlmesh", *SQLMESH)
    report.versions["sqlmesh"] = version(commands, "sqlmesh")
    folder, connection = _project(server, environments, "window_sqlmesh", first)
    _write(
        folder / "config.yaml",
        "gateways:\n  local:\n    connection:\n"
        + _indented(f"{connection}database: window_sqlmesh\n", 6)
        + "default_gateway: local\nmodel_defaults:\n  dialect: postgres\n",
    )
    _write(folder / "models" / "orders.sql", _SQLMESH_MODEL.format(start=first.date()))
    sqlmesh = str(commands / "sqlmesh")
    plan = [sqlmesh, "plan", "--auto-apply", "--no-prompts", "--execution-time", str(first)]
    _command(plan, folder, _QUIET)

    def run(turn: int) -> None:
        end = first + timedelta(hours=turn + 1)
        _command([sqlmesh, "run", "--end", str(end)], folder, _QUIET)

    return Way("sqlmesh run", "window_sqlmesh", run, "select count(*) from bench.orders", 60)


def _dbt(server: Server, environments: Environments, report: Report, first: datetime) -> Way:
    report.versions["dbt-core"] = installed_version("dbt-core")
    folder, connection = _project(server, environments, "window_dbt", first)
    _write(
        folder / "profiles.yml",
        "bench:\n  target: local\n  outputs:\n    local:\n"
        + _indented(f"{connection}dbname: window_dbt\nschema: bench\nthreads: 1\n", 6),
    )
    _write(folder / "dbt_project.yml", "name: bench\nversion: '1.0'\nprofile: bench\n")
    _write(folder / "models" / "orders.sql", _DBT_MODEL.format(start=first.date()))
    _write(folder / "models" / "sources.yml", _DBT_SOURCES)
    dbt = [str(_COMMANDS / "dbt"), "run", "--quiet", "--profiles-dir", "."]

    def run(turn: int) -> None:
        start, end = (str(first + timedelta(hours=turn + edge)) for edge in (0, 1))
        bounds = ["--event-time-start", start, "--event-time-end", end]
        _command([*dbt, *bounds], folder, _QUIET)

    run(-1)  # creates the table
    return Way("dbt microbatch", "window_dbt", run, "select count(*) from bench.orders", 60)


def _project(
    server: Server, environments: Environments, name: str, first: datetime
) -> tuple[Path, str]:
    dsn = _database(server, name)
    bounds = [first - timedelta(days=1), first + timedelta(days=2)]
    with open_connection(dsn) as connection:
        connection.execute("create schema raw")
        connection.execute(_EVENTS, bounds)
    folder = environments.folder / name
    return folder, _CONNECTION.format(host=conninfo_to_dict(server.dsn())["host"])


def _database(server: Server, name: str) -> str:
    with open_connection(server.dsn()) as admin:
        admin.execute(f"create database {name}")  # type: ignore[arg-type]
    return in_database(server.dsn(), name)


def _command(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}\n" for line in text.splitlines())
