"""Fixtures of the tests of moving: the S3 server, and a stage of each kind."""

from __future__ import annotations

import logging
from functools import partial

import psycopg
import pytest

from record_ledger import RecordLedger
from record_ledger.connection import connect as open_database
from record_ledger.moving import Move, PartSettings
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.database import check_claim_in_ledger
from record_ledger.moving.connectors.postgres.source import PostgresSource
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from record_ledger.moving.evidence import REQUIRED_COUNTS
from tests.moving.s3_server import S3Server
from tests.moving.support import NOON, Watched


@pytest.fixture(scope="session")
def s3_server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server):
    """A bucket of the test's own: `s3.stage(prefix)`, `s3.client`, `s3.keys()`, `s3.uploads()`."""
    return s3_server.bucket()


@pytest.fixture(params=["local", "s3"])
def stage(request, tmp_path):
    """A stage of each kind."""
    if request.param == "local":
        return LocalStage(tmp_path / "stage")
    return request.getfixturevalue("s3").stage("some/prefix")


@pytest.fixture
def local_stage(tmp_path):
    return LocalStage(tmp_path / "stage")


@pytest.fixture
def empty_database(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set(NOON)
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def database(connect):
    """The test's database, with 250 sales in the first window and 50 in the second."""
    connection = connect()
    connection.execute(
        "create table sales as select n as id, repeat('x', n % 50) as text, n / 8.0 as amount, "
        "timestamptz '2026-11-21T08:00:00Z' + n * interval '28.8 s' as sold_at "
        "from generate_series(0, 299) as n"
    )
    return connection


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "stage"


@pytest.fixture
def move_of(ledger, ledger_dsn, database, folder):
    def make(**options):
        opened = partial(open_database, ledger_dsn)
        table = PostgresSource(opened, "sales", "sold_at", batch_rows=50)
        source = Watched(options.pop("source", table))
        target = Watched(PostgresTarget(opened, "sold", check_claim=check_claim_in_ledger))
        stage = LocalStage(folder)
        move = Move(ledger, source, stage, target, parts=PartSettings(1), **options)
        move.calls = lambda: source.calls + target.calls
        return move

    return make


@pytest.fixture
def pass_record(ledger, config):
    def one(run_id=None, **changes):
        changes = {"required_counts": REQUIRED_COUNTS, **changes}
        return ledger.store_new_and_pass_valid_record(config("orders", **changes), run_id).record

    return one
