"""Turns up at a ledger with claims that others took, perhaps in another copy of it.

    python -m tests.reliability.stale_worker SPEC

As workers do whose connection string was changed, or that slept through a failover. It says again
only what the run of a claim has said itself: an end that was acknowledged, or the completion of
work that was finished. So an answer other than ClaimLost is right only when the claim is that
run's in this ledger, too; which the invariants look up.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from record_ledger import (
    ClaimLost,
    InvalidArgument,
    adopt_observations,
    complete_record,
    extend_lease,
    fail_record,
    observe_record,
    release_record,
)
from tests.reliability.journal import read_journals
from tests.reliability.worker import Spec, Step, Worker

ENDS = ("finished", "failed", "released")
READ_AGAIN_AFTER = 1.0
Claim = dict[str, Any]


class StaleWorker(Worker):
    """A worker that is late, or in the wrong place."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._ends: dict[tuple[Any, ...], str] = {}
        self._by_token: dict[tuple[str, int], list[Claim]] = defaultdict(list)
        self._claims: list[Claim] = []
        self._read_at = 0.0

    def begin(self) -> None:
        """The one before it was as stale."""

    def steps(self) -> list[Step]:
        return [self.end_again] * 4 + [self.extend] * 2 + [self.observe, self.adopt]

    def attempt(self, step: Step, config: dict[str, Any], run_id: str) -> None:
        self.read_others()
        if self._claims:
            super().attempt(step, config, run_id)
        time.sleep(0.05)

    # ------------------------------------------------------------ ways to be late
    def end_again(self, _config: dict[str, Any], _run_id: str) -> None:
        claim = self.pick()
        how = self._ends.get(key_of(claim))
        if how == "finished":
            self.call("completed", claim, complete_record, {"by": self.spec.seed})
        elif how == "failed":
            self.call("failed", claim, fail_record, "on purpose")
        elif how == "released":
            self.call("released", claim, release_record)

    def extend(self, _config: dict[str, Any], _run_id: str) -> None:
        self.call("extended", self.pick(), extend_lease)

    def observe(self, _config: dict[str, Any], _run_id: str) -> None:
        try:
            self.call("observed", self.pick(), observe_record, "source", 5)
        except InvalidArgument as error:
            if "is archived" not in str(error):
                raise

    def adopt(self, _config: dict[str, Any], _run_id: str) -> None:
        self.call("observed", self.pick(), adopt_observations)

    def call(self, what: str, claim: Claim, function: Any, *arguments: Any) -> None:
        try:
            function(claim, *arguments, ledger=self.ledger)
        except ClaimLost:
            self.enter("stale token refused", claim)
        else:
            self.enter(what, claim)

    # ------------------------------------------------------------ whose claims
    def pick(self) -> Claim:
        """A claim whose token is another run's at this moment, if there is one; else any."""
        others = [
            claim
            for pipeline_id, token, start, run_id in self.held_here()
            for claim in self._by_token[pipeline_id, token]
            if (datetime.fromisoformat(claim["window_start_time"]), claim["run_id"])
            != (start, run_id)
        ]
        if others:
            return self.chosen.choice(others)
        return self.chosen.choice(
            self._claims[-200:] if self.chosen.random() < 0.5 else self._claims
        )

    def held_here(self) -> list[tuple[Any, ...]]:
        try:
            with psycopg.connect(self.spec.dsn, prepare_threshold=None, autocommit=True) as ledger:
                return ledger.execute(
                    "select pipeline_id, claim_token, window_start_time, run_id "
                    "from record_ledger.pipeline_records where status = 'IN_PROGRESS'"
                ).fetchall()
        except psycopg.OperationalError:
            return []

    def read_others(self) -> None:
        if time.monotonic() < self._read_at + READ_AGAIN_AFTER or self.spec.others is None:
            return
        self._ends.clear()
        self._by_token.clear()
        self._claims.clear()
        for entry in read_journals(Path(self.spec.others)):
            if entry["what"] in ENDS and entry.get("run_id"):
                self._ends[key_of(entry)] = entry["what"]
            if entry["what"] == "began" and entry.get("run_id"):
                self._claims.append(entry)
                self._by_token[entry["pipeline_id"], entry["claim_token"]].append(entry)
        self._read_at = time.monotonic()


def key_of(claim: Claim) -> tuple[Any, ...]:
    start = datetime.fromisoformat(claim["window_start_time"])
    return claim["pipeline_id"], start, claim["claim_token"], claim["run_id"]


if __name__ == "__main__":
    StaleWorker(Spec(**json.loads(sys.argv[1]))).work()
