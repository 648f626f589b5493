"""An older ledger is upgraded while runs are at work: no call fails, nothing is passed twice."""

from __future__ import annotations

import threading

import pytest

from record_ledger import RecordLedger
from record_ledger.deploy import deploy
from tests.sql.auditor import audit
from tests.support.databases import open_connection
from tests.support.releases import RELEASES, release_script

WORKERS = 4
DEADLINE = 60.0


class OlderRunner(RecordLedger):
    """Ends claims as the runners of all these releases do: they name no window."""

    def complete_record(self, pipeline_id, claim_token):
        self._end_claim(
            "complete_record",
            "select record_ledger.complete_record(%s::text, %s::bigint, %s::jsonb)",
            pipeline_id,
            claim_token,
            None,
        )


class Worker(threading.Thread):
    """Passes and completes records of its pipeline until told to stop."""

    def __init__(self, dsn, number):
        super().__init__(daemon=True)
        self.dsn, self.number = dsn, number
        self.stopped, self.cycled = threading.Event(), threading.Event()
        self.error = None

    def run(self):
        config = {
            "timezone": "UTC",
            "x_time_back": "0s",
            "granularity": "1m",
            "start_at": "2026-01-01",
            "default_record": {"pipeline_id": f"p{self.number % 2}"},
        }
        try:
            with OlderRunner(self.dsn) as ledger:
                while not self.stopped.is_set():
                    record = ledger.store_new_and_pass_valid_record(config).record
                    assert record is not None
                    ledger.complete_record(record["pipeline_id"], record["claim_token"])
                    self.cycled.set()
        except BaseException as error:  # noqa: BLE001 - the test says what it was
            self.error = error
            self.cycled.set()


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_fails_no_call_that_is_under_way(empty_dsn, release):
    with open_connection(empty_dsn) as owner:
        owner.execute(release_script(release))
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
        audit(owner)
