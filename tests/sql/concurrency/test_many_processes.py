"""Sixteen processes on the same ledger: no record is passed twice, and each pipeline goes in order."""

from __future__ import annotations

import multiprocessing

import pytest

from tests.sql.archive.archiving import EVER
from tests.sql.concurrency.load import work
from tests.sql.support import archive, audit, one, register, rows, store

pytestmark = pytest.mark.slow

PROCESSES, PASSES = 16, 20_000


def all_work(ledger_dsn, configs, only_complete, passes=PASSES, meanwhile=lambda: None):
    each, left = divmod(passes, PROCESSES)
    assert left == 0, f"{PROCESSES} processes cannot share {passes} passes evenly"
    jobs = [(ledger_dsn, configs, each, seed, only_complete) for seed in range(PROCESSES)]
    # Spawned, not forked: the test's own process has threads and open connections.
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        running = pool.starmap_async(work, jobs, chunksize=1)
        while not running.ready():
            meanwhile()
            running.wait(0.01)
        return [passed for found in running.get() for passed in found]


@pytest.fixture(params=[1, 50], ids=["1 pipeline", "50 pipelines"])
def configs(request, ledger, config):
    start_at = one(ledger, "select now() - interval '2 days'").isoformat()
    made = [
        config(
            f"p{n}",
            timezone="UTC",
            x_time_back="0s",
            granularity="5s",
            start_at=start_at,
            retry_delay="0s",
        )
        for n in range(request.param)
    ]
    for given in made:
        # Ten thousand windows of each; what is left is stored under load.
        register(ledger, given)
        store(ledger, given["default_record"]["pipeline_id"])
    return made


def test_no_record_is_passed_twice_and_each_pipeline_goes_in_order(ledger, ledger_dsn, configs):
    taken = all_work(ledger_dsn, configs, only_complete=True)

    assert len(taken) == PASSES
    assert len({(name, start) for name, start, _ in taken}) == PASSES
    assert len({(name, token) for name, _, token in taken}) == PASSES
    for given in configs:
        name = given["default_record"]["pipeline_id"]
        starts = [
            start for _, start in sorted((token, start) for n, start, token in taken if n == name)
        ]
        assert starts == sorted(starts)
        # In order and without leaving one out: what is completed are the oldest windows.
        assert one(
            ledger,
            "select count(*) from record_ledger.pipeline_records where pipeline_id = %s and status <> 'COMPLETED' "
            "and window_start_time <= %s",
            [name, starts[-1]],
        ) == 0  # fmt: skip
    assert (
        one(ledger, "select count(*) from record_ledger.record_events where event = 'passed'")
        == PASSES
    )
    audit(ledger)


def test_records_that_fail_and_come_back_are_held_by_one_run_at_a_time(ledger, ledger_dsn, configs):
    taken = all_work(ledger_dsn, configs, only_complete=False)
    assert len({(name, token) for name, _, token in taken}) == PASSES
    assert rows(
        ledger, "select count(*), count(distinct (pipeline_id, claim_token)) from record_ledger.record_events where event = 'passed'"
    ) == [(PASSES, PASSES)]  # fmt: skip
    audit(ledger)


def test_records_are_archived_while_others_are_passed(ledger, ledger_dsn, configs):
    def archive_all(at_most=50):
        return sum(
            archive(ledger, EVER, at_most, given["default_record"]["pipeline_id"])
            for given in configs
        )

    before = one(ledger, "select count(*) from record_ledger.pipeline_records")
    passes = PASSES // 5
    taken = all_work(ledger_dsn, configs, False, passes, meanwhile=archive_all)
    assert len({(name, token) for name, _, token in taken}) == passes
    # How far the archive came meanwhile is chance: a record that failed for good ends it.
    while archive_all(PASSES):
        pass
    moved = one(ledger, "select count(*) from record_ledger.archived_records")
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") >= before - moved
    # In the end all is archived up to each pipeline's first record that is open.
    assert one(
        ledger,
        "select count(*) from record_ledger.pipeline_records as r where r.status in ('COMPLETED', 'WAIVED') "
        "and r.window_start_time < (select min(o.window_start_time) from record_ledger.pipeline_records as o "
        "where o.pipeline_id = r.pipeline_id and o.status not in ('COMPLETED', 'WAIVED'))",
    ) == 0  # fmt: skip
    audit(ledger)
