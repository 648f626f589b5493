"""Prints the ratios that the ledger is held to: python tests/benchmarks/run.py [--quick] [--save]

Each is a ratio of things measured in turns on one server of its own with fsync on, so that a noisy
machine spoils both sides. Nothing fails here: a ratio above its goal is marked, for a person. All
of it takes about a quarter of an hour, --quick about two minutes; --long adds 10^7 records and
200,000 cycles under a held snapshot. --save keeps what was found in results.json, and draws
results.svg and writes results.md from it. archive.py measures archiving, apart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import bulk, client, due_window, growth, held_snapshot, moving, speed, starts
from tests.benchmarks.environments import Environments
from tests.benchmarks.report import Report, save
from tests.support.databases import open_connection
from tests.support.server import Server

AREAS = ("speed", "client", "due_window", "growth", "held_snapshot", "bulk", "starts", "moving")


def run(areas: list[str], server: Server, report: Report, *, quick: bool, long: bool) -> None:
    """Runs the areas that were asked for, one after the other."""
    environments = Environments()
    try:
        if "speed" in areas:
            levels, rounds = ((1, 4), 3) if quick else (speed.LEVELS, speed.ROUNDS)
            speed.measure(server, environments, report, levels, rounds)
        if "client" in areas:
            client.measure(server, report, 3 if quick else client.ROUNDS)
        if "due_window" in areas:
            due_window.measure(server, environments, report, 1 if quick else due_window.ROUNDS)
        if "growth" in areas:
            size = (20_000, 50) if quick else (growth.LARGE, growth.ROUNDS)
            growth.measure(server, report, *size, long=long)
        if "held_snapshot" in areas:
            cycles = held_snapshot.LONG_CYCLES if long else held_snapshot.CYCLES
            held_snapshot.measure(server, report, 3_000 if quick else cycles)
        if "bulk" in areas:
            bulk.measure(server, report, 20_000 if quick else bulk.WINDOWS)
        if "starts" in areas:
            starts.measure(environments, report, 2 if quick else starts.ROUNDS)
        if "moving" in areas:
            moving.measure(report, *((1, 20_000) if quick else (moving.ROUNDS, moving.DOCUMENTS)))
    finally:
        environments.remove()


def main() -> None:
    """Runs the benchmarks on a server of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short, to see that all of it works")
    parser.add_argument("--long", action="store_true", help="10^7 records, 200,000 cycles")
    parser.add_argument("--only", choices=AREAS, action="append", help="an area; may be repeated")
    parser.add_argument("--save", action="store_true", help="write results.json, .svg and .md")
    chosen = parser.parse_args()
    if chosen.save and chosen.only:
        parser.error("--save keeps one run of everything: leave out --only")
    server = Server(settings={"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    report = Report()
    try:
        with open_connection(server.dsn()) as connection:
            version = str(connection.info.server_version)
        name = f"{int(version[:-4])}.{int(version[-4:])}"
        print(f"PostgreSQL {name}, fsync on, load {', '.join(f'{n:.1f}' for n in report.load)}")
        run(chosen.only or list(AREAS), server, report, quick=chosen.quick, long=chosen.long)
    finally:
        server.remove()
    print("\n! marks a ratio above its goal: read it beside the machine's noise", flush=True)
    if chosen.save:
        length = "quick" if chosen.quick else "long" if chosen.long else "full"
        save(report.as_data(name, length))


if __name__ == "__main__":
    main()
