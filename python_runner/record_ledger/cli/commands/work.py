"""run, complete, fail, release, heartbeat: passing a record and ending its claim."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import claim_of, note, opened
from record_ledger.cli.config_file import read_config
from record_ledger.cli.exits import NOTHING_TO_DO, PROCEED, CommandError
from record_ledger.cli.streams import drop_stdout, stdout_was_closed
from record_ledger.cli.terminal import print_json
from record_ledger.errors import LedgerError
from record_ledger.exec.signals import held_back
from record_ledger.processing import error_text

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.client import RecordLedger
    from record_ledger.results import PassResult
    from record_ledger.values import Record

# Airflow exports these to a task's shell; the map index is not among them.
_AIRFLOW_RUN = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")


def run(args: Namespace) -> int:
    """Passes the oldest valid record and exits 0; with none, says why and exits 99."""
    config = read_config(args.config)
    if stdout_was_closed():
        raise CommandError(
            "standard output is closed, so the record could not be printed, and none is passed; "
            "redirect it to a file or a pipe"
        )
    run_id = args.run_id or airflow_run_id()
    result: PassResult | None = None
    with opened(args) as ledger:
        try:
            with held_back(ledger.interrupt):
                result = ledger.store_new_and_pass_valid_record(config, run_id)
            print_json(
                {
                    "exit_dag": result.exit_dag,
                    "verdict": result.verdict,
                    "reason": result.reason,
                    "record": result.record,
                }
            )
        except BaseException as error:
            # Ctrl-C, too. The claim token reached no reader: the record would wait for its lease.
            if result is not None:
                drop_stdout()
                _give_back(ledger, result.record, error)
            raise
    return NOTHING_TO_DO if result.exit_dag else PROCEED


def _give_back(ledger: RecordLedger, record: Record | None, error: BaseException) -> None:
    if record is None:
        return
    try:
        with ledger.another() as other:  # a signal may have interrupted this one for good
            other.release_record(
                record["pipeline_id"],
                record["claim_token"],
                window_start_time=record["window_start_time"],
            )
    except LedgerError as refused:
        raise CommandError(
            f"the record that was passed could not be printed ({error_text(error)}), and stays "
            f"claimed until its lease ends: {refused.message}"
        ) from error


def complete(args: Namespace) -> int:
    """Marks a passed record as done; with the same claim token again it changes nothing."""
    pipeline_id, claim_token, start = claim_of(args)
    detail = detail_of(args.detail)
    with opened(args) as ledger:
        ledger.complete_record(pipeline_id, claim_token, detail, start)
    return _ended(pipeline_id, claim_token, "completed")


def fail(args: Namespace) -> int:
    """Marks a passed record as failed; it is tried again later while attempts are left."""
    pipeline_id, claim_token, start = claim_of(args)
    with opened(args) as ledger:
        ledger.fail_record(pipeline_id, claim_token, args.error, not args.no_retry, start)
    return _ended(pipeline_id, claim_token, "failed")


def release(args: Namespace) -> int:
    """Gives a passed record back untried; the attempt does not count."""
    pipeline_id, claim_token, start = claim_of(args)
    with opened(args) as ledger:
        ledger.release_record(pipeline_id, claim_token, args.not_before, start)
    return _ended(pipeline_id, claim_token, "released")


def heartbeat(args: Namespace) -> int:
    """Keeps a passed record claimed for another lease and prints when that ends.

    Also who has cancelled the claim, and why, when an operator has.
    """
    pipeline_id, claim_token, start = claim_of(args)
    with opened(args) as ledger:
        expires, state = ledger.beat(pipeline_id, claim_token, start)
    more: dict[str, object] = {}
    if state.state == "cancelled":
        more = {"cancelled_by": state.cancelled_by, "reason": state.reason}
        note(
            args,
            f"cancelled by {state.cancelled_by}: {state.reason}; stop the work, then fail the "
            "record with --no-retry",
        )
    return _ended(pipeline_id, claim_token, "extended", lease_expires_at=expires, **more)


def airflow_run_id() -> str | None:
    """Returns dag_id/run_id/task_id of the Airflow task around this shell; None outside of one."""
    parts = [os.environ.get(name, "") for name in _AIRFLOW_RUN]
    return "/".join(parts) if all(parts) else None


def detail_of(text: str | None) -> dict[str, Any] | None:
    """Returns the object that --detail holds."""
    if text is None:
        return None
    try:
        detail = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--detail is not valid JSON: {error}") from error
    except RecursionError as error:
        raise CommandError("--detail is nested too deeply") from error
    if not isinstance(detail, dict):
        raise CommandError('--detail must be a JSON object, like {"rows": 1200}')
    return detail


def _ended(pipeline_id: str, claim_token: int, outcome: str, **more: object) -> int:
    print_json({"pipeline_id": pipeline_id, "claim_token": claim_token, "outcome": outcome, **more})
    return PROCEED
