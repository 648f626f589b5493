"""deploy, doctor, demo: bringing the ledger to a database, checking it, and trying it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record_ledger.cli.common import database
from record_ledger.cli.exits import FAILED, PROCEED, CommandError
from record_ledger.cli.tables import local, print_table
from record_ledger.cli.terminal import DIM, print_json, put, put_script
from record_ledger.client import RecordLedger
from record_ledger.server.deploy import deploy as deploy_to
from record_ledger.server.doctor import examine
from record_ledger.server.embedded import embedded_server
from record_ledger.server.sql_files import deploy_script, package_release

from .look import print_progress

if TYPE_CHECKING:
    from argparse import Namespace

    from record_ledger.values import Record


def deploy(args: Namespace) -> int:
    """Creates or upgrades the ledger in one transaction; deploying again changes nothing."""
    if args.print_sql:
        put_script(deploy_script(package_release(), owner=args.owner))
        return PROCEED
    with database(args, deploys=False) as conninfo:
        result = deploy_to(conninfo, owner=args.owner)
    print_json(
        {
            "outcome": result.outcome,
            "release": result.release,
            "previous_release": result.previous_release,
            "applied_migrations": result.applied_migrations,
            "notices": result.notices,
        }
    )
    return PROCEED


def doctor(args: Namespace) -> int:
    """Checks connection, server, release, roles, rights, clock and time zones; 1 on an error."""
    with database(args, deploys=False) as conninfo:
        checks = examine(conninfo)
    if args.json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        print_table(
            ["CHECK", "STATE", "FINDING"],
            [[check.name, check.state, check.finding] for check in checks],
        )
        advice = [check for check in checks if check.advice]
        if advice:
            put()
        for check in advice:
            put(f"{check.name}: {check.advice}")
    return FAILED if any(check.state == "error" for check in checks) else PROCEED


# ---------------------------------------------------------------- demo
HANDOFF_EXAMPLE: dict[str, Any] = {
    "timezone": "America/Los_Angeles",
    "x_time_back": "1d",
    "granularity": "2h",
    "default_record": {
        "source_name": "elasticsearch",
        "target_name": "snowflake",
        "pipeline_id": "your_pipeline",
    },
}
# Its history starts on a past day, so there is something to catch up with at any hour.
BERLIN_EXAMPLE: dict[str, Any] = {
    "timezone": "Europe/Berlin",
    "x_time_back": "2h",
    "granularity": "6h",
    "default_record": {
        "pipeline_id": "berlin_orders",
        "file": "orders/{{ target_day }}/{{ window_start_time.strftime('%H%M%z') }}.csv",
    },
    "check_fields": ["file"],
}
_BERLIN_DAYS = 3


def demo(args: Namespace) -> int:
    """Passes and completes records of two pipelines until nothing is valid; repeatable."""
    if hasattr(args, "dsn") or hasattr(args, "embedded"):
        raise CommandError("demo has a server of its own: give --dir, not --dsn or --embedded")
    folder = Path(args.dir)
    put(f"Starting PostgreSQL in {folder} ...", flush=True)
    with embedded_server(folder) as uri, RecordLedger(uri) as ledger:
        result = deploy_to(uri)
        put(f"Deployed the ledger, release {result.release}: {result.outcome}.")
        put(flush=True)
        window = None
        for config in (HANDOFF_EXAMPLE, _berlin(ledger)):
            window = _catch_up(ledger, config) or window
        print_progress(ledger.pipeline_progress())
        last = window or _any_record(ledger)
    _print_next_steps(folder, last)
    return PROCEED


def _berlin(ledger: RecordLedger) -> dict[str, Any]:
    """Returns the second config; a repeated demo keeps the start that the first one chose."""
    known = ledger.pipelines(BERLIN_EXAMPLE["default_record"]["pipeline_id"])
    if known:
        start_at = known[0]["start_at"].date().isoformat()
    else:
        start_at = ledger._local_day(BERLIN_EXAMPLE["timezone"], days_ago=_BERLIN_DAYS).isoformat()
    return {**BERLIN_EXAMPLE, "start_at": start_at}


def _catch_up(ledger: RecordLedger, config: dict[str, Any]) -> Record | None:
    """Passes and completes until nothing is valid; returns the last record."""
    pipeline_id = config["default_record"]["pipeline_id"]
    put(f"{pipeline_id}: windows of {config['granularity']} in {config['timezone']}")
    last: Record | None = None
    while True:
        result = ledger.store_new_and_pass_valid_record(config)
        if result.record is None:
            put(f"  nothing to do: {result.verdict}")
            put(flush=True)
            return last
        last = result.record
        # Here a pipeline would move the data of [window_start_time, window_end_time).
        ledger.complete_record(
            pipeline_id, last["claim_token"], {"rows": 1000}, last["window_start_time"]
        )
        # Afterwards: a reader that has seen enough (`| head`) leaves no record claimed.
        put(
            f"  passed {local(last['window_start_time'])} to {local(last['window_end_time'])}",
            ("  " + last["file"] if "file" in last else "", DIM),
            " ... completed",
            flush=True,
        )


def _any_record(ledger: RecordLedger) -> Record:
    return ledger.pipeline_records(BERLIN_EXAMPLE["default_record"]["pipeline_id"], limit=1)[0]


def _print_next_steps(folder: Path, record: Record) -> None:
    command = _this_command()
    place = f"--embedded {shlex.quote(_relative(folder))}"
    window = f"{record['pipeline_id']} {record['window_start_time'].isoformat()}"
    config = shlex.quote(json.dumps(HANDOFF_EXAMPLE))
    put()
    put("The server has stopped; its data stay. Go on by hand:")
    put()
    put(f"  {command} status {place}")
    put(f"  {command} why {place}")
    put(f"  {command} history {window} {place}")
    put(f"  echo {config} | {command} run --config - {place}")
    put(f"  {command} demo --dir {shlex.quote(_relative(folder))}")


def _relative(folder: Path) -> str:
    return str(folder) if folder.is_absolute() or str(folder).startswith(".") else f"./{folder}"


def _this_command() -> str:
    """Returns what to type for `record-ledger` where the demo was started."""
    started_as = Path(sys.argv[0])
    if started_as.name == "__main__.py":
        python = Path(sys.executable).name
        short = shutil.which(python) == sys.executable
        return f"{python if short else shlex.quote(sys.executable)} -m record_ledger"
    project = Path(os.environ.get("VIRTUAL_ENV", "/nowhere")).parent
    # uv finds its project from the folder one is in, and below it only.
    if os.environ.get("UV") and project in (Path.cwd(), *Path.cwd().parents):
        return "uv run record-ledger"
    on_path = shutil.which("record-ledger")
    return "record-ledger" if on_path else shlex.quote(str(started_as))
