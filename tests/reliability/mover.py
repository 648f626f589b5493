"""A worker that moves its windows into a warehouse: python -m tests.reliability.mover SPEC

Its source takes a moment to be read, so that another run, of another copy of the ledger, may
overtake it between the beginning of a move and its publication.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg

from record_ledger import ClaimLost
from record_ledger.moving import Move, StagedDataDamaged, document_line
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.reliability.worker import Spec, Step, Worker

TABLE = "sold"
DOCUMENTS = 3
LONGEST_READ = 0.3


class Slow:
    """A source whose documents say which run has read them."""

    def __init__(self, run_id: str, seconds: float) -> None:
        self._run_id, self._seconds = run_id, seconds

    def count(self, _record: Any) -> int:
        return DOCUMENTS

    def read(self, _record: Any) -> Iterator[list[bytes]]:
        time.sleep(self._seconds)
        yield [document_line({"run": self._run_id, "n": n}) for n in range(DOCUMENTS)]


class Mover(Worker):
    """A worker whose work can be looked at afterwards."""

    def steps(self) -> list[Step]:
        return [self.move]

    def move(self, config: dict[str, Any], run_id: str) -> None:
        record = None
        try:
            with self.ledger.processing(config, run_id) as record:
                if record is None:
                    time.sleep(0.05)
                    return
                self.enter("passed", record)
                self.enter("began", record)
                self.mover(run_id).run(record)
                self.enter("published", record)
                self.enter("finished", record)
            self.enter("completed", record)
        except ClaimLost as error:
            if "a later claim than" in str(error):
                self.enter("overtaken", record)
            else:
                self.lost(record, "completed", error)
        except StagedDataDamaged:
            # A later claim has cleared away what earlier ones had staged.
            self.enter("overtaken", record)

    def mover(self, run_id: str) -> Move:
        assert self.spec.warehouse is not None and self.spec.stage is not None
        opened = partial(psycopg.connect, self.spec.warehouse, autocommit=True)
        return Move(
            self.ledger,
            Slow(run_id, self.chosen.uniform(0, LONGEST_READ)),
            LocalStage(self.spec.stage),
            PostgresTarget(opened, TABLE),
        )


if __name__ == "__main__":
    Mover(Spec(**json.loads(sys.argv[1]))).work()
