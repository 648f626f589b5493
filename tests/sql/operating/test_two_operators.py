"""Two sessions, one of them an operator's: the second one waits, then sees what the first one did."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.statuses import EVERYTHING, hour, one_of_each, statuses
from tests.sql.support import (
    PIPELINE,
    audit,
    backfill,
    complete,
    cycle,
    events,
    extend,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    record_of,
    register,
    release,
    rows,
    windows,
)


@pytest.fixture
def given(ledger, clock, config):
    return one_of_each(ledger, clock, config)


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


@pytest.fixture
def beside(connect, in_background):
    """Starts a call beside the test, on a connection of its own: `beside(operate, "waive", ...)`."""

    def start(call, *arguments, **options):
        connection = connect()
        return in_background(connection, lambda: call(connection, *arguments, **options))

    return start


@pytest.fixture
def held(ledger, given):
    """The token of the record in progress, that of hour 1."""
    return one(ledger, "select claim_token from record_ledger.pipeline_records where status = 'IN_PROGRESS'")  # fmt: skip


# ---------------------------------------------------------------- waive against pass
def test_what_is_being_waived_is_not_passed(ledger, given, first, beside):
    assert operate(first, "waive", *EVERYTHING) == 2
    second = beside(pass_valid, PIPELINE, "new")
    second.wait_until_blocked()
    first.commit()
    assert second.result().verdict == "LEASED"
    audit(ledger)


def test_what_is_being_passed_is_not_waived(ledger, given, first, beside):
    assert pass_valid(first, PIPELINE, "new").start == hour(0)
    second = beside(operate, "waive", *EVERYTHING)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 1
    assert statuses(ledger)[0] == "IN_PROGRESS"
    audit(ledger)


def test_a_waiver_that_is_rolled_back_leaves_the_record_to_the_pass(ledger, given, first, beside):
    operate(first, "waive", *EVERYTHING)
    second = beside(pass_valid, PIPELINE, "new")
    second.wait_until_blocked()
    first.rollback()
    assert second.result().start == hour(0)


# ---------------------------------------------------------------- reopen against complete
def test_a_record_that_is_being_completed_is_not_reopened(ledger, held, first, connect):
    complete(first, held)
    other = connect()
    other.execute("set lock_timeout = '5s'")
    # Other sessions still see it in progress, and do not wait.
    assert operate(other, "reopen", hour(1), hour(2)) == 0
    first.commit()
    assert operate(other, "reopen", hour(1), hour(2)) == 1
    complete(ledger, held)
    assert record_of(ledger, hour(1))["status"] == "PENDING"
    audit(ledger)


def test_the_answer_of_a_completion_may_be_asked_for_again_while_the_record_is_reopened(
    ledger, held, first, connect
):
    complete(ledger, held)
    assert operate(first, "reopen", hour(1), hour(2)) == 1
    other = connect()
    other.execute("set lock_timeout = '5s'")
    complete(other, held)
    first.commit()
    complete(other, held)
    assert events(ledger, hour(1)) == ["passed", "completed", "reopened"]
    audit(ledger)


def test_a_reopened_record_is_passed_by_the_pass_that_waited(ledger, given, first, beside):
    operate(ledger, "waive", hour(0), hour(1))
    operate(first, "reopen", hour(2), hour(3))
    second = beside(pass_valid, PIPELINE, "new")
    # Nothing was pending when it looked, so it did not even wait.
    assert second.result().verdict == "LEASED"
    first.commit()
    assert pass_valid(ledger, PIPELINE, "new").start == hour(2)
    audit(ledger)


# ---------------------------------------------------------------- expire against the run that is not dead
@pytest.mark.parametrize("call", [complete, fail, release])
def test_a_run_that_ends_its_claim_first_wins_over_the_operator(ledger, held, first, beside, call):
    call(first, held)
    second = beside(operate, "expire", *EVERYTHING)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 0
    assert "lease_expired" not in events(ledger, hour(1))
    audit(ledger)


@pytest.mark.parametrize("call", [complete, fail, release, extend])
def test_an_operator_who_expires_first_wins_over_the_run(ledger, held, first, beside, call):
    assert operate(first, "expire", *EVERYTHING) == 1
    second = beside(call, held)
    second.wait_until_blocked()
    first.commit()
    assert second.error().sqlstate == "RL004"
    assert events(ledger, hour(1)) == ["passed", "lease_expired"]
    audit(ledger)


def test_a_heartbeat_does_not_save_a_claim_that_is_being_expired(
    ledger, clock, held, first, beside
):
    clock.advance("5m")
    extend(first, held)
    second = beside(operate, "expire", *EVERYTHING)
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 1
    # It ended the lease as the heartbeat left it.
    expired_at = record_of(ledger, hour(1))["last_detail"]["lease_expires_at"]
    assert expired_at == (hour(5) + timedelta(minutes=35)).isoformat()
    audit(ledger)


def test_a_claim_that_a_pass_collects_is_not_expired_as_well(ledger, clock, held, first, beside):
    clock.advance("45m")
    assert pass_valid(first, PIPELINE, "new").start == hour(0)
    second = beside(operate, "expire", *EVERYTHING)
    second.wait_until_blocked()
    first.commit()
    # The pass has collected the old claim; the one that it made is the operator's to end.
    assert second.result() == 1
    assert events(ledger, hour(1)) == ["passed", "lease_expired"]
    assert events(ledger, hour(0))[-1] == "lease_expired"
    audit(ledger)


# ---------------------------------------------------------------- two operators
@pytest.mark.parametrize(
    ("one_does", "other_does", "counts"),
    [
        ("waive", "waive", (2, 0)),
        ("reopen", "reopen", (3, 0)),
        ("expire", "expire", (1, 0)),
        ("waive", "reopen", (2, 4)),
        ("reopen", "waive", (3, 4)),
    ],
)
def test_two_operators_work_one_after_the_other(
    ledger, given, first, beside, one_does, other_does, counts
):
    mine = operate(first, one_does, *EVERYTHING)
    second = beside(operate, other_does, *EVERYTHING)
    second.wait_until_blocked()
    first.commit()
    assert (mine, second.result()) == counts
    audit(ledger)


def test_two_backfills_add_each_window_once(ledger, given, first, beside):
    assert backfill(first, hour(-30)) == 48
    second = beside(backfill, hour(-60))
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 24
    assert len(windows(ledger)) == 5 + 72
    audit(ledger)


@pytest.mark.parametrize("verbs", [("pause", "resume"), ("resume", "pause")])
def test_the_later_of_two_operators_has_the_last_word(ledger, given, first, beside, verbs):
    on_pipeline(ledger, "pause")
    on_pipeline(first, verbs[0])
    second = beside(on_pipeline, verbs[1])
    second.wait_until_blocked()
    first.commit()
    second.result()
    assert one(ledger, "select paused_at is not null from record_ledger.pipelines") is (
        verbs[1] == "pause"
    )
    found = rows(ledger, "select event_no, event from record_ledger.pipeline_events order by 1")
    assert found[1:] == [(2, "paused"), (3, f"{verbs[0]}d"), (4, f"{verbs[1]}d")]


# ---------------------------------------------------------------- backfill against pass
def test_a_pass_that_waits_for_a_backfill_gets_the_oldest_record_of_all(
    ledger, given, first, beside
):
    backfill(first, hour(-1))
    second = beside(pass_valid, PIPELINE, "new")
    second.wait_until_blocked()
    first.commit()
    assert second.result().start == hour(-24)
    audit(ledger)


def test_a_backfill_waits_for_a_pass_and_links_the_record_that_it_passed(
    ledger, given, first, beside
):
    assert cycle(first, given, "new").start == hour(0)
    second = beside(backfill, hour(-1))
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 24
    assert record_of(ledger, hour(0))["status"] == "IN_PROGRESS"
    audit(ledger)


def test_a_backfill_waits_for_the_end_of_the_first_records_claim(ledger, given, first, beside):
    token = pass_valid(ledger, PIPELINE, "new").token
    complete(first, token)
    second = beside(backfill, hour(-1))
    second.wait_until_blocked()
    first.commit()
    assert second.result() == 24
    assert record_of(ledger, hour(0))["status"] == "COMPLETED"
    audit(ledger)


# ---------------------------------------------------------------- pause against pass
@pytest.mark.parametrize("verb", ["pause", "retire"])
def test_a_pass_that_was_first_is_not_undone_by_a_pause(ledger, given, first, beside, verb):
    passed = pass_valid(first, PIPELINE, "new")
    second = beside(on_pipeline, verb)
    second.wait_until_blocked()
    first.commit()
    second.result()
    complete(ledger, passed.token)
    assert pass_valid(ledger, PIPELINE, "other").verdict != "READY"
    audit(ledger)


@pytest.mark.parametrize("call", ["pass", "cycle"])
@pytest.mark.parametrize("verb", ["pause", "retire"])
def test_a_pass_that_waits_for_a_pause_passes_nothing(
    ledger, clock, given, first, beside, verb, call
):
    clock.advance("1h1us")
    on_pipeline(first, verb)
    second = beside(pass_valid, PIPELINE, "n") if call == "pass" else beside(cycle, given, "n")
    second.wait_until_blocked()
    first.commit()
    assert second.result().verdict == "PAUSED"
    stored = 2 if (verb, call) == ("pause", "cycle") else 0
    assert len(windows(ledger)) == 5 + stored
    audit(ledger)


def test_a_new_config_and_a_pause_do_not_undo_each_other(ledger, given, first, beside):
    register(first, given | {"lease": "2h"})
    second = beside(on_pipeline, "pause")
    second.wait_until_blocked()
    first.commit()
    second.result()
    assert rows(ledger, "select config_version, paused_at is not null from record_ledger.pipelines") == [(2, True)]  # fmt: skip
