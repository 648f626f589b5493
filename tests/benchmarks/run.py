"""Prints the ledger's benchmark ratios: python tests/benchmarks/run.py [--quick] [--save]

Each ratio compares things measured in turns on one server with fsync on, so that a busy machine
slows both sides. A ratio above its goal is marked, and does not fail. All areas take about half an
hour, --quick a few minutes; --long adds 10^7 records and 200,000 cycles under a held snapshot.
--save keeps the results in results.json, and makes results.svg and results.md from it. archive.py
measures archiving separately. tests/README.md says how to use each.

The area `instructions` is exact: --check ends with exit code 1 when a case is above its limit, or
cannot be counted. --case takes one case of it, --heaviest prints the functions that execute the
most, and --release counts an earlier release.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import (
    bulk,
    client,
    due_window,
    growth,
    held_snapshot,
    instructions,
    lanes,
    moving,
    speed,
    starts,
)
from tests.benchmarks.environments import Environments
from tests.benchmarks.report import Report, save
from tests.support.databases import open_connection
from tests.support.releases import RELEASES
from tests.support.server import Server

# Areas that need no server, or have one of their own.
_OWN = ("instructions",)
AREAS = (
    *_OWN, "speed", "client", "due_window", "growth", "lanes", "held_snapshot", "bulk", "starts",
    "moving",
)  # fmt: skip


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
        if "lanes" in areas:
            with report.skipping(lanes.Unavailable):
                lanes.measure(server, report, 100_000 if quick else lanes.LARGE)
        if "held_snapshot" in areas:
            cycles = held_snapshot.LONG_CYCLES if long else held_snapshot.CYCLES
            with report.skipping(lanes.Unavailable):
                held_snapshot.measure(server, report, 3_000 if quick else cycles)
        if "bulk" in areas:
            bulk.measure(server, report, 20_000 if quick else bulk.WINDOWS)
        if "starts" in areas:
            starts.measure(environments, report, 2 if quick else starts.ROUNDS)
        if "moving" in areas:
            moving.measure(report, *((1, 20_000) if quick else (moving.ROUNDS, moving.DOCUMENTS)))
    finally:
        environments.remove()


def count_instructions(report: Report, chosen: argparse.Namespace) -> list[str]:
    """Counts instructions where that is possible; returns the failures for --check."""
    try:
        return instructions.measure(
            report, chosen.case, release=chosen.release, heaviest=chosen.heaviest
        )
    except instructions.Unavailable as error:
        with report.skipping(instructions.Unavailable):
            raise
        return [str(error)]


def run_on_server(areas: list[str], report: Report, chosen: argparse.Namespace) -> str:
    """Runs areas on a server of their own, and returns its version."""
    server = Server(settings={"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    try:
        with open_connection(server.dsn()) as connection:
            version = str(connection.info.server_version)
        name = f"{int(version[:-4])}.{int(version[-4:])}"
        print(f"PostgreSQL {name}, fsync on, load {', '.join(f'{n:.1f}' for n in report.load)}")
        run(areas, server, report, quick=chosen.quick, long=chosen.long)
    finally:
        server.remove()
    return name


def main() -> None:
    """Runs the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short, to see that all of it works")
    parser.add_argument("--long", action="store_true", help="10^7 records, 200,000 cycles")
    parser.add_argument("--only", choices=AREAS, action="append", help="an area; may be repeated")
    parser.add_argument("--save", action="store_true", help="write results.json, .svg and .md")
    exact = parser.add_argument_group("instructions")
    exact.add_argument("--check", action="store_true", help="exit code 1 above a limit")
    exact.add_argument(
        "--case", choices=instructions.CASES, action="append", help="may be repeated"
    )
    exact.add_argument("--heaviest", type=int, default=0, metavar="N", help="print N functions")
    exact.add_argument("--release", choices=RELEASES, help="count that one instead")
    chosen = parser.parse_args()
    areas = chosen.only or list(AREAS)
    if chosen.save and chosen.only:
        parser.error("--save keeps one run of everything: leave out --only")
    if (chosen.case or chosen.heaviest or chosen.release) and areas != list(_OWN):
        parser.error("--case, --heaviest and --release go with --only instructions")
    report = Report()
    above, server = [], ""
    if "instructions" in areas:
        above = count_instructions(report, chosen)
    others = [area for area in areas if area not in _OWN]
    if others:
        server = run_on_server(others, report, chosen)
    print("\n! marks a ratio above its goal: read it beside the machine's noise", flush=True)
    if chosen.save:
        length = "quick" if chosen.quick else "long" if chosen.long else "full"
        save(report.as_data(server, length))
    if chosen.check and above:
        sys.exit("above their limits in tests/benchmarks/instructions.py:\n" + "\n".join(above))


if __name__ == "__main__":
    main()
