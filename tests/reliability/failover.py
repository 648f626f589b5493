"""The primary is lost, or gives its place up, and the standby takes over, under load.

With a synchronous standby nothing that was acknowledged may be lost, and work that was finished is
completed. With an asynchronous one that lags, PostgreSQL loses commits that it has acknowledged.
What holds then: all that was acknowledged before the standby was cut off is there, what is gone is
gone whole, no claim of the lost timeline ends or keeps another run's, and within the new timeline
no window is passed twice at the same time.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.reliability.chaos import count_events, make_configs, start_entry, start_workers, stuck
from tests.reliability.cluster import Cluster
from tests.reliability.invariants import NO_WORK_IS_WASTED, violations
from tests.reliability.journal import Entry
from tests.reliability.report import Result
from tests.reliability.sessions import CANCEL_COMMITS, END_SESSIONS
from tests.reliability.workers import ENDING_SECONDS, Workers, go_on
from tests.support.databases import open_connection

# Longer than the longest failover, also on a machine with other things to do.
LEASE = 10.0
# Passes between two failovers.
PASSES = 15
# A primary that lags draws more tokens than a sequence's reserve (32) before it is lost.
LOST_PASSES = 50
CUT_OFF_SECONDS = 2.0
READ_ONLY_SECONDS = 2.0


def killed(cluster: Cluster) -> None:
    cluster.primary.kill()
    cluster.promote()


def stopped(cluster: Cluster) -> None:
    cluster.primary.stop()
    cluster.promote()


def cut_off_and_killed(cluster: Cluster) -> None:
    """Commits wait for the standby, and none of them may be acknowledged."""
    cluster.cut_off()
    time.sleep(CUT_OFF_SECONDS)
    killed(cluster)


def cut_off_and_terminated(cluster: Cluster) -> None:
    """Who asks again finds its change done, and may not believe that either."""
    cluster.cut_off()
    time.sleep(CUT_OFF_SECONDS / 2)
    cluster.primary.execute(END_SESSIONS)
    time.sleep(CUT_OFF_SECONDS)
    killed(cluster)


def cut_off_and_cancelled(cluster: Cluster) -> None:
    """A commit whose waiting is cancelled is answered with success, and a warning."""
    cluster.cut_off()
    for _ in range(4):
        time.sleep(CUT_OFF_SECONDS / 4)
        cluster.primary.execute(CANCEL_COMMITS)
    killed(cluster)


def made_read_only(cluster: Cluster) -> None:
    """A switchover: the old primary's sessions stay, and can write no more."""
    old = cluster.primary
    old.set("default_transaction_read_only", "on")
    cluster.wait_until_caught_up()
    cluster.promote()
    time.sleep(READ_ONLY_SECONDS)


WAYS: dict[str, Callable[[Cluster], None]] = {
    "primary killed": killed,
    "primary made read-only in place": made_read_only,
    "standby cut off, then primary killed": cut_off_and_killed,
    "standby cut off, sessions terminated, then primary killed": cut_off_and_terminated,
    "standby cut off, commits cancelled, then primary killed": cut_off_and_cancelled,
    "primary stopped": stopped,
}


def run_failover(folder: Path, seed: int, seconds: float) -> Result:
    """Synchronous replication: a failover costs nobody anything but time."""
    result = Result("failover, synchronous")
    with result.timed(), ExitStack() as stack:
        until = time.monotonic() + seconds - ENDING_SECONDS - LEASE
        configs = make_configs(LEASE)
        cluster = stack.enter_context(Cluster(configs, is_synchronous=True))
        started = start_entry(cluster.primary)
        workers = stack.enter_context(Workers(folder / "workers", configs, seed, lease=LEASE))
        start_workers(workers, [cluster.dsn()])
        ways = list(WAYS)
        random.Random(f"{seed}/failover").shuffle(ways)
        for way in itertools.cycle(ways):
            has_begun = workers.wait_for(PASSES)
            if not has_begun:
                result.violations.append(f"{PASSES} passes took more than 30 s before: {way}")
            WAYS[way](cluster)
            result.faults[way] += 1
            if not has_begun or time.monotonic() > until:
                break
            cluster.rebuild()
        workers.wait_for(PASSES)
        workers.stop()
        judge(result, cluster, workers, [started, *workers.entries()], NO_WORK_IS_WASTED)
    return result


def run_async_failover(folder: Path, seed: int, seconds: float) -> Result:
    """Asynchronous replication with a standby that lags: what is lost is lost whole."""
    result = Result("failover, asynchronous")
    with result.timed(), ExitStack() as stack:
        until = time.monotonic() + seconds - ENDING_SECONDS - LEASE
        configs = make_configs(LEASE)
        cluster = stack.enter_context(Cluster(configs, is_synchronous=False))
        started = start_entry(cluster.primary)
        workers = stack.enter_context(
            Workers(folder / "workers", configs, seed, lease=LEASE, others=folder / "workers")
        )
        start_workers(workers, [cluster.dsn()])
        workers.add("stale", cluster.dsn())
        left: list[Entry] = []
        while True:
            workers.wait_for(PASSES, within=seconds / 4)
            cluster.cut_off()
            workers.wait_for(LOST_PASSES, within=seconds / 4)
            killed(cluster)
            result.faults["primary killed that was ahead"] += 1
            left += cluster.left_behind()
            workers.wait_for(LOST_PASSES, within=seconds / 4)
            if time.monotonic() > until:
                break
            cluster.rebuild()
        go_on(until, workers)
        workers.stop()
        result.counts["changes left behind"] += len(left)
        judge(result, cluster, workers, [started, *workers.entries(), *left])
    return result


def judge(
    result: Result,
    cluster: Cluster,
    workers: Workers,
    entries: list[Entry],
    rules: dict[str, str] | None = None,
) -> None:
    """Audits the ledger of the newest primary."""
    result.count(workers.entries())
    with open_connection(cluster.primary.dsn()) as owner:
        result.violations += violations(owner, entries, rules)
        count_events(owner, result)
        result.violations += stuck(owner, workers.configs, LEASE)
