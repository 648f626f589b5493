"""deploy and doctor: bringing the ledger to a database, and checking that the two fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from record_ledger.server.deploy import deploy as deploy_to
from record_ledger.server.doctor import examine
from record_ledger.server.sql_files import deploy_script, package_release

from .common import database
from .exits import FAILED, PROCEED
from .tables import print_table
from .terminal import print_json, put, put_script

if TYPE_CHECKING:
    from argparse import Namespace


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
