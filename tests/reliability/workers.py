"""The processes of a run: they work until told to stop, are killed at random, and others take their place."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.reliability.journal import SUFFIX, Entry, read_journals
from tests.reliability.tools import python, wrong_clock
from tests.reliability.worker import Spec, name_of
from tests.support.repository import ROOT

LEASE = 4.0
STOP_DEADLINE = 60.0
# What a scenario keeps of its time for the end: processes that stop, and the audit.
ENDING_SECONDS = 8.0
DAY = 86400
# Clocks of clients: right, a month late, a year early.
CLOCKS = (0, 0, -30 * DAY, 400 * DAY)
MODULES = {
    "mover": "mover",
    "worker": "worker",
    "operator": "operators",
    "steady": "steady_worker",
    "stale": "stale_worker",
}


@dataclass
class Member:
    """One process: an exec, or of the kinds in MODULES."""

    kind: str
    dsn: str
    clock: int
    run_id: str
    process: subprocess.Popen[bytes]
    journal: Path
    log: Path


class Workers:
    """Starts processes on a ledger, in a `with` block, at whose end none of them is left.

    `folder` takes their journals and what they print. `ended` has what else went wrong. `lease` is
    that of the configs. Stale workers turn up with the claims in the journals of the folder `others`;
    movers publish in the database `warehouse`.
    """

    def __init__(
        self,
        folder: Path,
        configs: list[dict[str, Any]],
        seed: object,
        *,
        lease: float = LEASE,
        others: Path | None = None,
        warehouse: str | None = None,
    ) -> None:
        self.folder, self.configs = folder, configs
        self.lease, self.others, self.warehouse = lease, others, warehouse
        self.members: list[Member] = []
        self.wrong: list[Entry] = []
        self._seed, self._number = seed, 0
        self._stop = folder / "stop"
        self._clocks = random.Random(f"{seed}/clocks")
        folder.mkdir(parents=True, exist_ok=True)
        self._files = []
        for config in configs:
            path = folder / f"{name_of(config)}.json"
            path.write_text(json.dumps(config), encoding="utf-8")
            self._files.append(path)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            self.kill(member)

    # ------------------------------------------------------------ beginning
    def add(self, kind: str, dsn: str) -> None:
        """Starts one more process: an 'exec', or of a kind in MODULES."""
        self.members.append(self._start(kind, dsn, self._clocks.choice(CLOCKS), None))

    def replace(self, member: Member) -> None:
        """Has another process take the place of one that has ended: it asks for the same run."""
        place = self.members.index(member)
        self.members[place] = self._start(member.kind, member.dsn, member.clock, member)

    def _start(self, kind: str, dsn: str, clock: int, before: Member | None) -> Member:
        self._number += 1
        name = f"{self.folder.name}-{kind}-{self._number}"
        was_killed = before is not None and before.process.returncode == -signal.SIGKILL
        run_id = before.run_id if before is not None and was_killed else name
        journal, log = self.folder / f"{name}{SUFFIX}", self.folder / f"{name}.log"
        if kind == "exec":
            # The same pipeline for the same run.
            config = self._files[int(run_id.rpartition("-")[2]) % len(self._files)]
            command = python(
                "-m", "record_ledger", "exec", "--config", str(config), "--run-id", run_id, "--drain",
                "--jobs", "2", "--grace", "1", "--", *python("-m", "tests.reliability.task", str(self.folder)),
            )  # fmt: skip
        else:
            spec = Spec(
                dsn=dsn, configs=self.configs, journal=str(journal), seed=f"{self._seed}/{name}",
                stop=str(self._stop), lease=self.lease,
                previous=str(before.journal) if was_killed and before else None,
                others=None if self.others is None else str(self.others),
                warehouse=self.warehouse, stage=str(self.folder.parent / "stage"),
            )  # fmt: skip
            command = python("-m", f"tests.reliability.{MODULES[kind]}", json.dumps(asdict(spec)))
        variables = {"PYTHONPATH": str(ROOT), "RECORD_LEDGER_DSN": dsn}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, **variables, **(wrong_clock(clock) if clock else {})},
            )
        return Member(kind, dsn, clock, run_id, process, journal, log)

    # ------------------------------------------------------------ the middle
    def of(self, *kinds: str) -> list[Member]:
        """The processes of those kinds that run."""
        return [m for m in self.members if m.kind in kinds and m.process.poll() is None]

    def kill(self, member: Member, number: int = signal.SIGKILL) -> None:
        """Ends one at once; what it had started is not ours to end."""
        if member.process.poll() is None:
            member.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(STOP_DEADLINE)

    def tasks(self) -> list[psutil.Process]:
        """The commands that the execs run at this moment."""
        found = []
        for member in self.of("exec"):
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(member.process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        if "tests.reliability.task" in child.cmdline():
                            found.append(child)
        return found

    def replace_ended(self) -> None:
        """Has others go on for those that ended: execs end when nothing is left to do."""
        for member in list(self.members):
            if (code := member.process.poll()) is not None:
                self._look_at(member, code)
                self.replace(member)

    def _look_at(self, member: Member, code: int) -> None:
        """A process may be killed, and an exec may fail; it never ends with a traceback."""
        printed = member.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in printed or (member.kind != "exec" and code > 0):
            self.wrong.append({"what": "wrong", "reason": f"{member.kind}: {printed[-800:]}"})

    def wait_for(self, more: int, what: str = "passed", within: float = 30.0) -> bool:
        """Waits until that many more such entries are written; tells whether they came in time.

        Processes that have ended meanwhile are replaced.
        """
        deadline = time.monotonic() + within
        wanted = self.count(what) + more
        while self.count(what) < wanted:
            if time.monotonic() > deadline:
                return False
            self.replace_ended()
            time.sleep(0.1)
        return True

    def count(self, what: str) -> int:
        """How many such entries there are."""
        return sum(entry["what"] == what for entry in self.entries())

    # ------------------------------------------------------------ the end
    def stop(self) -> None:
        """Has all of them end in good order; who does not has done something wrong."""
        self._stop.touch()
        for member in self.of("exec"):
            member.process.terminate()
        deadline = time.monotonic() + STOP_DEADLINE
        for member in self.members:
            try:
                code = member.process.wait(max(0.0, deadline - time.monotonic()))
                self._look_at(member, code)
            except subprocess.TimeoutExpired:
                self.wrong.append({"what": "wrong", "reason": f"{member.kind} does not end"})
                self.kill(member)
        self.members.clear()
        self._stop.unlink()

    def entries(self) -> list[Entry]:
        """All entries until now, also of those that are gone."""
        return read_journals(self.folder) + self.wrong


def go_on(until: float, *groups: Workers) -> None:
    """Lets groups work until that instant of the monotonic clock; who ends is replaced."""
    while time.monotonic() < until:
        time.sleep(0.2)
        for workers in groups:
            workers.replace_ended()
