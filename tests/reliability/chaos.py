"""The chaos: processes work on a ledger while runners, tasks, the server and the network are broken.

Who is hit, when and how follows from the seed; what they were at in that instant does not.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.types.json import Jsonb

from tests.reliability.invariants import violations
from tests.reliability.journal import Entry
from tests.reliability.proxy import FaultyProxy
from tests.reliability.report import Result
from tests.reliability.tools import Bouncer, find_bouncer
from tests.reliability.worker import name_of
from tests.reliability.workers import LEASE, Member, Workers
from tests.support.databases import deploy, open_connection
from tests.support.server import Server

WORKERS, EXECS = 6, 2
ROUND_SECONDS = 25.0
# Shorter than a worker's patience with a server that is away.
LONGEST_PAUSE = 1.2


def make_configs(lease: float = LEASE) -> list[dict[str, Any]]:
    """Six pipelines with a backlog that is worked off for long, each with a rule of its own."""
    begins = datetime.now(timezone.utc) - timedelta(hours=12)
    rules: list[dict[str, Any]] = [
        {},
        {"max_active_records": 3},
        {"backfill_share": 0.3},
        {"timezone": "America/Los_Angeles", "max_attempts": 2},
        {"depends_on_past": True, "max_attempts": 50},
        {"default_record": {"key_x": "{{ window_start_time }}"}, "check_fields": ["key_x"]},
    ]
    configs = []
    for number, rule in enumerate(rules):
        fields = {**rule.get("default_record", {}), "pipeline_id": f"p{number}"}
        common = {
            "timezone": "UTC", "x_time_back": "0s", "granularity": "5s", "lease": f"{lease:g}s",
            "retry_delay": "1s", "max_attempts": 5, "start_at": begins.isoformat(),
            "earliest": (begins - timedelta(days=1)).isoformat(),
        }  # fmt: skip
        configs.append({**common, **rule, "default_record": fields})
    return configs


@dataclass
class Chaos:
    """A server and its workers, and what happens to them."""

    server: Server
    workers: Workers
    proxies: list[FaultyProxy]
    bouncer: Bouncer | None
    chosen: random.Random
    result: Result
    frozen: list[tuple[float, Member]] = field(default_factory=list)

    def strike(self) -> None:
        """One disturbance."""
        ways: list[tuple[int, str, Callable[[], bool]]] = [
            (6, "runner killed", lambda: self.kill("worker")),
            (3, "exec killed", lambda: self.kill("exec")),
            (2, "exec terminated", lambda: self.kill("exec", signal.SIGTERM)),
            (1, "operator killed", lambda: self.kill("operator")),
            (4, "task killed", self.kill_task),
            (2, "runner frozen for longer than its lease", self.freeze),
            (2, "server killed", self.kill_server),
            (1, "server restarted", self.restart_server),
            (2, "backend killed", self.kill_backend),
            (2, "sessions terminated", self.terminate_sessions),
            (2, "network down", self.cut_network),
            (2 if self.bouncer else 0, "pooler killed", self.kill_bouncer),
            (1, "deployed meanwhile", self.deploy),
        ]
        ((_, name, strike),) = self.chosen.choices(ways, [weight for weight, *_ in ways])
        if strike():
            self.result.faults[name] += 1

    def kill(self, kind: str, number: int = signal.SIGKILL) -> bool:
        members = self.workers.of(kind)
        if members:
            self.workers.kill(self.chosen.choice(members), number)
        return bool(members)

    def kill_task(self) -> bool:
        tasks = self.workers.tasks()
        if tasks:
            with suppress(psutil.NoSuchProcess):
                self.chosen.choice(tasks).kill()
        return bool(tasks)

    def freeze(self) -> bool:
        members = self.workers.of("worker")
        member = self.chosen.choice(members)
        if any(member is other for _, other in self.frozen):
            return False
        member.process.send_signal(signal.SIGSTOP)
        self.frozen.append((time.monotonic() + LEASE * 1.3, member))
        return True

    def thaw(self, everybody: bool = False) -> None:
        """Wakes whose time has come; whoever was killed meanwhile stays where he is."""
        for item in list(self.frozen):
            until, member = item
            if everybody or time.monotonic() > until:
                self.frozen.remove(item)
                if member.process.poll() is None:
                    member.process.send_signal(signal.SIGCONT)

    def kill_server(self) -> bool:
        self.server.kill()
        time.sleep(self.chosen.uniform(0, LONGEST_PAUSE))
        self.server.start()
        return True

    def restart_server(self) -> bool:
        self.server.stop()
        self.server.start()
        return True

    def kill_backend(self) -> bool:
        """A backend that is killed has the server end all others and recover."""
        with suppress(psycopg.OperationalError), open_connection(self.server.dsn()) as owner:
            found = owner.execute(
                "select pid from pg_stat_activity where backend_type = 'client backend' "
                "and application_name = 'record-ledger' order by random() limit 1"
            ).fetchone()
            if found is not None:
                psutil.Process(found[0]).kill()
                return True
        return False

    def terminate_sessions(self) -> bool:
        with suppress(psycopg.OperationalError), open_connection(self.server.dsn()) as owner:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        return True

    def cut_network(self) -> bool:
        for proxy in self.proxies:
            proxy.cut_all()
        return True

    def kill_bouncer(self) -> bool:
        if self.bouncer is not None:
            self.bouncer.kill()
            time.sleep(self.chosen.uniform(0, LONGEST_PAUSE))
            self.bouncer.start()
        return True

    def deploy(self) -> bool:
        with suppress(psycopg.OperationalError):
            deploy(self.server.dsn())
        return True

    def run(self, seconds: float) -> None:
        """Strikes again and again for that long, then lets all of them end in good order."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.chosen.uniform(0.4, 2.0))
            self.strike()
            self.thaw()
            self.workers.replace_ended()
        self.thaw(everybody=True)
        for proxy in self.proxies:
            proxy.calm = True
        self.workers.stop()
        for proxy in self.proxies:
            proxy.calm = False


def run_chaos(folder: Path, seed: int, seconds: float) -> Result:
    """Rounds of chaos on one server, with an audit after each; in the end nothing is stuck."""
    result = Result("chaos")
    with result.timed(), ExitStack() as stack:
        server = stack.enter_context(server_with_ledger(make_configs()))
        started = start_entry(server)
        workers = stack.enter_context(Workers(folder / "workers", make_configs(), seed))
        proxies = [stack.enter_context(FaultyProxy(server.socket, f"{seed}/direct"))]
        bouncer = None
        if (program := find_bouncer()) is not None:
            bouncer = Bouncer(program, server, folder / "bouncer")
            stack.callback(bouncer.kill)
            bouncer.start()
            proxies.append(stack.enter_context(FaultyProxy(bouncer.socket, f"{seed}/pooled")))
        else:
            result.counts["without PgBouncer: not installed"] = 1
        chaos = Chaos(server, workers, proxies, bouncer, random.Random(f"{seed}/strikes"), result)
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left < ROUND_SECONDS / 2 and result.counts["rounds"]:
                break
            start_workers(
                workers, [proxy.conninfo(server.dsn()) for proxy in proxies], WORKERS, EXECS
            )
            chaos.run(min(ROUND_SECONDS, max(left, 5.0)))
            result.counts["rounds"] += 1
            with open_connection(server.dsn()) as owner:
                result.violations += violations(owner, [started, *workers.entries()])
            if result.violations:
                break
        result.count(workers.entries())
        for proxy in proxies:
            result.faults.update(proxy.faults)
        with open_connection(server.dsn()) as owner:
            count_events(owner, result)
            result.violations += stuck(owner, workers.configs)
    return result


def start_entry(server: Server) -> Entry:
    """Returns the entry that says from when on events may bear the server's times."""
    with open_connection(server.dsn()) as owner:
        row = owner.execute("select clock_timestamp()").fetchone()
    assert row is not None
    return {"what": "started", "server_time": row[0]}


def start_workers(workers: Workers, dsns: list[str], number: int = 3, execs: int = 1) -> None:
    """Starts workers, execs and one operator, spread over the ways to the server."""
    for place in range(number):
        workers.add("worker", dsns[place % len(dsns)])
    for place in range(execs):
        workers.add("exec", dsns[place % len(dsns)])
    workers.add("operator", dsns[0])


def count_events(owner: psycopg.Connection[Any], result: Result) -> None:
    for event, number in owner.execute(
        "select event, count(*) from (select event from record_ledger.record_events "
        "union all select event from record_ledger.archived_record_events) as e group by 1"
    ).fetchall():
        result.counts[f"event {event}"] += number


def stuck(
    owner: psycopg.Connection[Any], configs: list[dict[str, Any]], lease: float = LEASE
) -> list[str]:
    """When all is over, passes take back what nobody holds any more, and the work goes on."""
    held = owner.execute(
        "select coalesce(max(lease_expires_at), now()) - now() from record_ledger.pipeline_records"
    ).fetchone()
    assert held is not None
    time.sleep(min(lease, max(held[0].total_seconds(), 0.0)))
    sentences = []
    for config in configs:
        name = name_of(config)
        owner.execute("select record_ledger.resume_pipeline(%s)", [name])
        expired = owner.execute(
            "select count(*) from record_ledger.record_verdicts"
            " where pipeline_id = %s and verdict = 'LEASE_EXPIRED'",
            [name],
        ).fetchone()
        assert expired is not None
        # Each pass takes back ten at most.
        for _ in range(expired[0] // 10 + 1):
            row = owner.execute(
                "select verdict, reason from record_ledger.pass_valid_record(%s, null)", [name]
            ).fetchone()
            assert row is not None
        if row[0] not in ("READY", "UNSTABLE", "NO_RECORDS", "BACKOFF", "BLOCKED", "FAILED", "INCOMPLETE"):  # fmt: skip
            sentences.append(f"{name} is stuck: {row[0]}, {row[1]}")
    left = owner.execute(
        "select count(*) from record_ledger.record_verdicts where verdict = 'LEASE_EXPIRED'"
    ).fetchone()
    assert left is not None
    if left[0]:
        sentences.append(f"{left[0]} expired leases were not taken back")
    return sentences


@contextmanager
def server_with_ledger(configs: list[dict[str, Any]], **options: Any) -> Iterator[Server]:
    """A durable server of a scenario's own, with the ledger deployed and the pipelines known."""
    server = Server(**options)
    try:
        server.start()
        deploy(server.dsn())
        with open_connection(server.dsn()) as owner:
            for config in configs:
                owner.execute("select record_ledger.register_pipeline(%s)", [Jsonb(config)])
        yield server
    finally:
        server.remove()
