"""What a runner may send through SQL: each value is one clear error, or one that all can read.

A value that is stored, and that a client cannot read or that fills each sentence, would break the
overview of all pipelines. `test_bounds` has the sizes of texts.
"""

from __future__ import annotations

import json
import time

import psycopg
import pytest

from tests.sql.support import NOW, PIPELINE, cycle, one, register, rows
from tests.support.clock import Clock
from tests.support.configs import make_config
from tests.support.databases import open_connection

MEGABYTE = "x" * 1_000_000
FAR = "294276-12-30"
# Generous: the machine may be doing other things. What these bounds prevent takes ten times as long.
SECONDS = 3.0

# All calls that name a pipeline: {x} is a text of a megabyte.
OF_A_PIPELINE = (
    "select record_ledger.pass_valid_record(%s, 'r')",
    "call record_ledger.store_new_records(%s, '[]', null)",
    "select record_ledger.complete_record(%s, 1)",
    "select record_ledger.fail_record(%s, 1, 'x')",
    "select record_ledger.release_record(%s, 1)",
    "select record_ledger.extend_lease(%s, 1)",
    "select record_ledger.claim_state(%s, 1)",
    "select record_ledger.observe_record(%s, '2026-11-22', 'source', 1)",
    "select record_ledger.adopt_observations(%s, 1)",
    "select record_ledger.waive_counts(%s, '2026-11-22', 'w')",
    "select record_ledger.waive_records(%s, '2026-11-22', 'infinity', 'w')",
    "select record_ledger.reopen_records(%s, '2026-11-22', 'infinity', 'w')",
    "select record_ledger.reopen_changed_records(%s)",
    "select record_ledger.recount_due(%s)",
    "select record_ledger.suggest_x_time_back(%s)",
    "select record_ledger.is_day_sealed(%s, '2026-11-22')",
    "select record_ledger.expire_leases(%s, '2026-11-22', 'infinity', 'w')",
    "select record_ledger.cancel_records(%s, '2026-11-22', 'infinity', 'w')",
    "select record_ledger.backfill_records(%s, '2026-11-21')",
    "select record_ledger.range_step('waive', %s, '2026-11-22', 'infinity', 'w')",
    "select record_ledger.range_step('backfill', %s, '2026-11-21', null, null)",
    "call record_ledger.range_in_steps('waive', %s, '2026-11-22', 'infinity', 'w', null)",
    "select record_ledger.pause_pipeline(%s, 'w')",
    "select record_ledger.resume_pipeline(%s)",
    "select record_ledger.retire_pipeline(%s, 'w')",
    "select record_ledger.set_pipeline_owner(%s, null)",
    "select record_ledger.range_effects('waive', %s, '-infinity', 'infinity')",
    "select record_ledger.pipeline_time(%s, '2026-11-22')",
    "select record_ledger.window_time(%s, '2026-11-22')",
    "select record_ledger.new_windows(%s)",
    "select record_ledger.oldest_pending_record(%s)",
    "select record_ledger.archive_records(%s, '2026-11-22')",
    "select record_ledger.archivable_records(%s, '2026-11-22')",
    "select record_ledger.plan_runs(%s)",
)
# Arguments of a known pipeline that no record, window or plan can have.
ARGUMENTS = {
    "a run id": ("select record_ledger.pass_valid_record('orders', %s)", MEGABYTE),
    "a stage": ("select record_ledger.observe_record('orders', '2026-11-21', %s, 1)", MEGABYTE),
    "a local time": ("select record_ledger.pipeline_time('orders', %s)", MEGABYTE),
    "a window": ("select record_ledger.window_time('orders', %s)", MEGABYTE),
    "a role": ("select record_ledger.set_pipeline_owner('orders', %s)", MEGABYTE),
    "an operation": (
        "select record_ledger.range_effects(%s, 'orders', '-infinity', 'infinity')",
        MEGABYTE,
    ),
    "a share": ("select record_ledger.suggest_x_time_back('orders', %s)", "1e5000"),
    "no share": ("select record_ledger.suggest_x_time_back('orders', %s)", "NaN"),
    "a day": ("select record_ledger.is_day_sealed('orders', %s)", "5874897-12-31"),
    "an early day": ("select record_ledger.is_day_sealed('orders', %s)", "4714-11-24 BC"),
    "runs": ("select record_ledger.plan_runs('orders', %s)", 2147483647),
    "a plan's instant": ("select record_ledger.plan_runs('orders', 3, %s)", "infinity"),
    "a duration": (
        "select record_ledger.plan_runs('orders', run_duration => %s)",
        "178000000 years",
    ),
    "a count": ("select record_ledger.observe_record('orders', '2026-11-21', 'source', %s)", -1),
    "a batch": (
        "select record_ledger.pass_valid_records((select p.config from record_ledger.pipeline as p where p.pipeline_id = 'orders'), 'r', %s)",
        2147483647,
    ),
    "an archive": ("select record_ledger.archive_records('orders', %s)", "infinity"),
    "a backfill": ("select record_ledger.backfill_records('orders', %s)", "4713-12-31 BC"),
}
# Keys of a config that would make each later look at the pipeline slow, or its sentences long.
CONFIGS = {
    "10,000 stages": ({"required_counts": [f"s{n}" for n in range(10_000)]}, "give at most 100"),
    "20,000 nested stages": ({"required_counts": [[["x"]]] * 20_000}, "give at most 100"),
    "15,000 keys of required_counts": (
        {"required_counts": {f"k{n}": n for n in range(15_000)}}, "it has 15000 keys",
    ),
    "40,000 ages": ({"recount_ages": ["1h"] * 40_000}, "give at most 100"),
    "60,000 check_fields": ({"check_fields": [1] * 60_000}, "give at most 1000"),
    "1,001 check_fields": ({"check_fields": ["source_name"] * 1001}, "give at most 1000"),
    "a long duration": ({"x_time_back": "1d" + " " * 200_000}, "is not a valid duration"),
    "a long length": ({"granularity": "1 " * 100_000 + "h"}, "is not a valid duration"),
    "a long tolerance": (
        {"required_counts": {"stages": ["a", "b"], "tolerance": "1%" + " " * 200_000}},
        "is neither a number of rows nor a percentage",
    ),
}  # fmt: skip


def two_at_work(runner):
    """Two pipelines with records in progress."""
    cycle(runner, make_config("neighbour"), "theirs")
    cycle(runner, make_config(PIPELINE), "ours")


@pytest.fixture
def runner(ledger, clock, connect):
    """A user with the runner's role, beside two pipelines with records in progress."""
    clock.set(NOW)
    runner = connect(role="runner")
    two_at_work(runner)
    return runner


@pytest.fixture(scope="module")
def untouched(databases, login_as):
    """The same for calls that are all refused: connections of the owner and of a runner."""
    dsn = databases.clone()
    with open_connection(dsn) as owner:
        Clock(owner).set(NOW)
        with open_connection(login_as(dsn, "runner")) as runner:
            two_at_work(runner)
            yield owner, runner
    databases.drop(dsn)


def all_that_is_shown(connection):
    """What status, why, history and plan read; raises where a driver cannot read a value."""
    views = ("pipeline_progress", "record_verdicts", "pipelines", "pipeline_records", "record_events",
             "oldest_valid_record", "records_at_risk", "daily_coverage", "record_observations",
             "pipeline_events", "changed_records", "pipeline_lateness")  # fmt: skip
    shown = [rows(connection, f"select * from record_ledger.{view}") for view in views]
    assert rows(connection, "select * from record_ledger.plan_runs('neighbour', 3)")
    return shown


def refused(connection, call, arguments):
    """Returns the error of a call that must be refused soon, in a short sentence."""
    started = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(call, arguments)
    assert time.monotonic() - started < SECONDS
    message = caught.value.diag.message_primary or ""
    assert 0 < len(message) < 5000
    return caught.value.sqlstate, message


@pytest.mark.parametrize("call", OF_A_PIPELINE)
def test_a_pipeline_of_a_megabyte_is_one_short_error(untouched, call):
    _, runner = untouched
    state, message = refused(runner, call, [MEGABYTE])

    assert state == "RL002"
    assert message.startswith('unknown pipeline "xxx')


@pytest.mark.parametrize(("call", "value"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_that_nothing_can_have_is_one_short_error(untouched, call, value):
    ledger, _ = untouched
    before = all_that_is_shown(ledger)

    state, _ = refused(ledger, call, [value])

    assert state == "RL005"
    assert all_that_is_shown(ledger) == before


@pytest.mark.parametrize(("changes", "says"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_makes_each_look_slow_is_refused(untouched, config, changes, says):
    _, runner = untouched
    given = json.dumps(config("poison", **changes))
    for call in (
        "select record_ledger.register_pipeline(%s)",
        "select record_ledger.store_new_and_pass_valid_record(%s, 'r')",
    ):
        state, message = refused(runner, call, [given])
        assert state == "RL001"
        assert says in message
        assert "1 problem" not in message
    assert one(runner, "select count(*) from record_ledger.pipelines") == 2


def test_what_is_just_within_the_bounds_is_looked_at_soon(runner, config, clock):
    names = [f"field {n} ".ljust(110, "x") for n in range(1000)]
    given = config(
        "large",
        required_counts=[f"stage {n}".ljust(200, "x") for n in range(100)],
        recount_ages=[f"{n + 1}h" for n in range(100)],
        check_fields=names,
        default_record={"pipeline_id": "large", **dict.fromkeys(names, "a")},
        x_time_back="1d" + " " * 253,
        granularity="1h",
        start_at="2026-11-20",
    )
    given["default_record"][names[0]] = given["default_record"][names[1]] = ""
    started = time.monotonic()
    assert cycle(runner, given, "r").verdict == "INCOMPLETE"
    given["default_record"].update({names[0]: "a", names[1]: "a"})
    for run_id in ("s", "t"):
        assert cycle(runner, given, run_id).verdict == "READY"
    all_that_is_shown(runner)
    assert time.monotonic() - started < 5 * SECONDS


def test_a_thousand_empty_fields_do_not_fill_the_sentences(runner, config):
    names = [f"field {n} ".ljust(110, "x") for n in range(1000)]
    given = config(
        "empty",
        check_fields=names,
        default_record={"pipeline_id": "empty", **dict.fromkeys(names, "")},
    )

    answer = cycle(runner, given, "r")

    assert answer.verdict == "INCOMPLETE"
    assert len(answer.reason) < 1500
    longest = "select max(octet_length(reason)) from record_ledger.record_verdicts"
    assert one(runner, longest) < 1500
    plan = "select max(octet_length(reason)) from record_ledger.plan_runs('empty', 3)"
    assert one(runner, plan) < 1500


@pytest.mark.parametrize(
    "not_before", [FAR, "9999-12-31T23:59:59Z", "9001-01-01T00:00:00Z", "infinity"]
)
def test_a_record_is_not_given_back_until_a_year_that_readers_do_not_have(
    runner, config, not_before
):
    token = one(
        runner,
        "select claim_token from record_ledger.pipeline_records where run_id = 'ours'",
    )
    before = all_that_is_shown(runner)

    state, message = refused(
        runner, "select record_ledger.release_record('orders', %s, %s)", [token, not_before]
    )

    assert state == "RL005"
    assert message.startswith("not_before: ")
    assert all_that_is_shown(runner) == before
    runner.execute(
        "select record_ledger.release_record('orders', %s, '9000-12-31T23:59:59Z')", [token]
    )
    all_that_is_shown(runner)


def test_the_largest_count_is_compared_and_summed(runner, config, clock):
    given = config("counted", required_counts={"stages": ["source", "target"], "tolerance": "100%"})
    largest = 9223372036854775807
    for run_id in ("a", "b"):
        answer = cycle(runner, given, run_id)
        for stage in ("source", "target"):
            runner.execute(
                "select record_ledger.observe_record('counted', %s, %s, %s, '{}', %s)",
                [answer.start, stage, largest, answer.token],
            )
        runner.execute("select record_ledger.complete_record('counted', %s)", [answer.token])
    runner.execute(
        "select record_ledger.observe_record('counted', %s, 'source', 0)", [answer.start]
    )
    clock.advance("8d")

    all_that_is_shown(runner)

    assert rows(runner, "select * from record_ledger.recount_due('counted')")
    counts = one(
        runner,
        "select counts from record_ledger.daily_coverage where pipeline_id = 'counted' limit 1",
    )
    assert counts["source"]["rows"] in (largest, 2 * largest)


def test_built_windows_with_thousands_of_fields_are_one_short_error(runner, config):
    given = config("built", fields={"x": "{{ target_day }}"})
    to_build = cycle(runner, given, "r").to_build
    assert to_build
    built = [{**to_build[0], "fields": {f"k{n}": 1 for n in range(15_000)}}]

    state, message = refused(
        runner,
        "select record_ledger.store_new_and_pass_valid_record(%s, 'r', %s)",
        [json.dumps(given), json.dumps(built)],
    )

    assert state == "RL005"
    assert message.startswith("built: the fields of window")


def test_thousands_of_keys_of_others_are_ignored_soon(runner, config):
    keys = {f"x_time_bac{n}": "" for n in range(8000)}
    started = time.monotonic()

    register(runner, {**config("verbose"), **keys})
    cycle(runner, {**config("verbose"), **keys}, "r")

    assert time.monotonic() - started < SECONDS
