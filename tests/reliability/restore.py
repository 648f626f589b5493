"""A ledger is dumped while others work on it, restored into a new server, and both are worked on.

The workers of each then turn up at the other one with their claims, as they do when the connection
string in one place was forgotten.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from record_ledger.server.deploy import deploy
from tests.reliability.chaos import (
    count_events,
    make_configs,
    server_with_ledger,
    start_entry,
    start_workers,
)
from tests.reliability.invariants import violations
from tests.reliability.journal import Entry
from tests.reliability.report import Result
from tests.reliability.tools import run_program
from tests.reliability.workers import ENDING_SECONDS, Workers, go_on
from tests.support.databases import open_connection
from tests.support.server import Server

# On each side before and after the dump, so that both copies have drawn tokens of their own.
PASSES = 40


def run_restore(folder: Path, seed: int, seconds: float) -> Result:
    """What was acknowledged before the dump is restored; no copy takes the other one's claims."""
    result = Result("dump and restore")
    with result.timed(), ExitStack() as stack:
        until = time.monotonic() + seconds - ENDING_SECONDS
        configs = make_configs()
        first = stack.enter_context(server_with_ledger(configs))
        started = start_entry(first)
        old = stack.enter_context(
            Workers(folder / "first", configs, seed, others=folder / "second")
        )
        start_workers(old, [first.dsn()], number=2)
        old.wait_for(PASSES, within=seconds / 4)
        noted = old.entries()
        second = stack.enter_context(restored(first, folder, result))
        # To finish a record is entered before the ledger is asked; so later entries belong to the dump.
        with open_connection(second.dsn()) as owner:
            result.violations += violations(owner, [started, *noted, *finished(old)])
        if (outcome := deploy(second.dsn()).outcome) != "unchanged":
            result.violations.append(f"deploying to the restored ledger: {outcome}")

        new = stack.enter_context(
            Workers(folder / "second", configs, f"{seed}/restored", others=folder / "first")
        )
        start_workers(new, [second.dsn()], number=2)
        for workers, server in ((new, second), (old, first)):
            workers.add("stale", server.dsn())
        new.wait_for(PASSES, within=seconds / 4)
        go_on(until, old, new)
        for workers in (new, old):
            workers.stop()
            result.count(workers.entries())
        result.faults["workers of the other copy"] += 2
        for server, entries in (
            (second, [*noted, *finished(old), *new.entries()]),
            (first, [*old.entries(), *finished(new)]),
        ):
            with open_connection(server.dsn()) as owner:
                result.violations += violations(owner, [started, *entries])
                count_events(owner, result)
    return result


def restored(first: Server, folder: Path, result: Result) -> Server:
    """Dumps the ledger while others work on it; returns a new server that holds it."""
    dump, roles = folder / "ledger.dump", folder / "roles.sql"
    run_program(first, "pg_dump", "-Fc", f"--dbname={first.dsn()}", f"--file={dump}")
    run_program(first, "pg_dumpall", "--roles-only", f"--dbname={first.dsn()}", f"--file={roles}")
    result.faults["dumped while others worked"] += 1
    second = Server()
    try:
        second.start()
        # The superuser is there already, which is all that may fail.
        run_program(second, "psql", "-Xq", f"--dbname={second.dsn()}", f"--file={roles}")
        run_program(second, "pg_restore", "--exit-on-error", f"--dbname={second.dsn()}", str(dump))
    except BaseException:
        second.remove()
        raise
    result.faults["restored into a new server"] += 1
    return second


def finished(workers: Workers) -> list[Entry]:
    """What its runs had finished, each by its claim: in a copy that may be completed too."""
    return [entry for entry in workers.entries() if entry["what"] == "finished"]
