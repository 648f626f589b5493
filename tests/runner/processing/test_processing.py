"""Processing a record in a `with` block: heartbeats, and how the block ends the claim."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal

import pytest

from record_ledger import ClaimLost, RecordLedger
from tests.runner.processes import blocks_after_the_pass, until, waits_in_the_database


@pytest.fixture
def orders(config, clock):
    clock.set("2026-11-22T20:00:00Z")
    # Short enough to see a heartbeat, long enough for one to come through on a busy machine.
    return config("orders", lease="3s")


def stored(runner, record):
    return runner.pipeline_records("orders", record["window_start_time"])[0]


def test_a_block_that_returns_completes_the_record(runner, orders):
    with runner.processing(orders, "run-1") as record:
        assert record["run_id"] == "run-1"
        assert stored(runner, record)["status"] == "IN_PROGRESS"

    assert stored(runner, record)["status"] == "COMPLETED"


def test_a_block_that_raises_fails_the_record_and_the_exception_goes_on(runner, orders):
    with pytest.raises(ValueError, match="disk full"), runner.processing(orders) as record:
        raise ValueError("disk full")

    assert stored(runner, record)["status"] == "PENDING"
    assert stored(runner, record)["last_event"] == "failed"
    assert stored(runner, record)["last_detail"]["error"] == "ValueError: disk full"


def test_an_exception_whose_text_raises_another_fails_the_record_all_the_same(runner, orders):
    class Hostile(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    with pytest.raises(Hostile), runner.processing(orders) as record:
        raise Hostile

    assert stored(runner, record)["last_detail"]["error"] == "Hostile: <Hostile>"


def test_passwords_in_an_error_are_not_kept(runner, orders):
    text = "no answer from postgresql://etl:s3cret@db/sales (password=s3cret)"
    with pytest.raises(ValueError, match="s3cret"), runner.processing(orders) as record:
        raise ValueError(text)

    assert stored(runner, record)["last_detail"]["error"] == (
        "ValueError: no answer from postgresql://etl:***@db/sales (password=***"
    )


def test_with_nothing_to_do_the_block_gets_none_and_the_reason(runner, orders, clock):
    clock.set("2026-11-22T08:30:00Z")

    work = runner.processing(orders)
    with work as record:
        assert record is None

    assert work.result.verdict == "UNSTABLE"


def test_the_lease_is_extended_while_the_block_runs(runner, orders, clock):
    with runner.processing(orders) as record:
        clock.advance("500ms")
        passed = record["lease_expires_at"]
        until(lambda: stored(runner, record)["lease_expires_at"] > passed, "a heartbeat")

    assert stored(runner, record)["status"] == "COMPLETED"


def process_while_the_claim_is_taken(runner, orders, dsn, work):
    """Has another process of the same run take the record over inside of the block."""
    processing = runner.processing(orders, "run-1")
    with RecordLedger(dsn) as other, processing as record:
        taken = other.store_new_and_pass_valid_record(orders, "run-1").record
        assert taken["window_start_time"] == record["window_start_time"]
        assert taken["claim_token"] > record["claim_token"]
        work(processing)


def test_a_lost_claim_is_made_known_and_never_completed(runner, orders, ledger_dsn):
    def work(processing):
        assert processing.claim_lost.wait(20)

    with pytest.raises(ClaimLost):
        process_while_the_claim_is_taken(runner, orders, ledger_dsn, work)

    assert runner.pipeline_records("orders", limit=1)[0]["status"] == "IN_PROGRESS"


def test_a_lost_claim_does_not_hide_the_blocks_own_exception(runner, orders, ledger_dsn):
    def work(processing):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        process_while_the_claim_is_taken(runner, orders, ledger_dsn, work)

    assert runner.pipeline_records("orders", limit=1)[0]["status"] == "IN_PROGRESS"


def test_what_the_block_puts_into_detail_is_kept(runner, orders):
    work = runner.processing(orders)
    with work as record:
        work.detail["rows"] = 1200

    assert stored(runner, record)["last_detail"] == {"rows": 1200}


def test_a_detail_that_json_cannot_carry_completes_the_record_all_the_same(runner, orders, caplog):
    work = runner.processing(orders)
    with work as record:
        work.detail["rows"] = Decimal(1200)
        work.detail["by"] = object()

    assert stored(runner, record)["last_event"] == "completed"
    assert stored(runner, record)["last_detail"]["rows"] == 1200
    assert stored(runner, record)["last_detail"]["by"].startswith("<object object at")
    assert "event=detail_altered" in caplog.text and "detail.by (object)" in caplog.text


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (KeyboardInterrupt(), "stopped by KeyboardInterrupt"),
        (SystemExit(143), "stopped by SystemExit: 143"),
        (SystemExit(0), "stopped by SystemExit: 0"),
    ],
)
def test_a_block_that_is_interrupted_fails_the_record(runner, orders, error, noted):
    with pytest.raises(type(error)), runner.processing(orders) as record:
        raise error

    assert stored(runner, record)["status"] == "PENDING"
    assert stored(runner, record)["last_detail"]["error"] == noted


def test_heartbeats_that_reach_nobody_for_a_lease_lose_the_claim(runner, orders, connect):
    blocker = connect(autocommit=False)

    def work():
        processing = runner.processing({**orders, "lease": "1s"})
        with processing:
            # The heartbeat hangs: what counts is this machine's clock.
            blocker.execute("select from record_ledger.record for update")
            assert processing.claim_lost.wait(20)

    with pytest.raises(ClaimLost, match="no heartbeat reached the ledger for 1 s"):
        work()

    blocker.rollback()
    assert runner.pipeline_records("orders", limit=1)[0]["status"] == "IN_PROGRESS"


SCRIPT = """
import json, signal, sys
from record_ledger import RecordLedger
signal.signal(signal.SIGINT, signal.default_int_handler)
with RecordLedger(sys.argv[1]) as ledger, ledger.processing(json.loads(sys.argv[2])) as record:
    print("the block runs")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_between_the_pass_and_the_block_releases_the_record(
    runner, orders, ledger, connect, ledger_dsn
):
    blocks_after_the_pass(ledger)
    blocker = connect()
    blocker.execute("select pg_advisory_lock(7)")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, ledger_dsn, json.dumps(orders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    waits_in_the_database(ledger, "advisory")

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert out == ""
    assert "KeyboardInterrupt" in err
    blocker.execute("select pg_advisory_unlock(7)")
    record = runner.pipeline_records("orders", limit=1)[0]
    assert (record["status"], record["attempt"]) == ("PENDING", 0)
    assert record["last_event"] == "released"
