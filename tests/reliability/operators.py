"""A process that does what operators do, at random, while others work: waive, reopen, expire, archive ..."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import datetime, timezone
from typing import Any

import psycopg

from record_ledger import LedgerError
from tests.reliability.worker import Spec, Step, Worker, name_of

EVER = datetime(2100, 1, 1, tzinfo=timezone.utc)


class Operator(Worker):
    """A worker whose work is to interfere; the reason of an operation is what a run id is elsewhere."""

    def begin(self) -> None:
        """Whatever the one before it was at is over."""

    def steps(self) -> list[Step]:
        return [self.waive, self.reopen, self.reopen, self.expire, self.pause, self.archive,
                self.backfill, self.change_config]  # fmt: skip

    def attempt(self, step: Step, config: dict[str, Any], run_id: str) -> None:
        super().attempt(step, config, run_id)
        time.sleep(self.chosen.uniform(0.1, 0.5))

    def some_window(self, name: str, statuses: tuple[str, ...]) -> Any:
        """The window of one of the newest records in such a state."""
        with psycopg.connect(self.spec.dsn, prepare_threshold=None, autocommit=True) as connection:
            return connection.execute(
                "select r.window_start_time, r.window_end_time "
                "from record_ledger.pipeline_records as r "
                "where r.pipeline_id = %s and r.status = any(%s) and r.attempt > 0 "
                "order by r.window_start_time desc offset %s limit 1",
                [name, list(statuses), self.chosen.randrange(20)],
            ).fetchone()

    def over(
        self, call: Any, config: dict[str, Any], reason: str, statuses: tuple[str, ...]
    ) -> None:
        name = name_of(config)
        try:
            found = self.some_window(name, statuses)
        except psycopg.OperationalError:
            return
        if found is not None:
            count = call(name, *found, reason)
            self.journal.add("operated", pipeline_id=name, reason=reason, record_count=count)

    def waive(self, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.waive_records, config, reason, ("FAILED", "PENDING"))

    def reopen(self, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.reopen_records, config, reason, ("COMPLETED", "FAILED", "WAIVED"))

    def expire(self, config: dict[str, Any], reason: str) -> None:
        self.over(self.ledger.expire_leases, config, reason, ("IN_PROGRESS",))

    def pause(self, config: dict[str, Any], reason: str) -> None:
        self.ledger.pause_pipeline(name_of(config), reason)
        time.sleep(0.2)
        self.ledger.resume_pipeline(name_of(config), reason)

    def archive(self, config: dict[str, Any], reason: str) -> None:
        self.ledger.archive_records(name_of(config), EVER, self.chosen.choice([1, 20, 100]))

    def backfill(self, config: dict[str, Any], reason: str) -> None:
        try:
            self.ledger.backfill_records(name_of(config), config["earliest"], reason)
        except LedgerError as error:
            if not re.search("archived until|no record yet", str(error)):
                raise

    def change_config(self, config: dict[str, Any], reason: str) -> None:
        """Another version for a moment; every cycle of a run puts its own back."""
        self.ledger.register_pipeline({**config, "retry_delay": "2s"})


if __name__ == "__main__":
    Operator(Spec(**json.loads(sys.argv[1]))).work()
