"""A ledger is dumped while others work on it, restored into a new server, and worked on there."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from record_ledger.deploy import deploy
from tests.reliability.auditor import violations
from tests.reliability.chaos import make_configs, muster, note_start, server_with_ledger
from tests.reliability.crew import Crew
from tests.reliability.report import Result
from tests.reliability.tools import run_program
from tests.support.databases import open_connection
from tests.support.server import Server


def run_restore(folder: Path, seed: int, seconds: float) -> Result:
    """Whatever was acknowledged before the dump began is in the restored ledger, which works on."""
    result = Result("dump and restore")
    with result.timed(), ExitStack() as stack:
        first = stack.enter_context(server_with_ledger(make_configs()))
        started = note_start(first)
        crew = stack.enter_context(Crew(folder / "first", make_configs(), seed))
        muster(crew, [first.dsn()])
        time.sleep(seconds / 2)
        noted = crew.notes()
        dump, roles = folder / "ledger.dump", folder / "roles.sql"
        run_program(first, "pg_dump", "-Fc", f"--dbname={first.dsn()}", f"--file={dump}")
        run_program(first, "pg_dumpall", "--roles-only", f"--dbname={first.dsn()}", f"--file={roles}")  # fmt: skip
        crew.stop()
        result.count(noted)
        result.faults["dumped while others worked"] += 1

        second = Server()
        stack.callback(second.remove)
        second.start()
        # The superuser is there already, which is all that may fail.
        run_program(second, "psql", "-Xq", f"--dbname={second.dsn()}", f"--file={roles}")
        run_program(second, "pg_restore", "--exit-on-error", f"--dbname={second.dsn()}", str(dump))
        result.faults["restored into a new server"] += 1
        # To finish a record is noted before the ledger is asked; so later notes belong to the dump.
        finished = [note for note in crew.notes() if note["what"] == "finished"]
        with open_connection(second.dsn()) as owner:
            result.violations += violations(owner, [started, *noted, *finished])
        if (outcome := deploy(second.dsn()).outcome) != "unchanged":
            result.violations.append(f"deploying to the restored ledger: {outcome}")

        crew = stack.enter_context(Crew(folder / "second", make_configs(), f"{seed}/restored"))
        muster(crew, [second.dsn()])
        time.sleep(seconds / 2)
        crew.stop()
        result.count(crew.notes())
        with open_connection(second.dsn()) as owner:
            everything = [started, *noted, *finished, *crew.notes()]
            result.violations += violations(owner, everything)
    return result
