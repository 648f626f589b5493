"""observe, adopt, waive-counts: what was counted of a record, and what to make of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import claim_in, claim_of, opened, passed_record
from record_ledger.cli.exits import PROCEED, CommandError
from record_ledger.cli.terminal import print_json
from record_ledger.exec.environment import RECORD_FILE_VARIABLE, RECORD_VARIABLE

from .work import detail_of

if TYPE_CHECKING:
    from argparse import Namespace


def observe(args: Namespace) -> int:
    """Notes how many rows were counted of a record at a stage; it never changes."""
    pipeline_id, window, claim_token = _counted(args)
    detail = detail_of(args.detail)
    with opened(args) as ledger:
        number = ledger.observe_record(
            pipeline_id, window, args.stage, args.rows, detail, claim_token
        )
    print_json(
        {
            "pipeline_id": pipeline_id,
            "window_start_time": window,
            "claim_token": claim_token,
            "outcome": "observed",
            "observation_no": number,
        }
    )
    return PROCEED


def adopt(args: Namespace) -> int:
    """Takes over what earlier claims of this generation counted, where it was not counted again."""
    given = (args.record, args.pipeline, args.claim_token, args.window)
    is_named = any(argument is not None for argument in given)
    pipeline_id, claim_token, start = claim_of(args) if is_named else claim_in(_passed(args))
    with opened(args) as ledger:
        count = ledger.adopt_observations(pipeline_id, claim_token, args.stage, start)
    print_json(
        {
            "pipeline_id": pipeline_id,
            "claim_token": claim_token,
            "outcome": "adopted",
            "adopted_count": count,
        }
    )
    return PROCEED


def waive_counts(args: Namespace) -> int:
    """Lets a record be completed in this generation whatever its counts are, with a reason."""
    with opened(args) as ledger:
        is_new = ledger.waive_counts(args.pipeline, args.window_start, args.reason)
    print_json(
        {
            "operation": "waive-counts",
            "pipeline_id": args.pipeline,
            "window_start_time": args.window_start,
            "changed_count": int(is_new),
        }
    )
    return PROCEED


def _counted(args: Namespace) -> tuple[str, str, int | None]:
    """Returns the pipeline, the window's start and the claim token that the options name."""
    if args.record is None and (args.pipeline is not None or args.window is not None):
        if args.pipeline is None or args.window is None:
            raise CommandError("give both --pipeline and --window, or --record FILE")
        return args.pipeline, args.window, args.claim_token
    if args.pipeline is not None or args.window is not None or args.claim_token is not None:
        raise CommandError("give --record, or --pipeline and --window, not both")
    record = _passed(args)
    if "window_start_time" not in record:
        raise CommandError("the passed record has no window_start_time: give it as `run` prints it")
    return record["pipeline_id"], str(record["window_start_time"]), record["claim_token"]


def _passed(args: Namespace) -> dict[str, Any]:
    """Returns the record of --record, or that of the `exec` around this command."""
    if args.record is not None:
        return passed_record(args.record)
    # Of a record that is too long for a variable there is the file alone.
    text, file = os.environ.get(RECORD_VARIABLE), os.environ.get(RECORD_FILE_VARIABLE)
    if text is not None:
        return passed_record(None, text)
    if file:
        return passed_record(file)
    raise CommandError(
        "give --record FILE, or --pipeline and what else names the record; only under "
        "`record-ledger exec` is it known without"
    )
