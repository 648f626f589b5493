"""complete_records: many claims end as completed in one commit, an answer for each, and none hinders another."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.counts.counting import BOTH, observe, requires, waive_counts
from tests.sql.statuses import hour
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    complete_all,
    events,
    extend,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    release,
    snapshot,
    store,
)
from tests.support.interleaving import Background

CALL = "select claim_token, outcome, reason from record_ledger.complete_records(%s, %s, %s, %s)"
DONE = ("completed", None)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(), lease="30m",
        retry_delay="10m", max_attempts=3,
    )  # fmt: skip


@pytest.fixture
def orders(ledger, clock, given):
    """Eight windows are stored and due."""
    clock.set(hour(8))
    register(ledger, given)
    store(ledger, PIPELINE)
    return PIPELINE


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


def passed(connection, count):
    return [pass_valid(connection, PIPELINE, f"run/{k}") for k in range(1, count + 1)]


def tokens_of(answers):
    return [answer.token for answer in answers]


def parameters(tokens):
    return [PIPELINE, tokens, None, None]


def status(connection, answer):
    return record_of(connection, answer.start)["status"]


# ---------------------------------------------------------------- what it does
def test_each_token_is_answered_in_the_order_given(ledger, orders):
    held = passed(ledger, 3)
    tokens = [held[n].token for n in (2, 0, 1)]
    details = [{"rows": 2}, None, {"rows": 1}]
    answer = complete_all(ledger, tokens, details, [held[2].start, None, held[1].start])
    assert list(answer.items()) == [(token, DONE) for token in tokens]
    kept = [record_of(ledger, one_held.start)["last_detail"] for one_held in held]
    assert kept == [{}, {"rows": 1}, {"rows": 2}]
    for one_held in held:
        assert events(ledger, one_held.start) == ["passed", "completed"]
    audit(ledger)


def test_it_leaves_a_record_as_complete_record_does(ledger, orders):
    alone, many = passed(ledger, 2)
    complete(ledger, alone.token, detail={"rows": 1})
    complete_all(ledger, [many.token], [{"rows": 1}])
    others = {
        "window_start_time",
        "window_end_time",
        "claim_token",
        "run_id",
        "previous_window_start_time",
    }
    left = [
        {name: value for name, value in record_of(ledger, held.start).items() if name not in others}
        for held in (alone, many)
    ]
    assert left[0] == left[1]


def test_it_is_one_transaction(ledger, orders):
    complete_all(ledger, tokens_of(passed(ledger, 5)))
    assert (
        one(
            ledger,
            "select count(distinct xmin::text) from record_ledger.record where status = 'COMPLETED'",
        )
        == 1
    )


def test_of_no_tokens_there_is_no_answer(ledger, orders):
    assert complete_all(ledger, []) == {}
    with refused("RL002", "order"):
        complete_all(ledger, [], pipeline_id="order")


def test_a_cancelled_record_whose_work_is_done_is_completed(ledger, orders):
    held = passed(ledger, 2)
    operate(ledger, "cancel", hour(0), hour(1))
    assert set(complete_all(ledger, tokens_of(held)).values()) == {DONE}
    audit(ledger)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_each_of_very_many_gets_its_own_detail(ledger, clock, config, count):
    clock.set(hour(8))
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="2s", start_at=hour(0).isoformat()
    )
    batch = one(
        ledger,
        "select records from record_ledger.pass_valid_records(%s, 'run', %s)",
        [Jsonb(given), count],
    )
    tokens = [record["claim_token"] for record in batch]
    ledger.execute(
        "create temp table answer as select * from record_ledger.complete_records(%s, %s, %s)",
        [PIPELINE, tokens[::-1], [Jsonb({"k": k}) for k in range(count)]],
    )
    assert one(ledger, "select count(*) from answer where outcome = 'completed'") == count
    wrong = (
        "select count(*) from record_ledger.pipeline_records where status = 'COMPLETED' and "
        "last_detail <> jsonb_build_object('k', %s - split_part(run_id, '/', 2)::integer)"
    )
    assert one(ledger, wrong, [count]) == 0
    assert (
        one(ledger, "select count(*) from record_ledger.record_events where event = 'completed'")
        == count
    )


# ---------------------------------------------------------------- claims that are lost
def test_a_lost_claim_hinders_no_other(ledger, clock, orders):
    failed, released, expired, again, last = passed(ledger, 5)
    fail(ledger, failed.token)
    release(ledger, released.token)
    clock.advance("20m")
    for held in (again, last):
        extend(ledger, held.token)
    clock.advance("20m")
    newer = pass_valid(ledger, orders, "run/4")
    answer = complete_all(ledger, [*tokens_of([failed, released, expired, again, last]), 77])
    assert [outcome for outcome, _ in answer.values()] == [*["lost"] * 4, "completed", "lost"]
    reasons = [reason for _, reason in answer.values()]
    assert "the record was marked as failed" in reasons[0]
    assert "the record was released" in reasons[1]
    assert "its lease expired" in reasons[2]
    assert "passed the record again, with a newer token" in reasons[3]
    assert reasons[5] == "pipeline orders never passed a record with claim token 77"
    assert record_of(ledger, newer.start)["claim_token"] == newer.token
    audit(ledger)


def test_the_reason_is_that_of_complete_record(ledger, orders):
    (held,) = passed(ledger, 1)
    fail(ledger, held.token)
    ((_, reason),) = complete_all(ledger, [held.token]).values()
    with refused("RL004") as caught:
        complete(ledger, held.token)
    assert caught.value.diag.message_primary == f"claim lost: {reason}"


def test_a_token_of_another_window_is_lost(ledger, orders):
    held, other = passed(ledger, 2)
    answer = complete_all(ledger, tokens_of([held, other]), None, [other.start, other.start])
    assert answer[other.token] == DONE
    assert (
        answer[held.token][0] == "lost"
        and "belongs to window 2026-11-22T00:00:00" in answer[held.token][1]
    )
    assert status(ledger, held) == "IN_PROGRESS"
    # Not confirmed for another window either.
    assert complete_all(ledger, [other.token], None, ["infinity"])[other.token][0] == "lost"


def test_repeated_it_says_the_same_and_changes_nothing(ledger, orders, given):
    held = passed(ledger, 3)
    fail(ledger, held[1].token)
    answer = complete_all(ledger, tokens_of(held), [{"rows": 1}] * 3)
    before = snapshot(ledger)
    assert complete_all(ledger, tokens_of(held), [{"rows": 2}] * 3) == answer
    assert snapshot(ledger) == before


def test_what_was_completed_stays_so_for_its_token_when_it_is_reopened_or_archived(
    ledger, clock, orders
):
    held = passed(ledger, 2)
    complete_all(ledger, tokens_of(held))
    assert archive(ledger, hour(1)) == 1
    operate(ledger, "reopen", hour(1), hour(2))
    newer = pass_valid(ledger, orders, "newer")
    assert newer.start == hour(1)
    assert set(complete_all(ledger, tokens_of(held)).values()) == {DONE}
    assert status(ledger, newer) == "IN_PROGRESS"


def test_a_repeated_call_waits_for_the_standbys_that_confirm(ledger, orders):
    held = passed(ledger, 2)
    complete_all(ledger, tokens_of(held))
    with ledger.transaction():
        complete_all(ledger, tokens_of(held))
        assert one(ledger, "select pg_current_xact_id_if_assigned()::text") is not None


# ---------------------------------------------------------------- counts
def test_a_record_whose_counts_do_not_agree_is_refused_and_hinders_no_other(ledger, orders, given):
    before_it = passed(ledger, 1)
    requires(ledger, given, BOTH)
    held = [pass_valid(ledger, orders, f"counted/{k}") for k in range(4)]
    for answer, target in ((held[0], 7), (held[1], 8), (held[3], 7)):
        observe(ledger, answer.start, "source", 7, answer.token)
        observe(ledger, answer.start, "target", target, answer.token)
    waive_counts(ledger, before_it[0].start)
    answer = complete_all(ledger, tokens_of([*held, *before_it]))
    outcomes = [outcome for outcome, _ in answer.values()]
    assert outcomes == ["completed", "refused", "refused", "completed", "completed"]
    for refused_one in held[1:3]:
        assert status(ledger, refused_one) == "IN_PROGRESS"
        with refused("RL007") as caught:
            complete(ledger, refused_one.token)
        assert caught.value.diag.message_primary == answer[refused_one.token][1]
    observe(ledger, held[1].start, "target", 7, held[1].token)
    assert complete_all(ledger, [held[1].token])[held[1].token] == DONE
    audit(ledger)


def test_counts_that_agree_take_no_subtransaction_for_each(ledger, orders, given):
    requires(ledger, given, BOTH)
    held = passed(ledger, 4)
    for answer in held:
        for stage in BOTH["stages"]:
            observe(ledger, answer.start, stage, 7, answer.token)
    assert set(complete_all(ledger, tokens_of(held)).values()) == {DONE}
    assert (
        one(
            ledger,
            "select count(distinct xmin::text) from record_ledger.record where status = 'COMPLETED'",
        )
        == 1
    )


# ---------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ("tokens", "details", "windows", "message"),
    [
        (None, None, None, "claim_tokens: null is not a list of tokens"),
        ([1, None, 2], None, None, "claim_tokens: entry 2 is null"),
        ([4, 7, 5, 7], None, None, "claim_tokens: entry 2 is 7, which is given more than once"),
        (list(range(10_001)), None, None, "claim_tokens: 10001 tokens are too many"),
        ([1, 2], [{}], None, "details: it has 1 entries, but claim_tokens has 2"),
        ([1], [], None, "details: it has 0 entries, but claim_tokens has 1"),
        ([1], None, [None, None], "window_start_times: it has 2 entries, but claim_tokens has 1"),
        ([1, 2], [{}, {"text": "x" * 70_000}], None, r"detail: it .* \(that of claim token 2\)"),
    ],
)
def test_an_invalid_list_of_claims_is_one_clear_error(
    ledger, orders, tokens, details, windows, message
):
    (held,) = passed(ledger, 1)
    with refused("RL005", message) as caught:
        complete_all(ledger, tokens, details, windows)
    assert caught.value.diag.message_hint
    assert status(ledger, held) == "IN_PROGRESS"


def test_the_pipeline_must_be_known(ledger, orders):
    with refused("RL002", "order"):
        complete_all(ledger, [1], pipeline_id="order")
    with refused("RL005", "pipeline_id: null"):
        complete_all(ledger, [1], pipeline_id=None)


def test_it_is_refused_in_a_transaction_of_another_isolation(ledger, first, orders):
    (held,) = passed(ledger, 1)
    first.execute("set transaction isolation level serializable")
    with refused("RL005", "serializable"):
        complete_all(first, [held.token])


def test_in_a_retired_pipeline_what_is_in_progress_is_completed(ledger, orders):
    held = passed(ledger, 2)
    on_pipeline(ledger, "retire")
    assert set(complete_all(ledger, tokens_of(held)).values()) == {DONE}


# ---------------------------------------------------------------- two sessions
def answered(background: Background):
    return [outcome for _, outcome, _ in background.rows()]


def test_the_same_tokens_in_another_order_wait_for_each_other_in_one_direction(
    ledger, connect, first, in_background, orders
):
    tokens = tokens_of(passed(ledger, 4))
    # A third session holds the second window: both calls have their first one by then, or wait for it.
    holding = connect(autocommit=False)
    extend(holding, tokens[1])
    calls = [in_background(connect(), CALL, parameters(order)) for order in (tokens, tokens[::-1])]
    for call in calls:
        call.wait_until_blocked()
    holding.commit()
    for call in calls:
        assert answered(call) == ["completed"] * 4
    assert (
        one(ledger, "select count(*) from record_ledger.record_events where event = 'completed'")
        == 4
    )
    audit(ledger)


@pytest.mark.parametrize("ended", [fail, release, complete])
def test_an_ending_that_comes_first_is_waited_for(
    ledger, connect, first, in_background, orders, ended
):
    held = passed(ledger, 3)
    ended(first, held[1].token)
    second = in_background(connect(), CALL, parameters(tokens_of(held)))
    second.wait_until_blocked()
    first.commit()
    middle = "completed" if ended is complete else "lost"
    assert answered(second) == ["completed", middle, "completed"]
    audit(ledger)


def test_a_pass_that_collects_first_leaves_the_others_to_be_completed(
    ledger, clock, connect, first, in_background, orders
):
    dead, alive = passed(ledger, 2)
    clock.advance("20m")
    extend(ledger, alive.token)
    clock.advance("20m")
    assert pass_valid(first, orders, "other").start == dead.start
    second = in_background(connect(), CALL, parameters(tokens_of([dead, alive])))
    second.wait_until_blocked()
    first.commit()
    assert answered(second) == ["lost", "completed"]
    audit(ledger)


def test_a_pass_that_would_collect_the_leases_finds_them_completed(
    ledger, clock, connect, first, in_background, orders
):
    held = passed(ledger, 3)
    clock.advance("45m")
    complete_all(first, tokens_of(held))
    second = in_background(
        connect(), "select record from record_ledger.pass_valid_record('orders', 'other')"
    )
    second.wait_until_blocked()
    first.commit()
    assert second.rows()[0][0]["window_start_time"] == "2026-11-22T03:00:00+00:00"
    audit(ledger)


def test_a_count_that_comes_first_is_seen(ledger, connect, first, in_background, orders, given):
    requires(ledger, given, BOTH)
    (held,) = passed(ledger, 1)
    observe(ledger, held.start, "source", 7, held.token)
    observe(first, held.start, "target", 7, held.token)
    second = in_background(connect(), CALL, parameters([held.token]))
    second.wait_until_blocked()
    first.commit()
    assert answered(second) == ["completed"]


def test_a_config_that_requires_counts_from_now_on_is_not_slipped_by(
    ledger, connect, first, in_background, orders, given
):
    held = passed(ledger, 2)
    requires(first, given, BOTH)
    second = in_background(connect(), CALL, parameters(tokens_of(held)))
    second.wait_until_blocked()
    first.commit()
    assert answered(second) == ["refused", "refused"]


def test_a_record_may_be_passed_while_others_are_being_completed(ledger, first, orders):
    held = passed(ledger, 2)
    complete_all(first, tokens_of(held))
    assert pass_valid(ledger, orders, "beside").start == held[1].start + timedelta(hours=1)
    first.commit()
    audit(ledger)
