"""The standard output of an exec that drains: full disks, closed pipes, readers that go away.

A window whose output could not be written is not completed, and the drain ends with it instead of
failing one window after another. When there is room again, another drain completes the rest.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

from tests.reliability.chaos import count_events, server_with_ledger, start_entry
from tests.reliability.full_disk import mount
from tests.reliability.invariants import OUTPUT_IS_WRITTEN, violations
from tests.reliability.journal import Entry, read_journals
from tests.reliability.printer import line_of
from tests.reliability.report import Result
from tests.reliability.tools import python
from tests.reliability.workers import ENDING_SECONDS
from tests.support.databases import open_connection
from tests.support.repository import ROOT
from tests.support.server import Server

WINDOWS = 6
# A window's output: less than a pipe within the exec holds, so that its command never waits and
# ends with 0 whatever becomes of it; or more.
LINES = (400, 6000)
LINE = len(line_of(0, 0))
# As small as a pipe can be: what is in it when its reader goes away was written, and is lost.
PIPE = 4096
# Less than a few windows print.
DISK = 48 * 1024
EXEC_SECONDS = 60.0
SETTINGS = {"fsync": "off"}


@dataclass
class Outlet:
    """Where an exec writes to: its file, what is left of each window's output, and its slack."""

    file: int | BinaryIO
    written: Callable[[], bytes]
    # Lines of a window that may have been written though they cannot be looked at.
    slack: int = 0
    before_exec: Callable[[], None] | None = None


@contextmanager
def dev_full(_folder: Path, _chosen: random.Random) -> Iterator[Outlet]:
    with Path("/dev/full").open("wb") as file:
        yield Outlet(file, bytes)


@contextmanager
def full_disk(folder: Path, _chosen: random.Random) -> Iterator[Outlet]:
    disk = folder / "disk"
    disk.mkdir()
    if (why := mount(disk, DISK)) is not None:
        raise LookupError(why)
    try:
        with (disk / "output").open("wb") as file:
            yield Outlet(file, (disk / "output").read_bytes)
    finally:
        subprocess.run(["umount", disk], check=True)


@contextmanager
def full_quota(folder: Path, _chosen: random.Random) -> Iterator[Outlet]:
    """A file that may not grow beyond a limit of the process."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))

    path = folder / "output"
    with path.open("wb") as file:
        yield Outlet(file, path.read_bytes, before_exec=limit)


@contextmanager
def reader_gone(_folder: Path, chosen: random.Random) -> Iterator[Outlet]:
    """A pipe whose reader takes the output of some windows and goes away, as head does."""
    wanted = int(chosen.uniform(0.0, 3.0) * LINES[0] * LINE)
    end, file = os.pipe()
    fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE)
    taken = bytearray()

    def read() -> None:
        while len(taken) < wanted and (data := os.read(end, min(PIPE, wanted - len(taken)))):
            taken.extend(data)
        os.close(end)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield Outlet(file, lambda: bytes(taken), slack=PIPE // LINE + 1)
    finally:
        with suppress(OSError):
            os.close(file)
        reader.join()


OUTLETS = {
    "device full": dev_full,
    "disk full": full_disk,
    "file at its limit": full_quota,
    "reader gone": reader_gone,
}


def run_outputs(folder: Path, seed: int, seconds: float) -> Result:
    """No window is completed whose output was lost on the way."""
    result = Result("outputs of commands")
    with result.timed(), ExitStack() as stack:
        until = time.monotonic() + seconds - ENDING_SECONDS
        server = stack.enter_context(server_with_ledger([], settings=SETTINGS))
        started = start_entry(server)
        chosen = random.Random(f"{seed}/outputs")
        entries: list[Entry] = [started]
        number, ways = 0, []
        while time.monotonic() < until or number < len(OUTLETS):
            if not ways:
                ways = chosen.sample(list(OUTLETS), len(OUTLETS))
            number += 1
            place = folder / str(number)
            place.mkdir()
            try:
                entries += drain_twice(result, server, place, ways.pop(), chosen)
            except LookupError as why:
                result.counts[f"left out: {why}"] += 1
        with open_connection(server.dsn()) as owner:
            result.violations += violations(owner, entries, OUTPUT_IS_WRITTEN)
            count_events(owner, result)
    return result


def drain_twice(
    result: Result, server: Server, folder: Path, way: str, chosen: random.Random
) -> list[Entry]:
    """Drains a pipeline into an outlet that fails, then into a file; returns what was noted."""
    name, jobs, lines = f"{folder.name} {way}", chosen.choice([1, 1, 2]), chosen.choice(LINES)
    config = folder / "config.json"
    config.write_text(json.dumps(make_config(name)), encoding="utf-8")

    def drain(run_id: str, outlet: Outlet) -> int:
        arguments = ["--config", str(config), "--run-id", run_id, "--drain", "--jobs", str(jobs)]
        work = python("-m", "tests.reliability.printer", str(folder), str(lines))
        command = python("-m", "record_ledger", "exec", *arguments, "--", *work)
        return run_exec(command, server, outlet, folder)

    entries = []
    with OUTLETS[way](folder, chosen) as outlet:
        code = drain("first", outlet)
        entries += written(outlet, folder, lines)
        result.faults[way] += 1
    with open_connection(server.dsn()) as owner:
        ((completed, failed),) = owner.execute(
            "select count(*) filter (where event = 'completed'), count(*) filter (where event = 'failed') "
            "from record_ledger.record_events where pipeline_id = %s",
            [name],
        ).fetchall()
    if code == 0:
        result.violations.append(f"{way}: exec ended with 0, and its output was lost")
    if failed > jobs:
        result.violations.append(
            f"{way}: {failed} windows failed one after another in a drain with {jobs} jobs"
        )
    if completed == WINDOWS:
        result.violations.append(f"{way}: all windows were completed")
    with (folder / "rest").open("wb") as rest:
        outlet = Outlet(rest, (folder / "rest").read_bytes)
        code = drain("second", outlet)
        entries += written(outlet, folder, lines)
    if code != 0:
        result.violations.append(f"{way}: with room again exec ended with {code}")
    return entries + read_journals(folder)


def run_exec(command: list[str], server: Server, outlet: Outlet, folder: Path) -> int:
    """Runs an exec with its standard output there, and returns its exit code."""
    with (folder / "errors").open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=outlet.file,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RECORD_LEDGER_DSN": server.dsn()},
            preexec_fn=outlet.before_exec,  # noqa: PLW1509 (it makes one system call)
        )
    if isinstance(outlet.file, int):
        os.close(outlet.file)
    return process.wait(EXEC_SECONDS)


def written(outlet: Outlet, folder: Path, lines: int) -> list[Entry]:
    """Entries for each claim whose output has been written, as far as can be told."""
    found = Counter(line[:20] for line in outlet.written().split(b"\n") if len(line) == LINE - 1)
    return [
        {**entry, "what": "written"}
        for entry in read_journals(folder)
        if entry["what"] == "began"
        and found[b"%020d" % entry["claim_token"]] >= lines - outlet.slack
    ]


def make_config(name: str) -> dict[str, Any]:
    """A pipeline with some windows, which are tried again at once."""
    begins = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=WINDOWS)
    return {
        "timezone": "UTC", "x_time_back": "0s", "granularity": "1h", "lease": "1m",
        "retry_delay": "0s", "max_attempts": 5, "start_at": begins.isoformat(),
        "end_at": (begins + timedelta(hours=WINDOWS)).isoformat(),
        "default_record": {"pipeline_id": name},
    }  # fmt: skip
