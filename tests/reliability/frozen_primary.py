"""All processes of the primary are frozen, the standby is promoted at once, and the old one wakes up.

A frozen server closes nothing: its clients find out by their own patience alone. While it was
frozen nothing that was acknowledged is lost, and no claim, because a heartbeat goes to the new
primary in time.

Once it wakes up, the old primary takes itself for the primary. No client can know better. With
synchronous replication its commits wait for a standby that is gone, and are never acknowledged. With
asynchronous replication both pass the same windows, until an operator fences the old one; what then
holds holds at the target: of two runs the later claim wins, whole, and an earlier one publishes
nothing once a later one has begun.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from tests.reliability.chaos import count_events, make_configs, start_entry
from tests.reliability.cluster import Cluster
from tests.reliability.invariants import NO_WORK_IS_WASTED, violations
from tests.reliability.journal import Entry
from tests.reliability.mover import DOCUMENTS, TABLE
from tests.reliability.report import Result
from tests.reliability.steady_worker import TIMES_THE_LEASE
from tests.reliability.workers import Workers, go_on
from tests.support.databases import open_connection
from tests.support.server import Server

LEASE = 15.0
PASSES = 10
# As long as libpq lets one host take when it is asked for the least.
CONNECT_SECONDS = 2
# Until every worker has come through to the new primary: a lease is longer.
PATIENCE = 14.0
AWAKE_SECONDS = 2.0
PUBLICATIONS = 15
TARGET_RULES = {
    "a window was published by parts of two runs, or in part": f"""
        select pipeline_id, window_start_time, count(*), array_agg(distinct document ->> 'run')
        from {TABLE}
        group by 1, 2
        having count(*) <> {DOCUMENTS} or count(distinct document ->> 'run') > 1
    """,
    "two runs published a window with one token": """
        select pipeline_id, window_start_time, claim_token, array_agg(distinct run_id)
        from publication
        group by 1, 2, 3
        having count(distinct run_id) > 1
    """,
    "an earlier claim published a window after a later one": """
        select p.pipeline_id, p.window_start_time, p.published_by, n.claim_token, n.run_id
        from publication as n
        join record_ledger_published as p using (pipeline_id, window_start_time)
        where n.claim_token > p.published_by
    """,
}


def run_frozen_primary(folder: Path, seed: int, _seconds: float) -> Result:
    """A primary that hangs costs time; one that wakes up again publishes nothing over a later run."""
    result = Result("frozen primary")
    with result.timed(), ExitStack() as stack:
        configs, moved = make_configs(LEASE), moved_config(make_configs(LEASE)[0])
        cluster = stack.enter_context(Cluster([*configs, moved], is_synchronous=True))
        started = start_entry(cluster.primary)
        entries = [started, *move_in_both(result, cluster, folder, moved, seed)]
        cluster.rebuild()
        workers = stack.enter_context(Workers(folder / "workers", configs, seed, lease=LEASE))
        freeze_and_wake(result, cluster, workers)
        workers.stop()
        entries += workers.entries()
        result.count(entries)
        with open_connection(cluster.primary.dsn()) as owner:
            result.violations += violations(owner, entries, NO_WORK_IS_WASTED)
            count_events(owner, result)
    return result


def freeze_and_wake(result: Result, cluster: Cluster, workers: Workers) -> None:
    """Freezes the primary under load, and wakes it when all are at work on the new one."""
    dsn = cluster.dsn(connect_timeout=CONNECT_SECONDS)
    for kind in ("steady", "steady", "worker", "worker", "exec"):
        workers.add(kind, dsn)
    workers.wait_for(PASSES)
    hung = {member.run_id for member in workers.members}
    old, frozen_at = cluster.primary, time.monotonic()
    old.freeze()
    cluster.promote()
    ((promoted_at,),) = cluster.primary.execute("select clock_timestamp()::text")
    result.faults["primary frozen"] += 1
    while hung and time.monotonic() < frozen_at + PATIENCE:
        time.sleep(0.2)
        hung = {run for run in hung if not has_come(cluster.primary, run, promoted_at)}
    took = time.monotonic() - frozen_at
    result.counts["milliseconds until all had moved on"] = round(1000 * took)
    if hung:
        result.violations.append(f"{PATIENCE:g} s after the primary froze these hung: {hung}")
    old.thaw()
    result.faults["old primary awake"] += 1
    go_on(time.monotonic() + AWAKE_SECONDS, workers)
    # What every failover has to do, sooner or later.
    old.kill()
    result.faults["old primary fenced"] += 1
    # Whatever the steady ones were at when it froze has come to its end by then.
    go_on(frozen_at + LEASE * TIMES_THE_LEASE, workers)


def has_come(primary: Server, run: str, promoted_at: str) -> bool:
    """Whether the new primary has passed a record to such a run, or extended its lease."""
    return bool(
        primary.execute(
            f"""
            select 1 from record_ledger.record_events
            where starts_with(run_id, '{run}') and event_time > '{promoted_at}'
            union all
            select 1 from record_ledger.pipeline_records as r
            join record_ledger.pipelines as p using (pipeline_id)
            where starts_with(r.run_id, '{run}') and r.lease_expires_at - p.lease > '{promoted_at}'
            """
        )
    )


def moved_config(config: dict[str, Any]) -> dict[str, Any]:
    """A pipeline whose windows are moved into the warehouse."""
    return {
        **config,
        "default_record": {"pipeline_id": "moved"},
        "required_counts": ["source", "stage", "target"],
    }


def move_in_both(
    result: Result, cluster: Cluster, folder: Path, config: dict[str, Any], seed: int
) -> list[Entry]:
    """Fails over, has the old primary come back as one, and moves the same windows from both."""
    cluster.primary.kill()
    old, new = cluster.promote(), cluster.primary
    old.start()
    # As it would be with asynchronous replication: its commits wait for nobody.
    old.set("synchronous_standby_names", None)
    new.execute("create database warehouse")
    warehouse = new.dsn("warehouse")
    result.faults["two primaries at a time"] += 1
    with ExitStack() as stack:
        groups = [
            stack.enter_context(
                Workers(folder / name, [config], f"{seed}/{name}", lease=LEASE, warehouse=warehouse)
            )
            for name in ("new", "old")
        ]
        for workers, server in zip(groups, (new, old), strict=True):
            for _ in range(2):
                workers.add("mover", server.dsn())
        for workers in groups:
            workers.wait_for(PUBLICATIONS, "published")
        for workers in groups:
            workers.stop()
        entries = [entry for workers in groups for entry in workers.entries()]
        for what in ("published", "overtaken"):
            result.counts[what] += sum(entry["what"] == what for entry in entries)
        with open_connection(warehouse) as connection:
            result.violations += judge_target(connection, entries)
        # The old one's work is nobody's; that of the new one stands in its ledger.
        return [*groups[0].entries(), *groups[1].wrong]


def judge_target(connection: psycopg.Connection[Any], entries: list[Entry]) -> list[str]:
    """Compares what is in the warehouse with what the runs of both ledgers have published."""
    connection.execute(
        "create temporary table publication "
        "(pipeline_id text, window_start_time timestamptz, claim_token bigint, run_id text)"
    )
    columns = ("pipeline_id", "window_start_time", "claim_token", "run_id")
    with connection.cursor() as cursor, cursor.copy("copy publication from stdin") as copy:
        for entry in entries:
            if entry["what"] == "published":
                copy.write_row([entry[column] for column in columns])
    return [
        f"at the target: {what}: {len(found)} times, such as {found[0]}"
        for what, query in TARGET_RULES.items()
        if (found := connection.execute(query.encode()).fetchall())
    ]
