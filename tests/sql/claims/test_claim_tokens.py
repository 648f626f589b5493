"""Claim tokens: greater with each pass of a pipeline under any clock, below 2^53, from no sequence."""

from __future__ import annotations

import json
import multiprocessing
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from tests.sql.concurrency.load import work
from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    cycle,
    one,
    pass_valid,
    refused,
    register,
    release,
    rows,
    snapshot,
    store,
)

BEGINNING = datetime(2025, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 11, 22, 6, tzinfo=timezone.utc)
RANDOM = 2**12
# The millisecond at which tokens would not be read exactly as floats any more.
LAST = BEGINNING + timedelta(milliseconds=2**41)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-21T00:00:00Z",
        max_attempts=100,
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    clock.set(NOW)
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


def base(instant):
    return int((instant - BEGINNING) / timedelta(milliseconds=1)) * RANDOM


def test_a_token_is_of_the_ledgers_clock_and_random_bits(ledger, clock, orders):
    for _ in range(5):
        token = pass_valid(ledger, orders).token
        assert 0 <= token - base(clock.now()) < RANDOM
        clock.advance("1ms")


def test_passes_of_one_millisecond_have_growing_tokens(ledger, clock, orders):
    tokens = [pass_valid(ledger, orders).token for _ in range(20)]
    steps = [after - before for before, after in pairwise(tokens)]
    assert all(1 <= step <= RANDOM for step in steps)
    # Steps of one value could be foretold by another copy of the ledger.
    assert len(set(steps)) > 1
    audit(ledger)


def test_the_records_of_one_batch_have_growing_tokens(ledger, clock, given, orders):
    (records,) = rows(
        ledger,
        "select records from record_ledger.pass_valid_records(%s, 'batch', 20)",
        [json.dumps(given)],
    )[0]
    tokens = [record["claim_token"] for record in records]
    assert len(tokens) == 20 and tokens == sorted(set(tokens))
    audit(ledger)


def test_a_run_that_is_passed_its_record_again_has_a_greater_token(ledger, clock, orders):
    first = pass_valid(ledger, orders, "a")
    clock.set("2001-01-01T00:00:00Z")
    second = pass_valid(ledger, orders, "a")
    assert second.start == first.start
    assert 1 <= second.token - first.token <= RANDOM


def test_tokens_grow_while_the_clock_jumps_back_and_forth(ledger, clock, orders):
    newest = 0
    for instant in (
        "2026-11-22T06:00:00Z", "2024-06-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-11-22T05:59:59.999Z",
        "2061-01-01T00:00:00Z", "2026-11-22T06:00:00Z", "2093-12-31T23:59:59.999999Z", "2026-11-22T06:00:01Z",
    ):  # fmt: skip
        clock.set(instant)
        for run in ("bound", None):
            answer = pass_valid(ledger, orders, run)
            # Before the windows' ends nothing is passed.
            if answer.record is None:
                continue
            assert newest < answer.token < 2**53
            newest = answer.token
            release(ledger, answer.token)
    assert newest > base(datetime(2093, 12, 31, tzinfo=timezone.utc))


def test_a_clock_before_2025_gives_small_tokens_that_grow(ledger, clock, config):
    clock.set("2019-05-06T07:00:00Z")
    register(
        ledger,
        config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2019-05-06"),
    )
    store(ledger, PIPELINE)
    tokens = [pass_valid(ledger, PIPELINE).token for _ in range(4)]
    assert tokens == sorted(set(tokens))
    assert 1 <= tokens[0] <= RANDOM
    clock.set(NOW)
    assert pass_valid(ledger, PIPELINE).token >= base(NOW)


def test_a_clock_that_gives_more_than_2_to_the_53_passes_nothing(ledger, clock, given, orders):
    clock.set(LAST - timedelta(microseconds=1000))
    last = pass_valid(ledger, orders)
    assert 2**53 - RANDOM <= last.token < 2**53
    register(ledger, {**given, "max_active_records": None})
    before = snapshot(ledger)
    for instant in (LAST, LAST + timedelta(days=1), "2900-01-01T00:00:00Z"):
        clock.set(instant)
        with refused(
            "RL005", "the ledger's clock is at .*2094-09-07|the ledger's clock is at 2900"
        ) as caught:
            pass_valid(ledger, orders)
        assert "clock of the database server" in caught.value.diag.message_hint
    assert snapshot(ledger) == before


def test_a_pipeline_whose_newest_token_is_the_last_one_passes_nothing(ledger, clock, orders):
    token = 2**53 - 1
    ledger.execute(
        "insert into record_ledger.claim (pipeline_id, claim_token, window_start_time, active_mark) "
        "select pipeline_id, %s, window_start_time, window_start_time from record_ledger.pipeline_records "
        "order by window_start_time limit 1",
        [token],
    )
    with refused("RL005", f"pipeline {orders}: no claim token is left after {token}"):
        pass_valid(ledger, orders)
    assert one(ledger, "select count(*) from record_ledger.record_events") == 0


def test_a_sessions_seed_does_not_repeat_tokens(ledger, clock, orders):
    found = []
    for _ in range(2):
        ledger.execute("select setseed(0.5)")
        with ledger.transaction(force_rollback=True):
            found.append([pass_valid(ledger, orders).token for _ in range(5)])
    assert found[0] != found[1]


def test_tokens_survive_json_and_every_pipeline_has_its_own(ledger, clock, config, orders):
    answer = pass_valid(ledger, orders)
    assert int(float(answer.record["claim_token"])) == answer.token
    # Claims are found by pipeline and token: another pipeline may hold the same one.
    other = config(
        "other", timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-22"
    )
    twin = cycle(ledger, other)
    ledger.execute("alter table record_ledger.claim disable trigger user")
    ledger.execute("alter table record_ledger.record disable trigger user")
    ledger.execute("alter table record_ledger.record_event disable trigger user")
    for table in ("claim", "record", "record_event"):
        ledger.execute(
            f"update record_ledger.{table} set claim_token = %s where claim_token = %s",
            [answer.token, twin.token],
        )
        ledger.execute(f"alter table record_ledger.{table} enable trigger user")
    complete(ledger, answer.token)
    assert rows(
        ledger, "select pipeline_id, status from record_ledger.pipeline_records where claim_token is not null order by 1"
    ) == [(orders, "COMPLETED"), ("other", "IN_PROGRESS")]  # fmt: skip
    complete(ledger, answer.token, "other")
    audit(ledger)


@pytest.mark.slow
def test_sixteen_processes_draw_each_token_once_and_in_order(ledger, ledger_dsn, clock, config):
    # The clock stands still: every pass is in the same millisecond.
    clock.set(NOW)
    given = config(
        PIPELINE,
        timezone="UTC",
        x_time_back="0s",
        granularity="1m",
        lease="9d",
        start_at="2026-11-21T00:00:00Z",
    )
    register(ledger, given)
    store(ledger, PIPELINE)
    jobs = [(ledger_dsn, [given], 20, seed, True) for seed in range(16)]
    with multiprocessing.get_context("spawn").Pool(16) as pool:
        running = pool.starmap_async(work, jobs, chunksize=1)
        while not running.ready():
            clock.set(NOW - timedelta(days=1))
            clock.set(NOW)
            running.wait(0.05)
        taken = [passed for found in running.get() for passed in found]
    assert len({token for *_, token in taken}) == len(taken) == 320
    starts = [start for _, start in sorted((token, start) for _, start, token in taken)]
    assert starts == sorted(starts)
    audit(ledger)
