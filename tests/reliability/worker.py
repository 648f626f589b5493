"""A process that passes and ends records through the Python runner: python -m tests.reliability.worker SPEC

It may be killed at any instant. What it was told it has noted before it goes on; what it is about to ask
for as well where the invariants need it. SPEC is a JSON object, see `Spec`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from record_ledger import (
    ClaimLost,
    LedgerError,
    LedgerUnavailable,
    RecordLedger,
    complete_record,
    extend_lease,
    fail_record,
    release_record,
)
from tests.reliability.journal import Journal, read_file

ENDINGS = ("completed",) * 7 + ("failed", "failed", "released", None)
LEVELS = ("repeatable read", "serializable")
LONGEST_WORK = 6.0
# In strict(): the session is gone, the connection is, or the server may not write now.
UNRELATED = ("57", "08", "53", "25")


Step = Callable[[dict[str, Any], str], None]


class GaveUp(Exception):
    """How a block of work fails here."""


@dataclass
class Spec:
    """What a worker is told: where the ledger is, its pipelines, its journal, when to end."""

    dsn: str
    configs: list[dict[str, Any]]
    journal: str
    seed: str
    stop: str
    lease: float
    # The journal of the process whose place this one takes: it asks again for that one's last run.
    previous: str | None = None
    # The folder with the journals of others, whose claims a stale worker takes for its own.
    others: str | None = None
    # Where a mover publishes its windows, and the folder in which it stages them.
    warehouse: str | None = None
    stage: str | None = None


class Worker:
    """Passes records and ends them in all ways."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.journal = Journal(spec.journal)
        self.chosen = random.Random(spec.seed)
        self.ledger = RecordLedger(spec.dsn)
        self.number = 0
        self.parent = os.getppid()

    def work(self) -> None:
        """Goes on until it is told to stop."""
        self.begin()
        steps = self.steps()
        # Without its parent it is one that nobody would stop.
        while os.getppid() == self.parent and not Path(self.spec.stop).exists():
            self.number += 1
            run_id = f"{Path(self.spec.journal).stem}-{self.number}"
            self.attempt(self.chosen.choice(steps), self.chosen.choice(self.spec.configs), run_id)

    def begin(self) -> None:
        again = self.left_over()
        if again is not None:
            self.attempt(self.one, *again)

    def steps(self) -> list[Step]:
        """The ways to work, the frequent ones more than once; each takes a config and a run id."""
        return [self.one] * 14 + [self.block] * 4 + [self.several] * 2 + [self.strictly]

    def left_over(self) -> tuple[dict[str, Any], str] | None:
        if self.spec.previous is None:
            return None
        asked = [n for n in read_file(Path(self.spec.previous)) if n["what"] == "asks"]
        by_name = {name_of(config): config for config in self.spec.configs}
        return (by_name[asked[-1]["pipeline_id"]], asked[-1]["run_id"]) if asked else None

    def attempt(self, step: Step, config: dict[str, Any], run_id: str) -> None:
        name = name_of(config)
        self.journal.add("asks", pipeline_id=name, run_id=run_id)
        try:
            step(config, run_id)
        except LedgerUnavailable:
            # A lasting fault: the server is down for longer than a call is tried again.
            self.journal.add("unavailable")
        except ClaimLost as error:
            self.journal.add("wrong", reason=f"claim lost where none was held: {error}")
        except LedgerError as error:
            # Any other refusal of a correct call; a full disk is the server's to report.
            is_full = error.sqlstate in ("53100", "58030")
            self.journal.add("no space" if is_full else "wrong", reason=f"{type(error)}: {error}")

    # ------------------------------------------------------------ ways to work
    def one(self, config: dict[str, Any], run_id: str) -> None:
        record = self.ledger.store_new_and_pass_valid_record(config, run_id).record
        if record is None:
            time.sleep(0.02)
            return
        self.process(record)

    def several(self, config: dict[str, Any], run_id: str) -> None:
        for record in self.ledger.pass_valid_records(config, run_id, 5).records:
            self.process(record)

    def block(self, config: dict[str, Any], run_id: str) -> None:
        how = self.chosen.choice(["completed", "completed", "failed"])
        record = None
        try:
            with self.ledger.processing(config, run_id) as record:
                if record is None:
                    return
                self.enter("passed", record)
                self.enter("began", record)
                self.take_time()
                self.enter("finished" if how == "completed" else "gave up", record)
                leave_with_error_if(how == "failed")
            self.enter("completed", record)
        except GaveUp:
            pass  # whether the ledger was told of it is not known here
        except ClaimLost as error:
            self.lost(record, "completed", error)

    def process(self, record: dict[str, Any]) -> None:
        self.enter("passed", record)
        self.enter("began", record)
        how = self.chosen.choice(ENDINGS)
        try:
            if self.chosen.random() < 0.2:
                extend_lease(record, ledger=self.ledger)
            self.take_time()
            self.enter("finished" if how == "completed" else "gave up", record)
            self.end(record, how)
        except ClaimLost as error:
            self.lost(record, how, error)
            return
        if how is not None:
            self.enter(how, record)

    def take_time(self) -> None:
        """Mostly next to none; now and then longer than a lease."""
        too_long = self.chosen.random() < 0.004
        long = min(self.spec.lease * 1.2, LONGEST_WORK)
        time.sleep(long if too_long else self.chosen.uniform(0, 0.02))

    def end(self, record: dict[str, Any], how: str | None) -> None:
        if how == "completed":
            complete_record(record, {"by": self.spec.seed}, ledger=self.ledger)
        elif how == "failed":
            fail_record(record, "on purpose", ledger=self.ledger)
        elif how == "released":
            release_record(record, ledger=self.ledger)

    def strictly(self, config: dict[str, Any], run_id: str) -> None:
        """A call in a transaction of a stricter level, which must be refused and change nothing."""
        name, level = name_of(config), self.chosen.choice(LEVELS)
        try:
            with psycopg.connect(self.spec.dsn, prepare_threshold=None) as connection:
                connection.execute(f"set transaction isolation level {level}")
                connection.execute(
                    "select record_ledger.pass_valid_record(%s, %s)", [name, f"strict {run_id}"]
                )
        except psycopg.Error as error:
            if error.sqlstate == "RL005":
                self.journal.add("refused", reason=level)
            elif error.sqlstate and error.sqlstate[:2] not in UNRELATED:
                self.journal.add("wrong", reason=f"{level}: {error}")
        else:
            self.journal.add("wrong", reason=f"{level}: a record may have been passed")

    # ------------------------------------------------------------ the journal
    def enter(self, what: str, record: Any, **more: Any) -> None:
        columns = ("pipeline_id", "window_start_time", "claim_token", "run_id")
        self.journal.add(what, **{column: record[column] for column in columns}, **more)

    def lost(self, record: Any, how: str | None, error: ClaimLost) -> None:
        # Without a SQLSTATE it is the heartbeat's own fear, after a lease without an answer.
        self.enter("lost" if error.sqlstate == "RL004" else "feared lost", record, event=how)


def name_of(config: dict[str, Any]) -> str:
    return str(config["default_record"]["pipeline_id"])


def leave_with_error_if(it_is_time: bool) -> None:
    if it_is_time:
        raise GaveUp


if __name__ == "__main__":
    Worker(Spec(**json.loads(sys.argv[1]))).work()
