"""Who takes part in the speed benchmark: their databases, their drivers, and what a turn finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.bench import BASELINES, START, create_ledger
from tests.benchmarks.environments import Environments, Unavailable, version
from tests.benchmarks.report import Report
from tests.support.databases import in_database, open_connection
from tests.support.server import Server

LEVELS = (1, 2, 4, 8, 16)
DRIVERS = Path(__file__).with_name("drivers")
# The versions that these drivers were written for.
PROCRASTINATE = ("procrastinate==3.10.0", "psycopg[binary]>=3.2,<4")
PGQUEUER = ("pgqueuer==1.6.0", "asyncpg", "uvloop; sys_platform != 'win32'")
GRAPHILE_WORKER = ("graphile-worker@0.17.3",)

# A clock that moves on by a second whenever it is read. A driver's application_name says whose it
# is; pipelines whose windows are as long as a cycle has readings get one new window a cycle.
_CLOCK = f"""
create or replace function record_ledger.clock() returns timestamptz language sql volatile
as $$
    select timestamptz '{START}'
        + nextval(('bench.' || current_setting('application_name'))::regclass) * interval '1 second'
$$;
"""
# So many windows are due at the beginning that a driver which is a little ahead never finds none.
_HEAD_START = 100


@dataclass
class Contender:
    """What takes part in the turns: how its drivers are started, and at which numbers of them."""

    name: str
    command: list[str]
    dsn: str
    config: dict[str, Any] | None = None
    shares_clock: bool = False
    levels: tuple[int, ...] = LEVELS
    environment: Mapping[str, str] = field(default_factory=dict)
    _drivers: list[subprocess.Popen[str]] = field(default_factory=list)
    # What each round at each level found.
    slices: dict[int, list[Slice]] = field(default_factory=dict)

    def drivers(self, wanted: int) -> list[subprocess.Popen[str]]:
        """Returns so many drivers, all ready and warmed up."""
        new = [self._start(number) for number in range(len(self._drivers), wanted)]
        for driver in new:
            _line(driver, self.name)
            _ask(driver, 0.2)
        for driver in new:
            _line(driver, self.name)
        self._drivers += new
        return self._drivers[:wanted]

    def _start(self, number: int) -> subprocess.Popen[str]:
        dsn, config = self.dsn, ""
        if self.config is not None:
            own = 0 if self.shares_clock else number
            dsn += f" application_name=clock_{own}"
            config = json.dumps(
                {**self.config, "default_record": {"pipeline_id": f"p{own}", **_FIELDS}}
            )
        return subprocess.Popen(
            [*self.command, dsn, str(number), config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def take_turn(self, level: int, seconds: float) -> None:
        """Runs that many drivers at once and keeps what they say."""
        drivers = self.drivers(level)
        for driver in drivers:
            _ask(driver, seconds)
        answers = [json.loads(_line(driver, self.name)) for driver in drivers]
        self.slices.setdefault(level, []).append(Slice(answers))

    def end(self) -> None:
        """Ends its drivers."""
        for driver in self._drivers:
            assert driver.stdin is not None
            driver.stdin.close()
        for driver in self._drivers:
            driver.wait()


class Slice:
    """What the drivers of one turn said: times in microseconds, and items per second."""

    def __init__(self, answers: list[dict[str, Any]]) -> None:
        self.calls = [spent for answer in answers for spent in answer["calls"]]
        self.items = [spent for answer in answers for spent in answer["items"]]
        self.rate = sum(len(answer["items"]) / answer["seconds"] for answer in answers)


_FIELDS = {"source_name": "elasticsearch", "target_name": "snowflake"}


def _ask(driver: subprocess.Popen[str], seconds: float) -> None:
    assert driver.stdin is not None
    driver.stdin.write(f"{seconds}\n")
    driver.stdin.flush()


def _line(driver: subprocess.Popen[str], name: str) -> str:
    assert driver.stdout is not None
    line = driver.stdout.readline()
    if not line:
        raise RuntimeError(f"a driver of {name} ended with exit code {driver.wait()}")
    return line


# ---------------------------------------------------------------- who takes part
def contenders(server: Server, environments: Environments, report: Report) -> list[Contender]:
    """Returns all that can take part on this machine, the bare commit first."""
    ours = [sys.executable, str(DRIVERS / "with_psycopg.py")]
    ledger = create_ledger(server, "speed_ledger")
    ledger.connection.execute(_CLOCK)
    for number in range(max(LEVELS)):
        ledger.connection.execute(f"create sequence bench.clock_{number}")  # type: ignore[arg-type]
    config = _config(ledger.dsn)
    ledger.connection.close()
    shared, idle, baseline = (
        create_ledger(server, name, template="speed_ledger")
        for name in ("speed_shared", "idle", "baseline")
    )
    baseline.connection.execute((DRIVERS / "baseline.sql").read_bytes())
    for copy in (shared, idle, baseline):
        copy.connection.close()
    never = {**config, "x_time_back": "36500d"}
    pgmq = _database(server, "speed_pgmq")
    with open_connection(pgmq) as connection:
        connection.execute((DRIVERS / "pgmq_style.sql").read_bytes())
    found = [
        Contender("bare commit", [*ours, "bare"], ledger.dsn),
        Contender("record-ledger", [*ours, "ledger"], ledger.dsn, config),
        Contender(
            "record-ledger, one pipeline", [*ours, "ledger"], shared.dsn, config, shares_clock=True
        ),
        Contender("record-ledger, plain SQL", [*ours, "ledger_sql"], idle.dsn, config, levels=(1,)),
        Contender("a call that exits", [*ours, "ledger_exit"], shared.dsn, never, levels=(1,)),
        *(
            Contender(name, [*ours, part], baseline.dsn, never, levels=(1,))
            for name, part in BASELINES.items()
        ),
        Contender("pgmq-style SQL", [*ours, "pgmq_style"], pgmq),
    ]
    for peer in (_procrastinate, _pgqueuer, _graphile_worker):
        with report.skipping(Unavailable):
            found.append(peer(server, environments, report))
    return found


def _config(dsn: str) -> dict[str, Any]:
    """Returns a config whose windows are as long as one cycle reads the clock, in seconds."""
    from record_ledger import RecordLedger

    config = {"timezone": "UTC", "x_time_back": "0s", "start_at": START}
    cycle = 1
    with open_connection(dsn) as connection, RecordLedger(f"{dsn} application_name=clock_0") as own:
        # Behind time a call goes another way than on time, so once more with what was found.
        for turn in range(2):
            connection.execute("select setval('bench.clock_0', %s)", [1_000 * (turn + 1)])
            given = {
                **config,
                "granularity": f"{cycle}s",
                "default_record": {"pipeline_id": f"rehearsal {turn}"},
            }
            readings = []
            for _ in range(5):
                record = own.store_new_and_pass_valid_record(given).record
                assert record is not None
                own.complete_record(record["pipeline_id"], record["claim_token"])
                row = connection.execute("select last_value from bench.clock_0").fetchone()
                assert row is not None
                readings.append(row[0])
            cycle = readings[-1] - readings[-2]
        for number in range(max(LEVELS)):
            connection.execute(f"select setval('bench.clock_{number}', %s)", [cycle * _HEAD_START])  # type: ignore[arg-type]
    return {
        **config, "granularity": f"{cycle}s", "default_record": {"pipeline_id": "rehearsal"},
    }  # fmt: skip


def _database(server: Server, name: str) -> str:
    with open_connection(server.dsn()) as admin:
        admin.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
    return in_database(server.dsn(), name)


def _procrastinate(server: Server, environments: Environments, report: Report) -> Contender:
    return _python_peer("procrastinate", PROCRASTINATE, server, environments, report)


def _pgqueuer(server: Server, environments: Environments, report: Report) -> Contender:
    return _python_peer("pgqueuer", PGQUEUER, server, environments, report)


def _python_peer(
    name: str,
    requirements: tuple[str, ...],
    server: Server,
    environments: Environments,
    report: Report,
) -> Contender:
    commands = environments.python(name, *requirements)
    report.versions[name] = version(commands, name)
    command = [str(commands / "python"), "-W", "ignore", str(DRIVERS / f"with_{name}.py")]
    dsn = _database(server, f"speed_{name}")
    subprocess.run([*command, dsn, "setup"], check=True)
    return Contender(name, command, dsn)


def _graphile_worker(server: Server, environments: Environments, report: Report) -> Contender:
    modules = environments.node("graphile-worker", *GRAPHILE_WORKER)
    package = json.loads((modules / "graphile-worker" / "package.json").read_text(encoding="utf-8"))
    report.versions["graphile-worker"] = package["version"]
    command = ["node", str(DRIVERS / "with_graphile_worker.js")]
    environment = {"NODE_PATH": str(modules), "NODE_ENV": "production"}
    dsn = _database(server, "speed_graphile_worker")
    subprocess.run([*command, dsn, "setup"], check=True, env={**os.environ, **environment})
    return Contender("graphile-worker", command, dsn, environment=environment)
