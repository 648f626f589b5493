"""Operations in steps: each short and kept, together the same as one call, and runs go on in between."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from tests.sql.statuses import EVERYTHING, STATUSES, hour, one_of_each, statuses
from tests.sql.support import (
    PIPELINE,
    audit,
    backfill,
    complete,
    events,
    on_pipeline,
    one,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    store,
    windows,
)
from tests.sql.windows.test_windows import CHANGES, ZONES
from tests.support.parts import in_parts

ALL_OF_IT = "call record_ledger.range_in_steps(%s, %s, %s, %s, %s, null)"
HOURS = 12


class Step(NamedTuple):
    changed: int
    go_on_from: datetime | None
    next_max: int


def step(connection, operation, from_time="-infinity", to_time="infinity", most=1000, reason="why"):
    query = "select * from record_ledger.range_step(%s, %s, %s, %s, %s, %s)"
    arguments = [operation, PIPELINE, from_time, to_time, reason, most]
    return Step(*connection.execute(query, arguments).fetchone())


def steps(connection, operation, from_time="-infinity", to_time="infinity", most=1000):
    """Does all of them, of one size; returns how many records each has changed."""
    changed = []
    while from_time is not None:
        done = step(connection, operation, from_time, to_time, most)
        changed.append(done.changed)
        from_time = done.go_on_from
    return changed


def in_steps(connection, operation, from_time="-infinity", to_time="infinity", reason="why"):
    arguments = [operation, PIPELINE, from_time, to_time, reason]
    return connection.execute(ALL_OF_IT, arguments).fetchone()[0]


@pytest.fixture
def orders(ledger, clock, config):
    one_of_each(ledger, clock, config)
    return PIPELINE


@pytest.fixture
def hours(ledger, clock, config):
    """A pipeline with twelve pending records of an hour."""
    given: dict[str, Any] = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat()
    )
    clock.set(hour(HOURS))
    register(ledger, given)
    assert store(ledger, PIPELINE) == HOURS
    return given


def histories(ledger):
    """All that is kept of every record, but for when it was."""
    return rows(
        ledger,
        "select window_start_time, event_no, event, from_status, to_status, generation, attempt, claim_token, "
        "run_id, actor, detail from record_ledger.record_events order by 1, 2",
    ), rows(
        ledger,
        "select window_start_time, status, generation, attempt, claim_token, run_id, retry_at "
        "from record_ledger.pipeline_records order by 1",
    )


# ---------------------------------------------------------------- what a step does
@pytest.mark.parametrize("operation", ["waive", "reopen", "expire", "cancel"])
def test_steps_come_to_what_one_call_does(ledger, orders, operation):
    with ledger.transaction(force_rollback=True):
        expected = operate(ledger, operation, *EVERYTHING)
        whole = histories(ledger)
    for size in (1, 2, 100):
        with ledger.transaction(force_rollback=True):
            changed = steps(ledger, operation, most=size)
            assert sum(changed) == expected
            assert max(changed) <= size
            assert histories(ledger) == whole
            audit(ledger)


def test_a_step_changes_the_oldest_of_the_range_and_says_where_the_next_begins(ledger, hours):
    first = step(ledger, "waive", hour(2), hour(9.5), most=3)
    assert (first.changed, first.go_on_from) == (3, hour(5))
    assert statuses(ledger) == ["PENDING"] * 2 + ["WAIVED"] * 3 + ["PENDING"] * 7
    second = step(ledger, "waive", first.go_on_from, hour(9.5), most=3)
    assert (second.changed, second.go_on_from) == (3, hour(8))
    # Half of a window does not lie in the range.
    assert step(ledger, "waive", second.go_on_from, hour(9.5), most=3)[:2] == (1, None)
    assert statuses(ledger) == ["PENDING"] * 2 + ["WAIVED"] * 7 + ["PENDING"] * 3
    audit(ledger)


def test_a_step_that_is_called_again_changes_what_is_left(ledger, hours):
    assert step(ledger, "waive", most=5).changed == 5
    assert step(ledger, "waive", most=5)[:2] == (5, hour(10))
    assert step(ledger, "waive", most=5)[:2] == (2, None)
    before = snapshot(ledger)
    assert step(ledger, "waive", most=5)[:2] == (0, None)
    assert snapshot(ledger) == before


def test_the_next_step_is_no_more_than_twice_as_large_and_never_tiny(ledger, hours):
    assert step(ledger, "waive", hour(0), hour(2), most=1).next_max == 2
    # What changed few says nothing about time.
    assert step(ledger, "waive", hour(2), hour(4), most=700).next_max == 700
    # However long it takes.
    ledger.execute(
        "create function public.dawdle() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(0.05); return new; end $$"
    )
    ledger.execute(
        "create trigger dawdle before update on record_ledger.record "
        "for each row execute function public.dawdle()"
    )
    assert step(ledger, "waive", hour(4), hour(7), most=4).next_max == 8
    assert step(ledger, "waive", hour(7), hour(9), most=3).next_max == 6


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"operation": "archive"}, 'operation: "archive" is not one of waive, reopen'),
        ({"operation": None}, "operation: null is not one of"),
        ({"most": 0}, "max_records: 0 is not a number of records"),
        ({"most": None}, "max_records: null is not a number of records"),
        ({"from_time": None}, "from_time: null"),
        ({"to_time": None}, "to_time: null"),
        (
            {"from_time": "infinity"},
            r"the range is empty: to_time \(infinity\) must be later than from_time \(infinity\)",
        ),
        ({"reason": " "}, "reason: must not be blank"),
        ({"operation": "backfill", "from_time": "1900-01-01"}, "from_time: 1900-01-01"),
    ],
)
def test_a_wrong_argument_is_named(ledger, hours, arguments, problem):
    before = snapshot(ledger)
    with refused("RL005", problem):
        step(ledger, **{"operation": "waive", **arguments})
    assert snapshot(ledger) == before


def test_a_step_of_an_unknown_pipeline_is_an_error(ledger, hours):
    with refused("RL002", "nope"):
        ledger.execute(
            "select record_ledger.range_step('waive', 'nope', '-infinity', 'infinity', 'w')"
        )


# ---------------------------------------------------------------- the work of a step
def pages(connection, statement, arguments):
    plan = one(
        connection, f"explain (analyze, buffers, timing off, format json) {statement}", arguments
    )
    return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]


def test_a_step_walks_over_nothing_that_earlier_ones_changed(ledger, connect, clock, config):
    """Also while a snapshot that is held keeps every old version of these records."""
    clock.set(hour(50))
    register(
        ledger,
        config(
            PIPELINE,
            timezone="UTC",
            x_time_back="0s",
            granularity="1m",
            start_at=hour(0).isoformat(),
        ),
    )
    assert store(ledger, PIPELINE) == 3000
    held = connect(autocommit=False)
    held.execute("set transaction isolation level repeatable read")
    held.execute("select from record_ledger.pipeline")
    query = "select * from record_ledger.range_step(%s, %s, %s, 'infinity', 'why', 50)"
    for operation in ("waive", "reopen"):
        early = pages(ledger, query, [operation, PIPELINE, hour(0)])
        assert step(ledger, operation, hour(0), "infinity", 2800).go_on_from == hour(47.5)
        late = pages(ledger, query, [operation, PIPELINE, hour(47.5)])
        assert late <= 1.2 * early + 50, (operation, early, late)
    held.rollback()
    audit(ledger)


def test_a_step_that_finds_nothing_to_change_ends_all_the_same(ledger, clock, config):
    clock.set(hour(4))
    register(ledger, config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1s", start_at=hour(0).isoformat()))  # fmt: skip
    assert store(ledger, PIPELINE) == 10_000
    assert store(ledger, PIPELINE) == 4_400
    # None of them was finished. It walks over 10,000 and goes on from there.
    first = step(ledger, "reopen")
    assert first[:2] == (0, hour(0) + timedelta(seconds=10_000))
    assert step(ledger, "reopen", first.go_on_from)[:2] == (0, None)


# ---------------------------------------------------------------- runs in between
def test_a_pass_between_two_steps_gets_the_oldest_that_was_reopened(ledger, hours):
    operate(ledger, "waive", *EVERYTHING)
    assert step(ledger, "reopen", most=4).go_on_from == hour(4)
    first = pass_valid(ledger, PIPELINE, "first")
    assert first.start == hour(0)
    complete(ledger, first.token)
    assert sum(steps(ledger, "reopen", hour(4), most=4)) == HOURS - 4
    # What was done meanwhile stays done: it lies before where the steps went on.
    assert statuses(ledger) == ["COMPLETED"] + ["PENDING"] * (HOURS - 1)
    assert pass_valid(ledger, PIPELINE, "second").start == hour(1)
    audit(ledger)


def test_with_depends_on_past_no_record_overtakes_an_older_one_that_is_to_be_reopened(
    ledger, hours
):
    register(ledger, hours | {"depends_on_past": True})
    operate(ledger, "waive", *EVERYTHING)
    from_time, passed = "-infinity", []
    while from_time is not None:
        from_time = step(ledger, "reopen", from_time, most=3).go_on_from
        answer = pass_valid(ledger, PIPELINE, f"run {len(passed)}")
        passed.append(answer.start)
        complete(ledger, answer.token)
    assert passed == [hour(n) for n in range(HOURS // 3)]
    audit(ledger)


def test_a_record_that_a_run_got_between_two_steps_is_left_to_it(ledger, hours):
    assert step(ledger, "waive", most=4).go_on_from == hour(4)
    held = pass_valid(ledger, PIPELINE, "run")
    assert held.start == hour(4)
    assert sum(steps(ledger, "waive", hour(4), most=4)) == HOURS - 5
    complete(ledger, held.token)
    assert statuses(ledger) == ["WAIVED"] * 4 + ["COMPLETED"] + ["WAIVED"] * 7
    audit(ledger)


def test_a_pass_waits_for_one_step_and_not_for_the_next(ledger, hours, connect, in_background):
    first = connect(autocommit=False)
    assert step(first, "waive", most=4).changed == 4
    waiting = connect()
    second = in_background(waiting, lambda: pass_valid(waiting, PIPELINE, "run"))
    second.wait_until_blocked()
    first.commit()
    assert second.result().start == hour(4)
    audit(ledger)


def test_archiving_between_two_steps_takes_nothing_from_the_next(ledger, hours, clock):
    assert step(ledger, "waive", most=4).go_on_from == hour(4)
    assert one(ledger, "select record_ledger.archive_records(%s, %s)", [PIPELINE, hour(4)]) == 4
    assert sum(steps(ledger, "waive", hour(4), most=4)) == HOURS - 4
    assert statuses(ledger) == ["WAIVED"] * (HOURS - 4)
    audit(ledger)


# ---------------------------------------------------------------- backfilling in steps
@in_parts(2)
@settings(max_examples=8)
@drawn(data=st.data())
def test_a_history_added_in_steps_is_the_one_that_one_call_adds(ledger, clock, config, part, data):
    zone = data.draw(st.sampled_from(ZONES), label="zone")
    around = datetime.fromisoformat(data.draw(st.sampled_from(CHANGES), label="change") + "+00:00")
    granularity = data.draw(st.sampled_from(["10m", "1h", "2h30m", "7h", "1d"]), label="length")
    before = data.draw(st.integers(1, 72 * 60), label="minutes before")
    start = around + timedelta(minutes=data.draw(st.integers(0, 3000), label="minutes after"))
    from_time = around - timedelta(minutes=before)
    most = data.draw(st.integers(1, 60), label="records per step")
    with ledger.transaction(force_rollback=True):
        clock.set(start + timedelta(days=2))
        register(
            ledger,
            config(PIPELINE, timezone=zone, x_time_back="0s", granularity=granularity, start_at=start.isoformat()),
        )  # fmt: skip
        store(ledger, PIPELINE)
        with ledger.transaction(force_rollback=True):
            expected = backfill(ledger, from_time)
            whole = windows(ledger)
        added = steps(ledger, "backfill", from_time, None, most)
        assert sum(added) == expected
        assert max(added) <= most
        assert windows(ledger) == whole
        audit(ledger)


def test_a_day_of_more_windows_than_a_step_takes_is_added_in_parts(ledger, hours):
    register(ledger, hours | {"granularity": "1m"})
    # From noon of the day before on: its morning belongs to the day as well.
    first = step(ledger, "backfill", hour(-12), None, most=1000, reason=None)
    assert (first.changed, first.go_on_from) == (1000, hour(-24))
    assert windows(ledger)[0] == (hour(0) - timedelta(minutes=1000), hour(0) - timedelta(minutes=999))  # fmt: skip
    audit(ledger)
    second = step(ledger, "backfill", first.go_on_from, None, most=1000, reason=None)
    assert second[:2] == (440, None)
    assert windows(ledger)[0][0] == hour(-24)
    audit(ledger)
    assert step(ledger, "backfill", hour(-12), None, reason=None)[:2] == (0, None)


def test_steps_of_a_backfill_grow_though_only_whole_days_fit_into_them(ledger, hours):
    added = step(ledger, "backfill", hour(-240), None, most=50)
    assert (added.changed, added.next_max) == (24, 100)


def test_each_step_of_a_backfill_is_an_event_with_its_reason(ledger, hours):
    assert steps(ledger, "backfill", hour(-72), None, most=30) == [24, 24, 24]
    found = rows(
        ledger,
        "select detail from record_ledger.pipeline_events where event = 'backfilled' order by event_no",
    )
    assert [detail for (detail,) in found] == [
        {
            "from_time": hour(-24 * (n + 1)).isoformat(),
            "to_time": hour(-24 * n).isoformat(),
            "record_count": 24,
            "reason": "why",
        }
        for n in range(3)
    ]


def test_a_step_adds_nothing_to_a_pipeline_that_cannot_be_backfilled(ledger, hours):
    on_pipeline(ledger, "retire")
    with refused("RL005", "is retired"):
        step(ledger, "backfill", hour(-24), None)


# ---------------------------------------------------------------- all steps in one call
@pytest.mark.parametrize("operation", ["waive", "reopen", "expire", "cancel"])
def test_the_procedure_does_all_steps(ledger, orders, operation):
    with ledger.transaction(force_rollback=True):
        expected = operate(ledger, operation, *EVERYTHING)
        whole = histories(ledger)
    assert in_steps(ledger, operation) == expected
    assert histories(ledger) == whole
    assert in_steps(ledger, operation) == 0
    audit(ledger)


def test_the_procedure_backfills_as_well(ledger, hours):
    assert in_steps(ledger, "backfill", hour(-10_000), None, None) == 10_008
    assert len(windows(ledger)) == HOURS + 10_008
    audit(ledger)


def test_what_stops_the_procedure_leaves_whole_steps_and_a_second_call_does_the_rest(ledger, hours):
    operate(ledger, "waive", *EVERYTHING)
    in_steps(ledger, "backfill", hour(-2000), None)
    ledger.execute(
        "create function public.stop() returns trigger language plpgsql as "
        "$$ begin raise exception 'killed'; end $$"
    )
    ledger.execute(
        f"create trigger stop before update on record_ledger.record for each row "
        f"when (old.window_start_time = '{hour(-1)}') execute function public.stop()"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="killed"):
        in_steps(ledger, "waive", reason="no need")
    kept = statuses(ledger).count("WAIVED") - HOURS
    assert kept >= 1000
    assert kept < 2000
    audit(ledger)

    ledger.execute("drop trigger stop on record_ledger.record")
    assert in_steps(ledger, "waive", reason="no need") == 2016 - kept
    assert set(statuses(ledger)) == {"WAIVED"}
    assert events(ledger, hour(-1)) == ["waived"]
    reasons = "select distinct detail ->> 'reason' from record_ledger.record_events where window_start_time < %s"
    assert rows(ledger, reasons, [hour(0)]) == [("no need",)]
    audit(ledger)


def test_the_procedure_cannot_be_part_of_a_larger_transaction(ledger, orders, connect):
    inside = connect(autocommit=False)
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        in_steps(inside, "waive")
    inside.rollback()
    assert statuses(ledger) == STATUSES


@pytest.mark.slow
def test_the_procedure_reports_how_far_it_is(ledger, hours):
    """A notice every ten seconds: a record that takes eleven makes it due."""
    in_steps(ledger, "backfill", hour(-2000), None)
    ledger.execute(
        "create function public.dawdle() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(11); return new; end $$"
    )
    ledger.execute(
        f"create trigger dawdle before update on record_ledger.record for each row "
        f"when (old.window_start_time = '{hour(-2000)}') execute function public.dawdle()"
    )
    notices = []
    ledger.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    assert in_steps(ledger, "waive") == 2016 + HOURS
    assert notices == ["1000 records changed so far"]
