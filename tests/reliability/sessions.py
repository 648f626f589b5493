"""Sessions end, or may not write for a while, while commands and blocks run.

Timeouts of roles and databases end sessions that do nothing, and operators those that do; a server
is read-only for some seconds, as before a switchover or while a disk is being grown. All of this
passes: no work that was finished may be done again for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.reliability.chaos import (
    count_events,
    make_configs,
    server_with_ledger,
    start_entry,
    start_workers,
    stuck,
)
from tests.reliability.invariants import NO_WORK_IS_WASTED, violations
from tests.reliability.report import Result
from tests.reliability.workers import ENDING_SECONDS, Workers, go_on
from tests.support.databases import open_connection
from tests.support.server import Server

LEASE = 8.0
PASSES = 10
# Shorter than a command of an exec, and than a steady worker's block.
IDLE = "200ms"
TIMEOUTS = {
    "idle_session_timeout": IDLE,
    "idle_in_transaction_session_timeout": IDLE,
    # Longer than a call of a ledger at work; PostgreSQL 17 and later.
    "transaction_timeout": "2s",
}
TIMEOUT_SECONDS = (1.5, 3.0)
# Longer than a pause between two tries, shorter than the patience of any call.
READ_ONLY_SECONDS = (0.5, 2.0)
SETTINGS = {"fsync": "off"}
TERMINATE = "pg_terminate_backend"
END_SESSIONS = (
    f"select {TERMINATE}(pid) from pg_stat_activity "
    "where backend_type = 'client backend' and application_name = 'record-ledger'"
)
# Only what is done, and waits for a standby: what is cancelled before that is an error, rightly.
CANCEL_COMMITS = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"


def run_sessions(folder: Path, seed: int, seconds: float) -> Result:
    """Sessions that are ended cost another connection, and no work."""

    ways: list[str] = []

    def disturb(server: Server, chosen: random.Random, result: Result) -> None:
        if not ways:  # each of them once, in another order each time
            known = {name for (name,) in server.execute("select name from pg_settings")}
            ways.extend([*sorted(TIMEOUTS.keys() & known), TERMINATE])
            chosen.shuffle(ways)
        way = ways.pop()
        if way in TIMEOUTS:
            server.execute(f"alter database postgres set {way} = '{TIMEOUTS[way]}'")
            # A setting of the database holds for new sessions.
            server.execute(END_SESSIONS)
            time.sleep(chosen.uniform(*TIMEOUT_SECONDS))
            server.execute(f"alter database postgres reset {way}")
        server.execute(END_SESSIONS)
        result.faults[way] += 1

    return disturbed(Result("sessions ended"), folder, seed, seconds, disturb)


def run_read_only(folder: Path, seed: int, seconds: float) -> Result:
    """A server that may not write for some seconds costs these seconds."""

    def disturb(server: Server, chosen: random.Random, result: Result) -> None:
        server.set("default_transaction_read_only", "on")
        time.sleep(chosen.uniform(*READ_ONLY_SECONDS))
        server.set("default_transaction_read_only", None)
        result.faults["read-only for some seconds"] += 1

    return disturbed(Result("read-only spells"), folder, seed, seconds, disturb)


def disturbed(
    result: Result,
    folder: Path,
    seed: int,
    seconds: float,
    disturb: Callable[[Server, random.Random, Result], None],
) -> Result:
    """Works under one kind of disturbance, with pauses between them, and audits strictly."""
    with result.timed(), ExitStack() as stack:
        until = time.monotonic() + seconds - ENDING_SECONDS - LEASE
        chosen = random.Random(f"{seed}/{result.scenario}")
        configs = make_configs(LEASE)
        server = stack.enter_context(server_with_ledger(configs, settings=SETTINGS))
        started = start_entry(server)
        workers = stack.enter_context(Workers(folder / "workers", configs, seed, lease=LEASE))
        start_workers(workers, [server.dsn()], number=2)
        workers.add("steady", server.dsn())
        workers.wait_for(PASSES)
        while True:
            disturb(server, chosen, result)
            if not workers.wait_for(PASSES):
                result.violations.append(f"{PASSES} passes took more than 30 s after it")
                break
            if time.monotonic() > until:
                break
        go_on(until, workers)
        workers.stop()
        result.count(workers.entries())
        with open_connection(server.dsn()) as owner:
            entries = [started, *workers.entries()]
            result.violations += violations(owner, entries, NO_WORK_IS_WASTED)
            count_events(owner, result)
            result.violations += stuck(owner, workers.configs, LEASE)
    return result
