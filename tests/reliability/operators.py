"""A process that does what operators do, at random, while others work: waive, reopen, expire, archive ..."""

from __future__ import annotations

import json
import random
import re
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from record_ledger import LedgerError, LedgerUnavailable, RecordLedger
from tests.reliability.notes import Notes
from tests.reliability.worker import Spec

EVER = datetime(2100, 1, 1, tzinfo=timezone.utc)


class Operator:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.notes = Notes(spec.notes)
        self.chosen = random.Random(spec.seed)
        self.ledger = RecordLedger(spec.dsn)
        self.number = 0

    def work(self) -> None:
        """Goes on until it is told to stop; no pipeline stays paused."""
        while not Path(self.spec.stop).exists():
            config = self.chosen.choice(self.spec.configs)
            name = config["default_record"]["pipeline_id"]
            self.number += 1
            reason = f"{Path(self.spec.notes).stem}-{self.number}"
            step = self.chosen.choice(
                [self.waive, self.reopen, self.reopen, self.expire, self.pause, self.archive,
                 self.backfill, self.change_config]
            )  # fmt: skip
            try:
                step(name, config, reason)
                self.notes.add("did", reason=step.__name__)
            except LedgerUnavailable:
                self.notes.add("unavailable")
            except LedgerError as error:
                is_full = error.sqlstate in ("53100", "58030")
                self.notes.add("no space" if is_full else "wrong", reason=f"{type(error)}: {error}")
            time.sleep(self.chosen.uniform(0.1, 0.5))

    def some_windows(self, name: str, statuses: tuple[str, ...]) -> Any:
        """The range of a few neighbouring records, around one in such a state."""
        with psycopg.connect(self.spec.dsn, prepare_threshold=None, autocommit=True) as connection:
            return connection.execute(
                "select r.window_start_time, r.window_end_time "
                "from record_ledger.pipeline_records as r "
                "where r.pipeline_id = %s and r.status = any(%s) and r.attempt > 0 "
                "order by r.window_start_time desc offset %s limit 1",
                [name, list(statuses), self.chosen.randrange(20)],
            ).fetchone()

    def over(self, call: Any, name: str, reason: str, statuses: tuple[str, ...]) -> None:
        try:
            found = self.some_windows(name, statuses)
        except psycopg.OperationalError:
            return
        if found is not None:
            count = call(name, *found, reason)
            self.notes.add("operated", pipeline_id=name, reason=reason, record_count=count)

    def waive(self, name: str, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.waive_records, name, reason, ("FAILED", "PENDING"))

    def reopen(self, name: str, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.reopen_records, name, reason, ("COMPLETED", "FAILED", "WAIVED"))

    def expire(self, name: str, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.expire_leases, name, reason, ("IN_PROGRESS",))

    def pause(self, name: str, config: dict[str, Any], reason: str) -> None:
        self.ledger.pause_pipeline(name, reason)
        time.sleep(0.2)
        self.ledger.resume_pipeline(name, reason)

    def archive(self, name: str, config: dict[str, Any], reason: str) -> None:
        self.ledger.archive_records(name, EVER, self.chosen.choice([1, 20, 100]))

    def backfill(self, name: str, config: dict[str, Any], reason: str) -> None:
        try:
            self.ledger.backfill_records(name, config["earliest"], reason)
        except LedgerError as error:
            if not re.search("archived until|no record yet", str(error)):
                raise

    def change_config(self, name: str, config: dict[str, Any], reason: str) -> None:
        """Another version for a moment; every cycle of a run puts its own back."""
        self.ledger.register_pipeline({**config, "retry_delay": "2s"})


if __name__ == "__main__":
    Operator(Spec(**json.loads(sys.argv[1]))).work()
