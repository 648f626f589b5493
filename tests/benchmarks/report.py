"""The results of the benchmarks: a table, and the data file from which the picture is drawn."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.picture import draw

DATA = Path(__file__).with_name("results.json")


@dataclass
class Result:
    """One line of the report: a ratio, its goal, and the measurement that it is a ratio of."""

    what: str
    ratio: float
    goal: float | None
    note: str
    area: str = ""


@dataclass
class Report:
    """All lines, the series for the picture, and what could not be measured."""

    results: list[Result] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    load: tuple[float, ...] = field(default_factory=os.getloadavg)

    def add(self, area: str, results: list[Result]) -> None:
        """Adds the lines of one area, and prints them to show the progress of a long run."""
        for result in results:
            result.area = area
        self.results += results
        print(table(results, heading=area), flush=True)

    @contextmanager
    def skipping(self, unavailable: type[Exception]) -> Iterator[None]:
        """Records what could not be measured, and why, when the block raises that error."""
        try:
            yield
        except unavailable as error:
            self.skipped.append(str(error))
            print(f"skipped: {error}", flush=True)

    def as_data(self, server: str, length: str) -> dict[str, Any]:
        """Returns the report in the form of the data file."""
        return {
            "taken": {
                "at": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
                "length": length,
                "processor": _processor(),
                "cores": os.cpu_count(),
                "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
                "system": f"{platform.system()} {platform.machine()}",
                "load_at_start": [round(load, 1) for load in self.load],
                "versions": {
                    "PostgreSQL": server,
                    "Python": platform.python_version(),
                    "record-ledger": version("record-ledger"),
                    "psycopg": version("psycopg"),
                    **self.versions,
                },
            },
            "results": [
                {**asdict(result), "ratio": round(result.ratio, 3)} for result in self.results
            ],
            "series": self.series,
            "skipped": self.skipped,
        }


def table(results: list[Result], heading: str) -> str:
    """Returns the lines as a table: each figure is a ratio of medians, measured in turns."""
    width = max([len(result.what) for result in results] + [len(heading)])
    lines = [f"\n{heading:<{width}}    ratio    goal  of what"]
    for result in results:
        goal = "      -" if result.goal is None else f"{result.goal:>7.2f}"
        mark = "!" if result.goal is not None and result.ratio > result.goal else " "
        lines.append(f"{result.what:<{width}}  {result.ratio:>7.2f} {mark}{goal}  {result.note}")
    return "\n".join(lines)


def documents(data: dict[str, Any]) -> dict[str, str]:
    """Returns the files that are made from a data file, by file name."""
    return {"results.svg": draw(data), "results.md": _page(data)}


def save(data: dict[str, Any]) -> None:
    """Writes the data file, and beside it the files that are made from it."""
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for name, text in documents(load()).items():
        DATA.with_name(name).write_text(text, encoding="utf-8")


def load() -> dict[str, Any]:
    """Returns what the data file holds."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def _page(data: dict[str, Any]) -> str:
    taken = data["taken"]
    loads = ", ".join(f"{load:g}" for load in taken["load_at_start"])
    lines = [
        "# What the benchmarks found",
        "",
        "Written by `run.py --save` from results.json. Every figure is a ratio of things measured",
        "in turns; one below its goal is good.",
        "",
        f"{taken['at']}, {taken['length']} run. {taken['processor']}, {taken['cores']} cores,",
        f"{taken['memory_gb']} GB, {taken['system']}. Load average at its start: {loads}.",
        ", ".join(f"{name} {version}" for name, version in taken["versions"].items()) + ".",
        *(f"Skipped: {reason}." for reason in data["skipped"]),
    ]
    area = None
    for result in data["results"]:
        if result["area"] != area:
            area = result["area"]
            lines += ["", f"## {area}", "", "| what | ratio | goal | of what |"]
            lines.append("|---|---:|---:|---|")
        goal = "" if result["goal"] is None else f"{result['goal']:.2f}"
        lines.append(f"| {result['what']} | {result['ratio']:.2f} | {goal} | {result['note']} |")
    for name, entries in data["series"].items():
        if name == "held_snapshot":
            continue
        columns = list(entries[0])
        lines += ["", f"## Figures: {name}", "", f"| {' | '.join(columns)} |".replace("_", " ")]
        lines.append("|---" + "|---:" * (len(columns) - 1) + "|")
        lines += [
            f"| {' | '.join(str(entry[column]) for column in columns)} |" for entry in entries
        ]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    elif sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()
