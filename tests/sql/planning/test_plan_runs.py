"""plan_runs: what it says of each run, when it says nothing, what it refuses, and how little it reads."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.sql.support import (
    PIPELINE,
    archive,
    complete,
    cycle,
    extend,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    store,
    writes_nothing,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def given(config):
    return config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", lease="2h", retry_delay="10m",
        start_at=START.isoformat(), fields={"key_x": "x"},
    )  # fmt: skip


@pytest.fixture
def scene(ledger, clock, given):
    """Three stable windows, stored and never passed."""
    clock.set(START + 3 * HOUR)
    register(ledger, given)
    store(ledger, PIPELINE)


def plan(connection, columns, runs=3, **options):
    """Those columns of a plan of the pipeline."""
    named = "".join(f", {name} => %({name})s" for name in options)
    return rows(
        connection,
        f"select {columns} from record_ledger.plan_runs('{PIPELINE}', %(runs)s{named})",
        {"runs": runs, **options},
    )


def test_a_plan_says_which_window_when_and_since_when_it_could_be(ledger, clock, scene):
    found = plan(
        ledger,
        "run_no, window_start_time, window_end_time, target_day, time_interval, is_stored, stable_at, is_backlog, "
        "starts_at, ends_at, generation, attempt, drains_backlog",
        runs=5,
        run_duration="20m",
    )
    day = START.date()
    at = [START + number * HOUR for number in range(6)]
    passed = [at[3], at[3] + 20 * MINUTE, at[3] + 40 * MINUTE, at[4], at[5]]
    assert found == [
        (
            n + 1, at[n], at[n + 1], day, "1h", n < 3, at[n + 1], n < 3,
            passed[n], passed[n] + 20 * MINUTE, 1, 1, n == 3,
        )
        for n in range(5)
    ]  # fmt: skip


def test_a_backlog_is_drained_when_nothing_became_stable_meanwhile(ledger, clock, scene):
    def drained(**options):
        return [run for run, last in plan(ledger, "run_no, drains_backlog", 20, **options) if last]

    assert drained(run_duration="19m") == [3]
    # The third run ends as the fourth window becomes stable.
    assert drained(run_duration="20m") == [4]
    assert drained(run_duration="50m") == [13]
    assert drained(run_duration="1h") == []
    assert drained(run_duration="50m", workers=2) == [4]
    assert drained(run_duration="0s") == [3]


REASONS = {
    "immediately": "starts immediately",
    "worker": "starts when run 1 ends",
    "time": "starts when its data is stable",
    "backoff": "starts when its backoff is over",
    "capacity": "starts when a record in progress is done (max_active_records)",
    "past": "starts when the windows before it are done (depends_on_past)",
}


def reasons(connection, runs=3, run_duration="15m", **options):
    return [
        reason
        for (reason,) in plan(connection, "reason", runs, run_duration=run_duration, **options)
    ]


def test_a_reason_says_what_a_run_waits_for(ledger, clock, given, scene):
    assert reasons(ledger, 4) == [
        REASONS["immediately"], REASONS["worker"], "starts when run 2 ends", REASONS["time"]
    ]  # fmt: skip
    assert reasons(ledger, workers=2) == [REASONS["immediately"]] * 2 + [REASONS["worker"]]
    failed, held = (pass_valid(ledger, PIPELINE) for _ in range(2))
    fail(ledger, failed.token)
    again = "; attempt 2 of 3"
    assert reasons(ledger) == [REASONS["immediately"], REASONS["worker"] + again, REASONS["time"]]
    register(ledger, given | {"max_active_records": 1})
    assert reasons(ledger) == [REASONS["capacity"] + again, REASONS["worker"], REASONS["time"]]
    register(ledger, given | {"depends_on_past": True})
    assert reasons(ledger)[:2] == [REASONS["backoff"] + again, REASONS["worker"]]
    complete(ledger, held.token)
    assert reasons(ledger)[:2] == [REASONS["backoff"] + again, REASONS["worker"]]


def test_a_claim_in_progress_holds_up_what_depends_on_it(ledger, clock, given, scene):
    register(ledger, given | {"depends_on_past": True})
    pass_valid(ledger, PIPELINE)
    found = plan(ledger, "window_start_time, starts_at, reason", 1, run_duration="25m")
    assert found == [(START + HOUR, clock.now() + 25 * MINUTE, REASONS["past"])]


def test_a_claim_that_is_lost_comes_back_after_its_backoff(ledger, clock, scene):
    pass_valid(ledger, PIPELINE)
    clock.advance("2h")
    found = plan(ledger, "window_start_time, attempt, starts_at, reason", 20, run_duration="1m")
    (again,) = [row for row in found if row[0] == START]
    assert again[1] == 2
    assert again[2] == START + 5 * HOUR + 10 * MINUTE
    assert again[3] == (
        REASONS["backoff"] + "; attempt 2 of 3, after the lease of the one before has run out"
    )


def test_a_claim_whose_lease_runs_completes_at_the_latest_with_its_lease(
    ledger, clock, given, scene
):
    register(ledger, given | {"max_active_records": 1})
    pass_valid(ledger, PIPELINE)
    clock.advance("26m")
    columns = "window_start_time, starts_at, reason"
    due = [START + HOUR, START + 3 * HOUR + 27 * MINUTE, REASONS["capacity"]]
    assert plan(ledger, columns, 1, run_duration="27m") == [tuple(due)]
    # Overdue, or never measured.
    due[1] = START + 5 * HOUR
    assert plan(ledger, columns, 1, run_duration="26m") == [tuple(due)]
    assert plan(ledger, "window_start_time, starts_at", 1) == [tuple(due[:2])]
    assert START not in [start for (start,) in plan(ledger, "window_start_time", 20)]


def test_a_share_is_named_by_the_run_that_it_decides(ledger, clock, given, scene):
    register(ledger, given | {"backfill_share": 0.5})
    complete(ledger, pass_valid(ledger, PIPELINE).token)
    operate(ledger, "reopen", START, START + HOUR)
    found = plan(ledger, "window_start_time, generation, reason", 3, run_duration="1m")
    assert [row[:2] for row in found] == [(START + HOUR, 1), (START, 2), (START + 2 * HOUR, 1)]
    assert [row[2].partition("; ")[2] for row in found] == [
        "the backfill_share gives the pass to a live record",
        "the backfill_share gives the pass to a historical record",
        "",
    ]


@pytest.mark.parametrize(("verb", "done"), [("pause", "paused"), ("retire", "retired")])
def test_a_paused_or_retired_pipeline_has_no_runs_and_says_who_and_why(
    ledger, clock, scene, verb, done
):
    who = one(ledger, "select session_user")
    on_pipeline(ledger, verb, "the shop is closed")
    says = f"the pipeline was {done} by {who} at 2026-11-22T03:00:00+00:00: the shop is closed"
    assert plan(ledger, "run_no, window_start_time, starts_at, drains_backlog, reason") == [
        (None, None, None, None, f"no run is passed a record: {says}")
    ]


def test_a_plan_that_cannot_go_on_says_why(ledger, clock, given, scene):
    register(ledger, given | {"depends_on_past": True})
    complete(ledger, pass_valid(ledger, PIPELINE).token)
    fail(ledger, pass_valid(ledger, PIPELINE).token, retry=False)
    blocked = "no later run is passed a record: all wait for window 2026-11-22T01:00:00+00:00, which no run will finish (depends_on_past)"
    assert plan(ledger, "run_no, reason") == [(None, blocked)]
    given["default_record"]["key_y"] = ""
    register(ledger, given | {"check_fields": ["key_x", "key_y"]})
    nothing = (
        None,
        "no later run is passed a record: key_y is empty in the pipeline's config, so every later record is incomplete",
    )
    assert plan(ledger, "run_no, reason") == [nothing]
    operate(ledger, "reopen", START, START + 3 * HOUR)
    assert plan(ledger, "run_no, reason") == [nothing]


# ---------------------------------------------------------------- how long a run takes
def test_a_run_takes_the_median_of_those_that_completed(ledger, clock, given, scene):
    unknown = "; no completed run to measure: 0 s is assumed"
    assert plan(ledger, "reason, ends_at - starts_at", 1) == [
        (REASONS["immediately"] + unknown, timedelta(0))
    ]
    for minutes in (50, 10, 30):
        passed = pass_valid(ledger, PIPELINE, f"run {minutes}")
        if minutes == 30:
            # The clock that counts is that of the claim which completes.
            clock.advance("15m")
            passed = pass_valid(ledger, PIPELINE, f"run {minutes}")
        clock.advance(f"{minutes}m")
        complete(ledger, passed.token)
    store(ledger, PIPELINE)
    fail(ledger, pass_valid(ledger, PIPELINE).token)
    assert plan(ledger, "ends_at - starts_at", 1) == [(30 * MINUTE,)]
    assert archive(ledger, START + 2 * HOUR) == 2
    assert plan(ledger, "ends_at - starts_at", 1) == [(30 * MINUTE,)]
    assert plan(ledger, "ends_at - starts_at", 1, run_duration="1 day") == [(24 * HOUR,)]


def test_only_the_newest_hundred_completed_passes_count(ledger, clock, given):
    clock.set(START + 300 * MINUTE)
    register(ledger, given | {"granularity": "1m"})
    store(ledger, PIPELINE)
    for number in range(110):
        passed = pass_valid(ledger, PIPELINE)
        clock.advance("1m" if number < 60 else "5s")
        complete(ledger, passed.token)
    assert one(ledger, "select record_ledger.expected_duration('orders')") == timedelta(
        seconds=32.5
    )


def test_days_of_a_duration_have_24_hours_in_every_zone_of_the_session(connect, clock, given):
    session = connect(timezone="America/Los_Angeles")
    clock.set("2026-10-31T20:00:00Z")
    register(session, given | {"start_at": "2026-10-31T00:00:00Z"})
    found = plan(session, "ends_at - starts_at", 1, run_duration="1 day")
    assert found == [(24 * HOUR,)]


# ---------------------------------------------------------------- from another instant
def test_a_plan_from_another_instant_takes_the_ledger_as_it_is_now(ledger, clock, scene):
    columns = "window_start_time, starts_at, is_backlog"
    later = plan(ledger, columns, 4, at=START + 10 * HOUR, run_duration="0s")
    assert later == [(START + n * HOUR, START + 10 * HOUR, True) for n in range(4)]
    earlier = plan(ledger, columns, 2, at=START - HOUR, run_duration="0s")
    assert earlier == [(START + n * HOUR, START + (n + 1) * HOUR, False) for n in range(2)]
    now = plan(ledger, columns)
    assert plan(ledger, columns, at=None) == now == plan(ledger, columns, at=clock.now())


def test_a_pipeline_without_records_is_planned_from_its_first_window(ledger, clock, given):
    clock.set(START + 30 * MINUTE)
    register(ledger, {key: value for key, value in given.items() if key != "start_at"})
    found = plan(ledger, "window_start_time, is_stored, starts_at", 2, run_duration="0s")
    assert found == [(START, False, START + HOUR), (START + HOUR, False, START + 2 * HOUR)]
    assert [row[0] for row in found] == [START, cycle_window(ledger, clock, given)]


def cycle_window(ledger, clock, given):
    clock.set(START + 2 * HOUR)
    complete(ledger, cycle(ledger, given).token)
    return cycle(ledger, given).start


# ---------------------------------------------------------------- what is refused, what is not written
def test_arguments_that_mean_nothing_are_refused(ledger, scene):
    for arguments, says in {
        "'orders', 0": "runs: 0",
        "'orders', 10001": "runs: 10001",
        "'orders', null": "runs: null",
        "'orders', workers => 0": "workers: 0",
        "'orders', workers => null": "workers: null",
        "'orders', run_duration => '-1s'": "run_duration: -00:00:01",
        "'orders', run_duration => '31 days'": "run_duration: 31 days",
        "'orders', at => 'infinity'": "at: infinity",
        "null": "pipeline_id",
    }.items():
        with refused("RL005", says):
            ledger.execute(f"select * from record_ledger.plan_runs({arguments})")
    with refused("RL002", "order"):
        ledger.execute("select * from record_ledger.plan_runs('order')")


def test_a_plan_writes_nothing_and_needs_no_more_than_a_reader(ledger, connect, scene):
    query = "select * from record_ledger.plan_runs('orders', 50)"
    assert len(writes_nothing(ledger, query)) == 50
    reader = connect(role="reader", autocommit=False)
    reader.read_only = True
    assert len(rows(reader, query)) == 50
    # No cursor stays open, not even within the caller's transaction.
    assert one(reader, "select count(*) from pg_cursors") == 0
    reader.rollback()


def test_a_lease_that_was_shortened_and_ran_out_is_seen(ledger, clock, given, scene):
    held = cycle(ledger, given)
    register(ledger, given | {"lease": "10m"})
    extend(ledger, held.token)
    clock.advance("21m")
    assert plan(ledger, "window_start_time, attempt", runs=1) == [(held.start, 2)]
    assert pass_valid(ledger, PIPELINE).start == held.start


def test_what_five_configs_left_incomplete_comes_oldest_first_when_a_sixth_fills_it(
    ledger, clock, given
):
    def fields(**changed):
        return given | {"default_record": given["default_record"] | changed}

    for version in range(5):
        register(ledger, fields(key_x="", key_y=str(version)) | {"check_fields": ["key_x"]})
        clock.set(START + (2 * version + 2) * HOUR)
        store(ledger, PIPELINE)
    register(ledger, fields(key_y="5") | {"check_fields": ["key_x"]})
    lanes = "select distinct lane from record_ledger.record where lane like 'incomplete%'"
    assert len(rows(ledger, lanes)) == 5
    found = plan(ledger, "window_start_time, is_stored", runs=11)
    assert found == [(START + number * HOUR, number < 10) for number in range(11)]
