"""A ledger is replicated logically, loses its publisher, and the subscriber's copy is worked on.

As in an upgrade of the server with next to no downtime. What logical replication does not carry
must not be missed: sequences, and the partitions that `archive` creates on the publisher.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from record_ledger.server.deploy import deploy
from tests.reliability.chaos import (
    count_events,
    make_configs,
    server_with_ledger,
    start_entry,
    start_workers,
)
from tests.reliability.cluster import wait_until
from tests.reliability.invariants import violations
from tests.reliability.journal import Entry
from tests.reliability.report import Result
from tests.reliability.worker import name_of
from tests.reliability.workers import ENDING_SECONDS, Workers, go_on
from tests.support.databases import open_connection
from tests.support.server import Server, postgres_binaries, wanted_version

PASSES = 20
# Of one version; with less time than for all of them the seed draws which.
LEAST_SECONDS = 25.0
# From the older ones that a machine may have, to the version that is tested.
VERSIONS = (15, 16)
SETTINGS = {"wal_level": "logical", "fsync": "off"}
# As README.md says: what each deploy writes by itself is left out.
TABLES = """
select string_agg(c.oid::regclass::text, ', ')
from pg_class as c
where c.relnamespace = 'record_ledger'::regnamespace and c.relkind in ('r', 'p')
    and not c.relispartition and c.relname not in ('deployment', 'migration')
"""
MAKE_ROOM = """
select record_ledger.create_archive_partitions(now() - interval '1 year', now() + interval '1 year')
"""


def run_logical(folder: Path, seed: int, seconds: float) -> Result:
    """The subscriber takes over: it passes at once, and refuses the tokens of the old one."""
    result = Result("logical replication")
    until = time.monotonic() + seconds
    versions = [*filter(is_there, VERSIONS), wanted_version()]
    random.Random(f"{seed}/versions").shuffle(versions)
    share = max(seconds / len(versions), LEAST_SECONDS)
    with result.timed():
        for version in versions:
            place = folder / str(version)
            place.mkdir()
            replicate(result, place, version, f"{seed}/{version}", share)
            if time.monotonic() + LEAST_SECONDS > until:
                break
    return result


def is_there(version: int) -> bool:
    """Whether this machine has it, and it is older than what is tested."""
    try:
        postgres_binaries(version)
    except LookupError:
        return False
    return version < wanted_version()


def replicate(result: Result, folder: Path, version: int, seed: str, seconds: float) -> None:
    """Works on a publisher of that version, then on the subscriber; audits what that one holds."""
    until = time.monotonic() + seconds - ENDING_SECONDS
    configs = make_configs()
    with ExitStack() as stack:
        publisher = stack.enter_context(
            server_with_ledger(configs, version=version, settings=SETTINGS)
        )
        started = start_entry(publisher)
        old = stack.enter_context(Workers(folder / "old", configs, seed))
        start_workers(old, [publisher.dsn()], number=2)
        subscriber = stack.enter_context(Server(settings=SETTINGS))
        subscriber.start()
        subscribe(publisher, subscriber)
        result.faults[f"replicated from {version} under load"] += 1
        old.wait_for(PASSES)
        archive(publisher, configs)
        old.wait_for(PASSES)
        old.stop()
        wait_until_applied(publisher, subscriber)
        publisher.kill()
        result.faults["publisher lost"] += 1
        # As the documentation of PostgreSQL has it for a publisher that is gone.
        subscriber.execute("alter subscription ledger disable")
        subscriber.execute("alter subscription ledger set (slot_name = none)")
        subscriber.execute("drop subscription ledger")
        if (outcome := deploy(subscriber.dsn()).outcome) != "unchanged":
            result.violations.append(f"deploying to the subscriber: {outcome}")
        new = stack.enter_context(
            Workers(folder / "new", configs, f"{seed}/new", others=folder / "old")
        )
        start_workers(new, [subscriber.dsn()], number=2)
        new.add("stale", subscriber.dsn())
        new.wait_for(PASSES)
        go_on(until, new)
        new.stop()
        everything: list[Entry] = [started, *old.entries(), *new.entries()]
        result.count(everything)
        with open_connection(subscriber.dsn()) as owner:
            result.violations += [
                f"from {version}: {found}" for found in violations(owner, everything)
            ]
            count_events(owner, result)


def subscribe(publisher: Server, subscriber: Server) -> None:
    """Deploys the ledger on the subscriber as well, and has it copy and follow the publisher's."""
    deploy(subscriber.dsn())
    # The subscriber's archive has partitions of its own, which no publication creates.
    subscriber.execute(MAKE_ROOM)
    ((tables,),) = publisher.execute(TABLES)
    publisher.execute(
        f"create publication ledger for table {tables} with (publish_via_partition_root = true)"
    )
    subscriber.execute(
        f"create subscription ledger connection '{publisher.dsn()}' publication ledger"
    )


def archive(publisher: Server, configs: list[dict[str, Any]]) -> None:
    """Moves what is finished to the archive, whose partitions are created then."""
    for config in configs:
        publisher.execute(
            f"select record_ledger.archive_records('{name_of(config)}', '2100-01-01', 50)"
        )


def wait_until_applied(publisher: Server, subscriber: Server) -> None:
    """Returns once the subscriber has copied every table, and applied what is committed by now."""
    ((position,),) = publisher.execute("select pg_current_wal_flush_lsn()")
    wait_until(
        lambda: subscriber.execute(
            "select 1 from pg_subscription_rel having bool_and(srsubstate = 'r')"
        )
    )
    wait_until(
        lambda: publisher.execute(
            "select 1 from pg_stat_replication "
            f"where application_name = 'ledger' and replay_lsn >= '{position}'::pg_lsn"
        )
    )
