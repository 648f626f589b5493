"""What the benchmarks share: databases with a clock set by hand, and how a call is timed."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg

from tests.support.databases import in_database, open_connection
from tests.support.server import Server

# A window a step: at step n exactly one more window is due, and one more has settled.
STEP = 100
START = "2020-01-01T00:00:00+00:00"
CALL = (
    "select exit_dag, verdict, reason, record, to_build "
    "from record_ledger.store_new_and_pass_valid_record(%s, %s)"
)
COMPLETE = "select record_ledger.complete_record(%s, %s)"
# Parts of a call without the rest of it, by the functions in drivers/baseline.sql.
BASELINES = {
    "an empty function": "empty",
    "the look-ups alone": "look_ups",
    "the rows alone": "rows",
}
BARE = "insert into bench.bare (note) values ('x')"

# Each call of the clock moves it on by a second: far less than a step, cheaper than a table's read.
_SETUP = f"""
create schema bench;
create sequence bench.tick minvalue -1000000000;
create table bench.bare (id bigint generated always as identity primary key, note text);
create or replace function record_ledger.clock() returns timestamptz language sql volatile
as $$ select timestamptz '{START}' + nextval('bench.tick') * interval '1 second' $$;
"""


def make_config(pipeline_id: str, **changes: Any) -> dict[str, Any]:
    """Returns a config whose windows are one step long, and stable one step later."""
    return {
        "timezone": "UTC",
        "x_time_back": f"{STEP}s",
        "granularity": f"{STEP}s",
        "start_at": START,
        "max_attempts": 3,
        "default_record": {
            "pipeline_id": pipeline_id,
            "source_name": "elasticsearch",
            "target_name": "snowflake",
        },
        **changes,
    }


@dataclass
class Ledger:
    """A connection to a benchmark's database, and the pipelines that it moves step by step."""

    dsn: str
    connection: psycopg.Connection[Any]
    run: str = field(default_factory=lambda: f"{time.time_ns():x}")
    _runs: count[int] = field(default_factory=count)

    def config(self, pipeline_id: str, start_at: str = START) -> dict[str, Any]:
        return make_config(pipeline_id, start_at=start_at)

    def run_id(self) -> str:
        return f"dag/{self.run}/task/{next(self._runs)}"

    def go_to_step(self, step: int) -> None:
        self.connection.execute("select setval('bench.tick', %s)", [step * STEP + 1])

    def cycle(self, config: str) -> Any:
        """Runs the whole call once and returns the record that it passed."""
        row = self.connection.execute(CALL, [config, self.run_id()]).fetchone()
        assert row is not None
        if row[0]:
            raise AssertionError(f"the call answered {row[1]}: {row[2]}")
        return row[3]

    def complete(self, record: Mapping[str, Any]) -> None:
        self.connection.execute(COMPLETE, [record["pipeline_id"], record["claim_token"]])

    def bare_commit(self) -> None:
        self.connection.execute(BARE)


def create_ledger(server: Server, name: str, template: str | None = None) -> Ledger:
    """Creates a database with a ledger and the benchmark's clock, or a copy of such a one."""
    from record_ledger.server.deploy import deploy

    dsn = in_database(server.dsn(), name)
    with open_connection(server.dsn()) as admin:
        admin.execute(f"create database {name} template {template or 'template1'}")  # type: ignore[arg-type]
    if template is None:
        deploy(dsn)
        with open_connection(dsn) as connection:
            connection.execute(_SETUP)
    return Ledger(dsn, open_connection(dsn))


def as_json(config: Mapping[str, Any]) -> str:
    return json.dumps(config)


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Returns how long a call took, in microseconds, and what it returned."""
    started = time.perf_counter()
    result = call(*arguments)
    return (time.perf_counter() - started) * 1e6, result


def median(times: list[float]) -> float:
    return statistics.median(times)


def undisturbed(times: list[float]) -> float:
    """Returns the lower quartile: other work on the machine only adds to a CPU time."""
    return statistics.quantiles(times, n=4)[0] if len(times) > 1 else times[0]
