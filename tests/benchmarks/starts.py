"""How long a new process takes to import the package or run its command, beside its peers."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.benchmarks.bench import median, timed
from tests.benchmarks.environments import Environments, Unavailable, version
from tests.benchmarks.report import Report, Result

ROUNDS = 9
AIRFLOW = ("apache-airflow>=3,<4",)
_COMMANDS = Path(sys.executable).parent


def measure(environments: Environments, report: Report, rounds: int = ROUNDS) -> None:
    """Measures all of them in turns; the slow peers in every third round only."""
    commands = {
        "import psycopg": [sys.executable, "-c", "import psycopg"],
        "import record_ledger": [sys.executable, "-c", "import record_ledger"],
        "record-ledger --version": [str(_COMMANDS / "record-ledger"), "--version"],
    }
    slow = {
        # `dbt --version` asks a registry for the newest release; this reads the same modules.
        "dbt --help": [str(_COMMANDS / "dbt"), "--help"],
    }
    with report.skipping(Unavailable):
        airflow = environments.python("airflow", *AIRFLOW)
        report.versions["apache-airflow"] = version(airflow, "apache-airflow")
        slow["import airflow.sdk"] = [str(airflow / "python"), "-c", "import airflow.sdk"]
    times: dict[str, list[float]] = {name: [] for name in (*commands, *slow)}
    for turn in range(rounds + 1):
        for name, command in {**commands, **(slow if turn % 3 == 0 else {})}.items():
            run = partial(subprocess.run, command, check=True, capture_output=True)
            spent, _ = timed(run)
            # The first process reads files that are not in the page cache, or compiles them.
            if turn > 0 or (name in slow and rounds < 3):
                times[name].append(spent)
    middle = {name: median(values) for name, values in times.items()}
    report.series["starts"] = [
        {"name": name, "milliseconds": round(spent / 1000)} for name, spent in middle.items()
    ]
    base = middle["import psycopg"]
    goals = {"import record_ledger": 1.3}
    report.add(
        "start",
        [
            Result(
                name,
                spent / base,
                goals.get(name),
                f"of import psycopg ({base / 1000:.0f} ms with the interpreter's start)",
            )
            for name, spent in middle.items()
            if name != "import psycopg"
        ],
    )
