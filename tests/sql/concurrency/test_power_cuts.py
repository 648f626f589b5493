"""The server dies under load, again and again: what it acknowledged is there, and the ledger is sound."""

from __future__ import annotations

import random
import threading
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.sql.support import ENDINGS, audit, cycle, one, register, rows
from tests.support.configs import make_config
from tests.support.databases import deploy, open_connection

ROUNDS, WORKERS, PIPELINES = 10, 8, 4
EVENT = {"complete": "completed", "fail": "failed", "release": "released"}


class Load:
    """Threads that pass and end records until the server is gone; knows what was acknowledged."""

    def __init__(self, dsn, configs, number):
        self.dsn, self.configs, self.number = dsn, configs, number
        self.acknowledged = []
        self.enough = threading.Semaphore(0)
        self.threads = [
            threading.Thread(target=self.work, args=[worker], daemon=True)
            for worker in range(WORKERS)
        ]

    def work(self, worker):
        chosen = random.Random(self.number * WORKERS + worker)
        connection = open_connection(self.dsn)
        try:
            for n in range(1_000_000):
                config = chosen.choice(self.configs)
                name = config["default_record"]["pipeline_id"]
                answer = cycle(connection, config, f"{self.number}/{worker}/{n}")
                self.note(name, answer.start, answer.token, "passed")
                how = chosen.choice(["complete", "complete", "fail", "release"])
                ENDINGS[how](connection, answer.token, pipeline_id=name)
                self.note(name, answer.start, answer.token, EVENT[how])
        except psycopg.OperationalError:
            pass
        finally:
            connection.close()

    def note(self, *what):
        self.acknowledged.append(what)
        self.enough.release()

    def run_until_killed(self, server, changes):
        for thread in self.threads:
            thread.start()
        for _ in range(changes):
            assert self.enough.acquire(timeout=60), "the load stands still"
        server.kill()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.own_server
@pytest.mark.kills_server
def test_ten_power_cuts_lose_no_acknowledged_change(own_server):
    deploy(own_server.dsn())
    start = datetime.now(timezone.utc) - timedelta(hours=10)
    configs = [
        make_config(
            f"p{n}", timezone="UTC", x_time_back="0s", granularity="2s", start_at=start.isoformat(), retry_delay="0s",
            max_attempts=100,
        )
        for n in range(PIPELINES)
    ]  # fmt: skip
    with open_connection(own_server.dsn()) as owner:
        for config in configs:
            register(owner, config)
    acknowledged, stored = [], 0
    for number in range(ROUNDS):
        load = Load(own_server.dsn(), configs, number)
        load.run_until_killed(own_server, 400 + 37 * number)
        acknowledged += load.acknowledged
        own_server.start()
        with open_connection(own_server.dsn()) as owner:
            there = set(
                rows(
                    owner,
                    "select pipeline_id, window_start_time, claim_token, event from record_ledger.record_events",
                )
            )
            lost = {
                (name, at.astimezone(timezone.utc), *rest) for name, at, *rest in acknowledged
            } - there
            assert not lost, (
                f"{len(lost)} of {len(acknowledged)} changes are lost, such as {next(iter(lost))}"
            )
            now_stored = one(owner, "select count(*) from record_ledger.pipeline_records")
            assert now_stored >= stored
            stored = now_stored
            audit(owner)
    assert len(acknowledged) >= 400 * ROUNDS
