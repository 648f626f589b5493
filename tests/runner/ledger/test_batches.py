"""Several records in one call, through Python."""

from __future__ import annotations

import pickle

import pytest

from record_ledger import InvalidArgument


@pytest.fixture
def hourly(config, clock):
    clock.set("2026-11-22T06:00:00Z")
    return config(
        "orders",
        timezone="UTC",
        x_time_back="0s",
        granularity="1h",
        start_at="2026-11-22",
        fields={"path": "{{ window_start_time.strftime('%H') }}.csv"},
    )


def test_a_batch_is_rendered_and_each_record_ends_by_itself(runner, hourly):
    batch = runner.pass_valid_records(hourly, "dag/1", 3)

    assert (batch.exit_dag, batch.verdict) == (False, "READY")
    assert [record["path"] for record in batch.records] == ["00.csv", "01.csv", "02.csv"]
    assert [record["run_id"] for record in batch.records] == ["dag/1/1", "dag/1/2", "dag/1/3"]
    assert pickle.loads(pickle.dumps(batch.records)) == batch.records
    runner.complete_record("orders", batch.records[1]["claim_token"])

    again = runner.pass_valid_records(hourly, "dag/1", 3)
    assert [record["path"] for record in again.records] == ["00.csv", "02.csv"]


def test_a_batch_with_nothing_to_pass_says_why(runner, hourly):
    runner.pass_valid_records(hourly, "dag/1", 100)

    batch = runner.pass_valid_records(hourly, "dag/2", 100)

    assert (batch.exit_dag, batch.verdict, batch.records) == (True, "LEASED", [])
    assert "dag/1/1 holds it" in batch.reason


def test_a_batch_of_no_records_is_an_invalid_argument(runner, hourly):
    with pytest.raises(InvalidArgument, match="record_limit: 0"):
        runner.pass_valid_records(hourly, "dag/1", 0)
