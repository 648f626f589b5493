"""An older ledger is upgraded while runs are at work: no call fails, nothing is passed twice."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime, timedelta, timezone
from itertools import count

import pytest

from record_ledger import RecordLedger
from record_ledger.server.deploy import deploy
from tests.sql.invariants import audit
from tests.support.databases import open_connection
from tests.support.releases import RELEASES, release_script

WORKERS = 4
DEADLINE = 60.0

CONFIG = {
    "timezone": "UTC",
    "x_time_back": "0s",
    "granularity": "1m",
    "start_at": "2026-01-01",
    "retry_delay": "1h",
    "max_attempts": 2,
}


class OlderRunner(RecordLedger):
    """Ends and extends claims as the runners of all these releases do: they name no window."""

    def complete_record(self, pipeline_id, claim_token):
        self._call_older("complete_record", "::jsonb", pipeline_id, claim_token, None)

    def fail_record(self, pipeline_id, claim_token, error):
        self._call_older("fail_record", "::text, true", pipeline_id, claim_token, error)

    def release_record(self, pipeline_id, claim_token):
        self._call_older("release_record", None, pipeline_id, claim_token)

    def extend_lease(self, pipeline_id, claim_token):
        self._call_older("extend_lease", None, pipeline_id, claim_token)

    def _call_older(self, name, last, *arguments):
        third = "" if last is None else f", %s{last}"
        statement = f"select record_ledger.{name}(%s::text, %s::bigint{third})"
        self._end_claim(name, statement, *arguments)


class Worker(threading.Thread):
    """Passes records of its pipeline and ends their claims until told to stop.

    `longest` is how long the longest pass with its end has taken, in seconds.
    """

    def __init__(self, dsn, number, **changes):
        super().__init__(daemon=True)
        self.dsn = dsn
        self.config = {**CONFIG, **changes, "default_record": {"pipeline_id": f"p{number % 2}"}}
        self.stopped, self.cycled = threading.Event(), threading.Event()
        self.error = None
        self.longest = 0.0

    def run(self):
        try:
            with OlderRunner(self.dsn) as ledger:
                for number in count():
                    if self.stopped.is_set():
                        return
                    started = time.monotonic()
                    record = ledger.store_new_and_pass_valid_record(self.config).record
                    assert record is not None
                    self._end(ledger, number, record["pipeline_id"], record["claim_token"])
                    self.longest = max(self.longest, time.monotonic() - started)
                    self.cycled.set()
        except BaseException as error:  # noqa: BLE001 - the test says what it was
            self.error = error
            self.cycled.set()

    @staticmethod
    def _end(ledger, number, *claim):
        if number % 4 == 1:
            ledger.extend_lease(*claim)
        if number % 6 == 4:
            ledger.release_record(*claim)
        elif number % 6 == 5:
            ledger.fail_record(*claim, "a test")
        else:
            ledger.complete_record(*claim)


def fill_lanes(owner):
    """Leaves a record in each state that a pipeline of an older release can have one in.

    What this release has no routine for is left out. No worker comes to these pipelines.
    """

    def config(name, fields=None, **changes):
        default = {"pipeline_id": name, **(fields or {})}
        return json.dumps({**CONFIG, "granularity": "1d", **changes, "default_record": default})

    def call(routine, *arguments):
        if owner.execute(ROUTINE, [routine]).fetchone() is None:
            return
        places = ", ".join(["%s"] * len(arguments))
        verb = "call" if routine == "store_new_records" else "select"
        owner.execute(f"{verb} record_ledger.{routine}({places})", arguments)

    def passed(name, run, **changes):
        query = "select record from record_ledger.store_new_and_pass_valid_record(%s, %s)"
        record = owner.execute(query, [config(name, **changes), run]).fetchone()[0]
        return name, record["claim_token"]

    for name in ("ended", "failed"):
        call("complete_record", *passed(name, "completed"))
        call("fail_record", *passed(name, "in backoff"), "no")
        call("fail_record", *passed(name, "for good"), "no", False)
        passed(name, "held")
        passed(name, "expired", lease="1s")
        call("release_record", *passed(name, "returned"))
    call("reopen_records", "failed", "-infinity", "2026-01-02Z", "a test")
    call("waive_records", "failed", "2026-01-03Z", "2026-01-04Z", "a test")
    call("backfill_records", "failed", "2025-12-31Z")
    for name, fields, changes in (
        ("incomplete", {"key_x": ""}, {"check_fields": ["key_x"]}),
        ("unbuilt", {"key_x": "{{ target_day }}"}, {}),
    ):
        call("register_pipeline", config(name, fields, **changes))
        call("store_new_records", name)


ROUTINE = """
    select from pg_proc where pronamespace = 'record_ledger'::regnamespace and proname = %s
"""
STATES = """
    select pipeline_id, window_start_time, status, generation, attempt, claim_token, run_id,
        retry_at
    from record_ledger.pipeline_records where pipeline_id not like 'p_' order by 1, 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_fails_no_call_that_is_under_way(empty_dsn, release):
    with open_connection(empty_dsn) as owner:
        owner.execute(release_script(release))
        fill_lanes(owner)
        before = owner.execute(STATES).fetchall()
        assert len({row[2] for row in before}) >= 4
        workers = [Worker(empty_dsn, number) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                assert worker.cycled.wait(DEADLINE)
            deploy(empty_dsn)
            for worker in workers:
                assert worker.error is None
                worker.cycled.clear()
                assert worker.cycled.wait(DEADLINE)
        finally:
            for worker in workers:
                worker.stopped.set()
            for worker in workers:
                worker.join(DEADLINE)
        assert [worker.error for worker in workers] == [None] * WORKERS
        assert owner.execute(STATES).fetchall() == before
        audit(owner)
        # Each of these records is found where it waits: a pass gets the oldest that is not put off.
        for pipeline_id in ("ended", "failed"):
            query = "select verdict from record_ledger.pass_valid_record(%s, 'new')"
            assert owner.execute(query, [pipeline_id]).fetchone() == ("READY",)
        audit(owner)


RECORDS = 100_000
# A table that is rewritten is in another file.
FILES = """
    select oid::regclass::text, pg_relation_filenode(oid) from pg_class
    where oid in (
        'record_ledger.record'::regclass,
        'record_ledger.record_event'::regclass,
        'record_ledger.claim'::regclass
    )
    order by 1
"""
NOW = """
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint, max(window_start_time)
    from record_ledger.record
"""
# A record that the worker has passed since has an event since: it had to be written.
REWRITTEN = """
    select count(*) from record_ledger.record as r
    where r.xmin::text::bigint >= %(xid)s and r.window_start_time <= %(last)s
        and not exists (
            select from record_ledger.record_event as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
                and e.xmin::text::bigint >= %(xid)s
        )
"""


def longest_call_during_a_deploy(dsn, records):
    """Deploys over 0.4.0 with so many records, most of them done, beside a worker.

    Returns the worker's longest pass with its end, how long an index on all records takes to
    build, both in seconds, and how many records the deploy wrote anew.
    """
    start_at = datetime.now(timezone.utc) - timedelta(minutes=records)
    with open_connection(dsn) as owner:
        owner.execute(release_script("0.4.0"))
        worker = Worker(dsn, 0, start_at=start_at.isoformat())
        owner.execute("select record_ledger.register_pipeline(%s)", [json.dumps(worker.config)])
        for _ in range(-(-records // 10_000)):
            owner.execute("call record_ledger.store_new_records('p0')")
        done = [start_at + timedelta(minutes=records * 4 // 5)]
        owner.execute("select record_ledger.waive_records('p0', '-infinity', %s, 'a test')", done)
        worker.start()
        try:
            assert worker.cycled.wait(DEADLINE)
            started = time.monotonic()
            owner.execute("create index on record_ledger.record (window_start_time, updated_at)")
            indexing = time.monotonic() - started
            owner.execute("drop index record_ledger.record_window_start_time_updated_at_idx")
            files = owner.execute(FILES).fetchall()
            xid, last = owner.execute(NOW).fetchone()
            worker.longest = 0.0
            deploy(dsn)
            worker.cycled.clear()
            assert worker.cycled.wait(DEADLINE)
        finally:
            worker.stopped.set()
            worker.join(DEADLINE)
        assert worker.error is None
        assert owner.execute(FILES).fetchall() == files
        (rewritten,) = owner.execute(REWRITTEN, {"xid": xid, "last": last}).fetchone()
        audit(owner)
        return worker.longest, indexing, rewritten


@pytest.mark.slow
def test_a_deploy_holds_up_a_pass_hardly_longer_when_there_are_many_records(databases):
    """It rewrites no table and few rows; at most it looks at each record a few times."""
    few, many = databases.empty(), databases.empty()
    try:
        small, _, _ = longest_call_during_a_deploy(few, 1_000)
        large, indexing, rewritten = longest_call_during_a_deploy(many, RECORDS)
    finally:
        databases.drop(few)
        databases.drop(many)

    assert rewritten <= RECORDS // 100
    # A call waits for the deploy, and is made again up to half a second later.
    assert large <= 4 * small + 5 * indexing, (small, large, indexing)
