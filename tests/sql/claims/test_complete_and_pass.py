"""complete_and_pass: one commit that completes a record and passes the next one, or does nothing at all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.counts.counting import BOTH, observe, requires
from tests.sql.statuses import hour
from tests.sql.support import (
    PIPELINE,
    Answer,
    audit,
    built,
    complete,
    complete_and_pass,
    cycle,
    events,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    release,
    rows,
    snapshot,
    store,
)

CALL = (
    "select exit_dag, verdict, reason, record "
    "from record_ledger.complete_and_pass(%s, %s, %s, %s, %s)"
)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(), lease="30m",
        retry_delay="10m", max_attempts=3,
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    """Six windows are stored and due."""
    clock.set(hour(6))
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


def parameters(token, run_id=None, pipeline_id=PIPELINE):
    return [pipeline_id, token, run_id, Jsonb({}), None]


def test_it_completes_the_record_and_passes_the_next_one(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    answer = complete_and_pass(ledger, held.token, "run/2", {"rows": 7}, held.start)
    assert (answer.exit_dag, answer.verdict, answer.start) == (False, "READY", hour(1))
    assert answer.reason == (
        "window 2026-11-22T01:00:00+00:00 is passed to run run/2, attempt 1 of 3"
    )
    assert answer.record["run_id"] == "run/2"
    found = record_of(ledger, held.start)
    assert (found["status"], found["last_detail"]) == ("COMPLETED", {"rows": 7})
    assert events(ledger, held.start) == ["passed", "completed"]
    assert events(ledger, answer.start) == ["passed"]
    audit(ledger)


def test_it_answers_as_complete_record_and_pass_valid_record_do(ledger, orders, config, clock):
    other = config(
        "other", timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(), lease="30m",
        retry_delay="10m", max_attempts=3,
    )  # fmt: skip
    register(ledger, other)
    store(ledger, "other")
    ours, theirs = pass_valid(ledger, orders, "1"), pass_valid(ledger, "other", "1")
    complete(ledger, theirs.token, "other")
    there = pass_valid(ledger, "other", "2")
    here = complete_and_pass(ledger, ours.token, "2")
    changing = {"claim_token": 0, "pipeline_id": ""}
    assert here._replace(record={**here.record, **changing}) == there._replace(
        record={**there.record, **changing}
    )


def test_it_is_one_transaction(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    answer = complete_and_pass(ledger, held.token, "run/2")
    writers = (
        "select distinct xmin::text from record_ledger.record where window_start_time = any(%s)"
    )
    assert len(rows(ledger, writers, [[held.start, answer.start]])) == 1


def test_the_backlog_is_drained_to_its_end_and_the_last_exit_has_completed(ledger, orders):
    answer = pass_valid(ledger, orders, "run/1")
    for k in range(2, 7):
        answer = complete_and_pass(ledger, answer.token, f"run/{k}")
    last = answer
    answer = complete_and_pass(ledger, last.token, "run/7")
    assert (answer.exit_dag, answer.record) == (True, None)
    assert answer.verdict == "NO_RECORDS"
    assert record_of(ledger, last.start)["status"] == "COMPLETED"
    audit(ledger)


def test_it_stores_no_windows(ledger, clock, orders):
    held = pass_valid(ledger, orders, "run/1")
    clock.advance("3h")
    extended = "select count(*) from record_ledger.pipeline_records"
    before = one(ledger, extended)
    # The lease is over, and no pass has collected it: the claim is still the record's.
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)
    assert one(ledger, extended) == before


# ---------------------------------------------------------------- repeated
def test_repeated_with_the_same_run_id_it_confirms_and_gives_the_same_record(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    answer = complete_and_pass(ledger, held.token, "run/2")
    again = complete_and_pass(ledger, held.token, "run/2")
    assert (again.exit_dag, again.start, again.record["attempt"]) == (False, answer.start, 1)
    assert again.token > answer.token
    assert events(ledger, held.start) == ["passed", "completed"]
    assert events(ledger, answer.start) == ["passed", "passed_again"]


def test_a_completion_alone_may_come_before_it(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    complete(ledger, held.token)
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)
    assert events(ledger, held.start) == ["passed", "completed"]


def test_repeated_after_an_exit_it_confirms_and_passes_what_has_come(ledger, clock, orders, given):
    operate(ledger, "waive", hour(1), hour(6))
    held = pass_valid(ledger, orders, "run/1")
    assert complete_and_pass(ledger, held.token, "run/2").verdict == "NO_RECORDS"
    clock.advance("1h")
    store(ledger, orders)
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(6)


def test_repeated_when_the_second_record_was_taken_by_another_run_it_says_so(ledger, clock, orders):
    held = pass_valid(ledger, orders, "run/1")
    answer = complete_and_pass(ledger, held.token, "run/2")
    clock.advance("45m")
    assert pass_valid(ledger, orders, "other").start == answer.start
    again = complete_and_pass(ledger, held.token, "run/2")
    assert (again.exit_dag, again.verdict) == (True, "LEASED")


def test_the_run_that_held_the_record_keeps_it_for_good(ledger, orders):
    held = pass_valid(ledger, orders, "run")
    answer = complete_and_pass(ledger, held.token, "run")
    assert (answer.exit_dag, answer.verdict) == (True, "ALREADY_DONE")
    assert record_of(ledger, held.start)["status"] == "COMPLETED"


def test_without_a_run_id_nothing_is_bound(ledger, orders):
    held = pass_valid(ledger, orders)
    answer = complete_and_pass(ledger, held.token)
    assert complete_and_pass(ledger, held.token).start == answer.start + timedelta(hours=1)


# ---------------------------------------------------------------- nothing at all
@pytest.mark.parametrize("ended", [fail, release])
def test_with_a_claim_that_is_lost_nothing_is_done(ledger, orders, ended):
    held = pass_valid(ledger, orders, "run/1")
    ended(ledger, held.token)
    before = snapshot(ledger)
    with refused("RL004", f"claim lost: claim token {held.token} of pipeline orders"):
        complete_and_pass(ledger, held.token, "run/2")
    assert snapshot(ledger) == before


def test_with_a_token_of_another_window_nothing_is_done(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    before = snapshot(ledger)
    with refused("RL004", "belongs to window 2026-11-22T00:00:00"):
        complete_and_pass(ledger, held.token, "run/2", window=hour(1))
    assert snapshot(ledger) == before


def test_with_counts_that_do_not_agree_nothing_is_done(ledger, orders, given):
    requires(ledger, given, BOTH)
    held = pass_valid(ledger, orders, "run/1")
    observe(ledger, held.start, "source", 7, held.token)
    before = snapshot(ledger)
    with refused("RL007", "counts do not agree: .* source 7, target not counted"):
        complete_and_pass(ledger, held.token, "run/2")
    assert snapshot(ledger) == before
    observe(ledger, held.start, "target", 7, held.token)
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)


@pytest.mark.parametrize(
    ("changes", "sqlstate", "message"),
    [
        ({"run_id": ""}, "RL005", "run_id"),
        ({"run_id": "x" * 1025}, "RL005", "run_id"),
        ({"detail": {"text": "x" * 70_000}}, "RL005", "detail"),
        ({"token": None}, "RL005", "claim_token: null is not a valid token"),
        ({"pipeline_id": "order"}, "RL002", "order"),
        ({"pipeline_id": None}, "RL005", "pipeline_id: null"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(ledger, orders, changes, sqlstate, message):
    held = pass_valid(ledger, orders, "run/1")
    before = snapshot(ledger)
    with refused(sqlstate, message):
        complete_and_pass(ledger, **{"token": held.token, "run_id": "run/2", **changes})
    assert snapshot(ledger) == before


def test_it_is_refused_in_a_transaction_of_another_isolation(connect, orders, ledger):
    held = pass_valid(ledger, orders, "run/1")
    strict = connect(autocommit=False)
    strict.execute("set transaction isolation level repeatable read")
    with refused("RL005", "repeatable read"):
        complete_and_pass(strict, held.token, "run/2")


# ---------------------------------------------------------------- what a pass answers
def test_a_completion_frees_the_room_that_it_took(ledger, orders, given):
    register(ledger, {**given, "max_active_records": 1})
    held = pass_valid(ledger, orders, "run/1")
    assert pass_valid(ledger, orders, "other").verdict == "AT_CAPACITY"
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)


def test_a_completion_lets_the_next_one_go_that_depends_on_it(ledger, orders, given):
    register(ledger, {**given, "depends_on_past": True})
    held = pass_valid(ledger, orders, "run/1")
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)


def test_in_a_paused_pipeline_the_record_is_completed_and_none_is_passed(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    on_pipeline(ledger, "pause")
    assert complete_and_pass(ledger, held.token, "run/2").verdict == "PAUSED"
    assert record_of(ledger, held.start)["status"] == "COMPLETED"


def test_a_cancelled_record_whose_work_is_done_is_completed(ledger, orders):
    held = pass_valid(ledger, orders, "run/1")
    operate(ledger, "cancel", hour(0), hour(1))
    assert complete_and_pass(ledger, held.token, "run/2").start == hour(1)
    assert record_of(ledger, held.start)["status"] == "COMPLETED"


def test_it_collects_the_leases_of_others_that_have_expired(ledger, clock, orders):
    held, dead = pass_valid(ledger, orders, "run/1"), pass_valid(ledger, orders, "dead")
    clock.advance("45m")
    assert complete_and_pass(ledger, held.token, "run/2").start == dead.start
    assert events(ledger, dead.start) == ["passed", "lease_expired", "passed"]


def test_what_is_to_be_built_first_is_left_to_a_run_with_the_config(ledger, clock, given):
    clock.set(hour(2))
    given = {**given, "default_record": {"pipeline_id": PIPELINE, "path": "{{ target_day }}"}}
    asked = cycle(ledger, given, "run/1")
    held = cycle(ledger, given, "run/1", built(asked.to_build, path="a"))
    # Rendered when it was stored: passed as it is.
    second = complete_and_pass(ledger, held.token, "run/2")
    assert second.record["path"] == "a"
    clock.advance("2h")
    changed = {**given, "default_record": {"pipeline_id": PIPELINE, "path": "{{ granularity }}"}}
    store(ledger, PIPELINE, built(cycle(ledger, given, "x").to_build, path="a"))
    register(ledger, changed)
    answer = complete_and_pass(ledger, second.token, "run/3")
    assert (answer.exit_dag, answer.verdict) == (True, "INCOMPLETE")
    assert "was built with an older config; the next run with its config builds it" in answer.reason
    assert record_of(ledger, second.start)["status"] == "COMPLETED"


def test_an_outdated_record_without_templates_is_built_by_the_way(ledger, orders, given):
    held = pass_valid(ledger, orders, "run/1")
    changed = {**given, "default_record": {**given["default_record"], "key_x": "new"}}
    register(ledger, changed)
    assert complete_and_pass(ledger, held.token, "run/2").record["key_x"] == "new"


# ---------------------------------------------------------------- two sessions
def test_two_that_complete_and_pass_come_one_after_the_other(
    ledger, connect, first, in_background, orders
):
    one_held, other_held = pass_valid(ledger, orders, "a/1"), pass_valid(ledger, orders, "b/1")
    mine = complete_and_pass(first, one_held.token, "a/2")
    second = in_background(connect(), CALL, parameters(other_held.token, "b/2"))
    second.wait_until_blocked()
    first.commit()
    assert [mine.start, Answer(*second.rows()[0], []).start] == [hour(2), hour(3)]
    audit(ledger)


def test_the_same_call_in_two_sessions_completes_once_and_passes_one_record(
    ledger, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "run/1")
    mine = complete_and_pass(first, held.token, "run/2")
    second = in_background(connect(), CALL, parameters(held.token, "run/2"))
    second.wait_until_blocked()
    first.commit()
    theirs = Answer(*second.rows()[0], [])
    assert theirs.start == mine.start and theirs.token > mine.token
    assert events(ledger, held.start) == ["passed", "completed"]
    audit(ledger)


def test_a_pass_that_collects_the_claim_first_leaves_nothing_to_complete(
    ledger, clock, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "run/1")
    clock.advance("45m")
    assert pass_valid(first, orders, "other").start == held.start
    second = in_background(connect(), CALL, parameters(held.token, "run/2"))
    second.wait_until_blocked()
    first.commit()
    assert second.error().sqlstate == "RL004"
    assert events(ledger, hour(1)) == []
    audit(ledger)


def test_it_and_a_pass_that_would_collect_its_claim_do_not_wait_for_each_other(
    ledger, clock, connect, first, in_background, orders
):
    held = pass_valid(ledger, orders, "run/1")
    clock.advance("45m")
    mine = complete_and_pass(first, held.token, "run/2")
    second = in_background(
        connect(), "select verdict, record from record_ledger.pass_valid_record('orders', 'other')"
    )
    second.wait_until_blocked()
    first.commit()
    ((verdict, record),) = second.rows()
    assert verdict == "READY" and record["window_start_time"] > mine.record["window_start_time"]
    assert events(ledger, held.start) == ["passed", "completed"]
    audit(ledger)


def test_an_ending_that_comes_first_is_waited_for(ledger, connect, first, in_background, orders):
    held = pass_valid(ledger, orders, "run/1")
    fail(first, held.token)
    second = in_background(connect(), CALL, parameters(held.token, "run/2"))
    second.wait_until_blocked()
    first.commit()
    assert second.error().sqlstate == "RL004"
    assert events(ledger, hour(1)) == []
