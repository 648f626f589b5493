"""pipeline run: passes a record and moves its window from source to target."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import database, note
from record_ledger.cli.config_file import read_config
from record_ledger.cli.exits import NOTHING_TO_DO, PROCEED, CommandError
from record_ledger.cli.progress import SECONDS_BETWEEN_LINES
from record_ledger.cli.terminal import print_json
from record_ledger.client import RecordLedger
from record_ledger.config import pipeline_id_of
from record_ledger.moving.definition import PipelineDefinition

from .work import airflow_run_id

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.processing import Processing


def run(args: Namespace) -> int:
    """Moves the oldest valid window and completes its record; 99 when there is none."""
    definition = PipelineDefinition(read_config(args.config))
    with database(args) as conninfo, RecordLedger(conninfo) as ledger:
        work = ledger.processing(definition.config, args.run_id or airflow_run_id())
        # What is wrong in the file, and what cannot be moved, is said before a record is passed.
        move = definition.move(ledger, _Reading(args, work), work.check)
        pipeline_id = pipeline_id_of(definition.config)
        if isinstance(pipeline_id, str):  # else the ledger says what is wrong with it
            move.check(pipeline_id)
        try:
            with work as record:
                if record is not None:
                    work.detail.update(move.run(record))
        except OSError as error:  # the record is failed, and may be tried again
            raise CommandError(f"the window could not be moved: {error}") from error
        print_json(_outcome(definition.config, work))
    return NOTHING_TO_DO if work.result.exit_dag else PROCEED


def _outcome(config: dict[str, Any], work: Processing) -> dict[str, Any]:
    record = work.result.record
    if record is None:
        return {
            "outcome": "nothing",
            "pipeline_id": pipeline_id_of(config),
            "verdict": work.result.verdict,
            "reason": work.result.reason,
        }
    return {
        "outcome": "completed",
        "pipeline_id": record["pipeline_id"],
        "window_start_time": record["window_start_time"],
        "window_end_time": record["window_end_time"],
        "claim_token": record["claim_token"],
        "attempt": record["attempt"],
        **work.detail,
    }


class _Reading:
    """Stops the move of a window whose claim is lost or cancelled; says how far it has come."""

    def __init__(self, args: Namespace, work: Processing) -> None:
        self._args = args
        self._work = work
        self._rows = 0
        self._started = self._last_line = time.monotonic()

    def __call__(self, rows: int) -> None:
        self._work.check()
        now = time.monotonic()
        if self._rows == 0:
            self._started = self._last_line = now
        self._rows += rows
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            speed = self._rows / (now - self._started)
            note(self._args, f"{self._rows:,} documents read, {speed:,.0f} per second")
