"""The grammar of `commands.setup`."""

from __future__ import annotations

from typing import Any

from .shared import add_json, command


def add(commands: Any) -> None:
    """Adds the commands."""
    demo = command(
        commands, "demo", "setup.demo", "try the ledger: two pipelines on an embedded server"
    )
    demo.add_argument(
        "--dir",
        default="record-ledger-demo",
        metavar="DIR",
        help="where the demo's server keeps its data (default: ./record-ledger-demo)",
    )
    deploy = command(
        commands, "deploy", "setup.deploy", "create or upgrade the ledger in a database"
    )
    deploy.add_argument(
        "--print-sql", action="store_true", help="print the script for psql and change nothing"
    )
    deploy.add_argument(
        "--owner",
        metavar="ROLE",
        help="the role that the ledger is to belong to (default: its owner now, at first the user)",
    )
    doctor = command(
        commands, "doctor", "setup.doctor", "check that this machine and the database fit together"
    )
    add_json(doctor)
