"""Processing a record in a `with` block: heartbeats, and how the block ends the claim."""

from __future__ import annotations

import time

import pytest

from record_ledger import ClaimLost, RecordLedger


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def orders(config, clock):
    clock.set("2026-11-22T20:00:00Z")
    return config("orders", lease="1s")


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


def test_with_nothing_to_do_the_block_gets_none_and_the_reason(runner, orders, clock):
    clock.set("2026-11-22T08:30:00Z")

    work = runner.processing(orders)
    with work as record:
        assert record is None

    assert work.result.verdict == "UNSTABLE"


def test_the_lease_is_extended_while_the_block_runs(runner, orders, clock):
    with runner.processing(orders) as record:
        clock.advance("500ms")
        deadline = time.monotonic() + 20
        while stored(runner, record)["lease_expires_at"] <= record["lease_expires_at"]:
            assert time.monotonic() < deadline, "no heartbeat came"

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
