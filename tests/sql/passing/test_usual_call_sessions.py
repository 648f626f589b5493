"""What happens between the usual call's look and its lock: it passes what a look after the lock would find."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.sql.statuses import START, hour
from tests.sql.support import PIPELINE, audit, complete, cycle, fail, operate, register, store

ASK = (
    "select verdict, record ->> 'window_start_time' "
    "from record_ledger.store_new_and_pass_valid_record(%s, %s)"
)
LOCK = "select from record_ledger.pipeline for no key update"


@pytest.fixture
def given(ledger, clock, config):
    """Three stable windows are stored; a run holds the first."""
    made = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(), lease="30m",
        retry_delay="0s",
    )  # fmt: skip
    clock.set(hour(3))
    register(ledger, made)
    return made


@pytest.fixture
def held(ledger, given):
    return cycle(ledger, given, "held")


@pytest.fixture
def asking(connect, in_background, given, held):
    """A usual call that has looked, and waits for the lock of another session."""
    other = connect(autocommit=False)
    other.execute(LOCK)
    call = in_background(connect(), ASK, [Jsonb(given), "asks"])
    call.wait_until_blocked()

    def answer():
        other.rollback()
        return call.rows()

    return answer


def test_a_record_that_failed_meanwhile_comes_first(ledger, held, asking):
    fail(ledger, held.token)
    assert asking() == [("READY", hour(0).isoformat())]
    audit(ledger)


def test_a_record_whose_lease_ran_out_meanwhile_comes_first(ledger, clock, asking):
    clock.advance("30m")
    assert asking() == [("READY", hour(0).isoformat())]
    audit(ledger)


def test_a_record_that_an_operator_took_back_comes_first(
    ledger, connect, in_background, given, held
):
    operator = connect(autocommit=False)
    operate(operator, "expire", hour(0), hour(1))
    call = in_background(connect(), ASK, [Jsonb(given), "asks"])
    call.wait_until_blocked()
    operator.commit()
    assert call.rows() == [("READY", hour(0).isoformat())]
    audit(ledger)


def test_a_record_that_was_completed_meanwhile_keeps_no_run_from_the_next(ledger, held, asking):
    complete(ledger, held.token)
    assert asking() == [("READY", hour(1).isoformat())]
    audit(ledger)


# The look for what waits in order, which another session holds up after it has read.
HELD_UP = """
    create or replace function record_ledger.first_waiting(pipeline_id text, waiting_mark timestamptz)
    returns timestamptz[] language plpgsql stable as $$
    declare
        v_found timestamptz[] := (
            select array[w.window_start_time, w.window_end_time]
            from record_ledger.record as w
            where w.open_pipeline_id = first_waiting.pipeline_id and w.lane = 'waiting'
            order by w.window_start_time
            limit 1
        );
    begin
        perform pg_advisory_xact_lock_shared(1);
        return v_found;
    end
    $$
"""


def test_a_window_that_is_stored_between_two_looks_is_not_overlooked(
    ledger, clock, connect, in_background, config
):
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat(),
        retry_delay="0s",
    )  # fmt: skip
    clock.set(hour(1))
    register(ledger, given)
    complete(ledger, cycle(ledger, given, "first").token)
    clock.set(hour(2))
    ledger.execute(HELD_UP)
    other = connect()
    other.execute("select pg_advisory_lock(1)")
    call = in_background(connect(), ASK, [Jsonb(given), "asks"])
    call.wait_until_blocked()
    store(ledger, PIPELINE)
    other.execute("select pg_advisory_unlock(1)")
    assert call.rows() == [("READY", hour(1).isoformat())]
    audit(ledger)
