"""The disk fills up under load and is given room again: a small one in memory, of this scenario's own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import psycopg

from tests.reliability.chaos import (
    count_events,
    make_configs,
    server_with_ledger,
    start_entry,
    start_workers,
    stuck,
)
from tests.reliability.invariants import violations
from tests.reliability.report import Result
from tests.reliability.workers import Workers
from tests.support.databases import open_connection
from tests.support.server import Server

SIZE = 256 * 1024**2
# The log gets new files of 1 MB all the time; when there is no room for one, the server goes down.
SETTINGS = {"min_wal_size": "32MB", "max_wal_size": "48MB", "wal_recycle": "off"}
FULL_SECONDS = 3.0
PIECE = 64 * 1024


def run_full_disk(folder: Path, seed: int, seconds: float) -> Result:
    """Calls fail, the server may go down; what was acknowledged is there when there is room again."""
    result = Result("full disk")
    disk = folder / "disk"
    disk.mkdir()
    with result.timed(), ExitStack() as stack:
        if (why := mount(disk)) is not None:
            result.skipped = why
            return result
        stack.callback(subprocess.run, ["umount", disk], check=True)
        disk.chmod(0o755)
        chosen = random.Random(f"{seed}/disk")
        server = stack.enter_context(
            server_with_ledger(
                make_configs(), settings=SETTINGS, folder=disk, initdb_options=("--wal-segsize=1",)
            )
        )
        started = start_entry(server)
        workers = stack.enter_context(Workers(folder / "workers", make_configs(), f"{seed}/disk"))
        until = time.monotonic() + seconds
        start_workers(workers, [server.dsn()])
        while time.monotonic() < until:
            time.sleep(chosen.uniform(1.0, 2.0))
            fill(disk, leave=chosen.choice([0, 64 * 1024, 1024**2]))
            time.sleep(FULL_SECONDS)
            result.faults["disk full"] += 1
            (disk / "ballast").unlink()
            result.faults["server down of it"] += not answers(server)
            workers.replace_ended()
        workers.stop()
        result.count(workers.entries())
        with open_connection(server.dsn()) as owner:
            result.violations += violations(owner, [started, *workers.entries()])
            count_events(owner, result)
            result.violations += stuck(owner, workers.configs)
    return result


def mount(disk: Path, size: int = SIZE) -> str | None:
    """Mounts a small disk in memory there; returns why that cannot be done here."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs Linux and root, to mount a small disk"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "reliability", disk],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if done.returncode == 0 else f"no small disk: {done.stderr.strip()}"


def fill(disk: Path, leave: int) -> None:
    """Takes all room of the disk but some; others may take that meanwhile."""
    with (disk / "ballast").open("wb") as ballast, suppress(OSError):
        for size in count(PIECE, PIECE):
            room = os.statvfs(disk)
            if room.f_bavail * room.f_bsize < leave + PIECE:
                break
            os.posix_fallocate(ballast.fileno(), size - PIECE, PIECE)


def answers(server: Server) -> bool:
    """Whether it takes calls; starts it again when it went down, or recovers, for want of room."""
    deadline = time.monotonic() + 30.0
    was_up = server.running
    while server.running and time.monotonic() < deadline:
        try:
            psycopg.connect(server.dsn()).close()
        except psycopg.OperationalError:
            was_up = False
            time.sleep(0.1)
        else:
            return was_up
    server.stop()
    server.start()
    return False
