"""A record is passed with the fields of the config in force: an outdated one is built by its pass, and nothing else is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.cost.test_plans import pages
from tests.sql.statuses import EVERYTHING, START, hour
from tests.sql.support import (
    PIPELINE,
    Answer,
    audit,
    backfill,
    built,
    complete,
    cycle,
    entry,
    events,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    register,
    release,
    rows,
    store,
    verdict_of,
    writes_nothing,
)

XMIN = "select window_start_time, xmin::text, ctid::text from record_ledger.record order by 1"


@pytest.fixture
def templated(static):
    def make(path="{{ window_start_time }}.csv", **changes):
        return static({"path": path}, **changes)

    return make


def through(ledger, config, run_id=None, path=lambda start: f"{start:%H}"):
    """The whole cycle of a run, as the runner makes it."""
    answer, calls = cycle(ledger, config, run_id), 1
    while answer.to_build:
        assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", None)
        sent = [
            entry(w, {"path": path(datetime.fromisoformat(w["window_start_time"]))})
            for w in answer.to_build
        ]
        answer, calls = cycle(ledger, config, run_id, sent), calls + 1
        assert calls < 10
    return answer


def starts(to_build):
    return [datetime.fromisoformat(w["window_start_time"]) for w in to_build]


def batch(ledger, config, run_id, limit, sent=()):
    ((exit_dag, verdict, reason, records, to_build),) = rows(
        ledger,
        "select * from record_ledger.pass_valid_records(%s, %s, %s, %s)",
        [Jsonb(config), run_id, limit, Jsonb(list(sent))],
    )
    return Answer(exit_dag, verdict, reason, records, to_build)


# ---------------------------------------------------------------- without templates
def test_registering_other_fields_touches_no_record(ledger, static, clock):
    register(ledger, static({"key_x": "x"}))
    clock.set(hour(200))
    store(ledger, PIPELINE)
    before = rows(ledger, XMIN)
    for n in range(4):
        register(
            ledger,
            static({"key_x": "x", "key_y": str(n)}, check_fields=["key_x", "key_y"][: n % 3]),
        )
    assert rows(ledger, XMIN) == before
    assert one(ledger, "select bool_and(is_outdated) from record_ledger.pipeline_records") is True


def test_a_pass_builds_what_is_outdated_and_tells_what_was_there(ledger, static):
    cycle(ledger, static({"a": 1, "b": 2, "c": {"d": None}}), "a")
    changed = static({"a": 1, "b": 3, "e": []})
    answer = cycle(ledger, changed, "b")
    assert (answer.start, answer.record["b"], answer.record["e"]) == (hour(1), 3, [])
    assert "c" not in answer.record
    assert events(ledger, hour(1)) == ["rebuilt", "passed"]
    assert rows(
        ledger, "select from_status, to_status, detail from record_ledger.record_events where event = 'rebuilt'"
    ) == [
        ("PENDING", "PENDING", {"config_version": 2, "config_version_before": 1, "fields_before":
                                {"b": 2, "c": {"d": None}}, "fields_added": ["e"]})
    ]  # fmt: skip
    found = record_of(ledger, hour(1))
    assert (found["config_version"], found["is_outdated"]) == (2, False)
    # What is in progress, and what waits, is as it was.
    assert record_of(ledger, hour(0))["fields"] == {"a": 1, "b": 2, "c": {"d": None}}
    assert events(ledger, hour(2)) == []
    audit(ledger)


def test_where_no_field_differs_there_is_no_event(ledger, static):
    cycle(ledger, static({"a": 1, "b": None}, check_fields=["b"]))
    answer = cycle(ledger, static({"a": 1, "b": None}))
    assert answer.start == hour(0)
    assert events(ledger, hour(0)) == ["passed"]
    assert record_of(ledger, hour(0))["config_version"] == 2
    assert one(ledger, "select detail from record_ledger.record_events") == {
        "config_version_before": 1
    }
    # Of numbers that are equal none differs.
    cycle(ledger, static({"a": 1, "b": None}, check_fields=["a"]))
    assert events(ledger, hour(1)) == ["passed"]


def test_a_record_that_waits_goes_on_waiting_where_it_is(ledger, static):
    register(ledger, static({"a": 1}))
    store(ledger, PIPELINE)
    register(ledger, static({"a": 2}))
    window = {
        "window_start_time": hour(1).isoformat(),
        "window_end_time": hour(2).isoformat(),
        "config_version": 2,
    }
    ledger.execute("vacuum record_ledger.record")
    hot = "select n_tup_hot_upd, n_tup_upd from pg_stat_xact_user_tables where relname = 'record'"
    with ledger.transaction():
        store(ledger, PIPELINE, [entry(window, {"a": 2})])
        assert rows(ledger, hot) == [(1, 1)]
    assert rows(ledger, "select lane from record_ledger.record") == [("waiting",)] * 3
    assert events(ledger, hour(1)) == ["rebuilt"]
    # Its pass finds it as it should be.
    assert pass_valid(ledger, PIPELINE).start == hour(0)
    assert (pass_valid(ledger, PIPELINE).start, events(ledger, hour(1))) == (
        hour(1),
        ["rebuilt", "passed"],
    )
    audit(ledger)


def test_a_claim_passed_again_a_heartbeat_and_what_has_ended_are_left_alone(ledger, static):
    tokens = [cycle(ledger, static({"a": 1}), run).token for run in ("held", "failed", "done")]
    fail(ledger, tokens[1], retry=False)
    complete(ledger, tokens[2])
    changed = static({"a": 2})
    register(ledger, changed)
    held = cycle(ledger, changed, "held")
    assert (held.start, held.record["a"]) == (hour(0), 1)
    assert pass_valid(ledger, PIPELINE, "held").record["a"] == 1
    ledger.execute(
        "select record_ledger.extend_lease('orders', claim_token) from record_ledger.pipeline_records where run_id = 'held'"
    )
    assert cycle(ledger, changed, "failed").verdict == "FAILED"
    assert cycle(ledger, changed, "done").verdict == "ALREADY_DONE"
    assert rows(
        ledger, "select distinct fields, is_outdated from record_ledger.pipeline_records"
    ) == [({"a": 1}, True)]
    # Reopened or given back they are passed with what is in force.
    operate(ledger, "reopen", hour(1), hour(3))
    for run, n in (("failed", 1), ("done", 2)):
        answer = cycle(ledger, changed, run)
        assert (answer.start, answer.record["a"]) == (hour(n), 2)
    release(ledger, pass_valid(ledger, PIPELINE, "held").token)
    assert pass_valid(ledger, PIPELINE, "held").record["a"] == 2
    audit(ledger)


def test_whether_outdated_records_are_complete_is_one_answer(ledger, static, clock):
    first = cycle(ledger, static({"a": "x", "b": ""}), "a")
    lacking = static({"a": "x", "b": ""}, check_fields=["b"])
    register(ledger, lacking)
    assert [verdict_of(ledger, hour(n))[0] for n in range(3)] == [
        "LEASED",
        "INCOMPLETE",
        "INCOMPLETE",
    ]
    assert rows(
        ledger, "select pending_count, incomplete_count from record_ledger.pipeline_progress"
    ) == [(2, 2)]
    assert rows(ledger, "select 1 from record_ledger.oldest_valid_record") == []
    answer = cycle(ledger, lacking, "b")
    assert (
        answer.verdict,
        "b is empty, and the pipeline's config cannot fill it" in answer.reason,
    ) == ("INCOMPLETE", True)
    writes_nothing(
        ledger, "select record_ledger.store_new_and_pass_valid_record(%s, 'b')", [Jsonb(lacking)]
    )
    # However the claim ends, the record is incomplete by the config in force.
    fail(ledger, first.token)
    assert verdict_of(ledger, hour(0))[0] == "INCOMPLETE"
    filled = static({"a": "x", "b": "y"}, check_fields=["b"])
    register(ledger, filled)
    assert [verdict_of(ledger, hour(n))[0] for n in range(3)] == ["BACKOFF", "READY", "READY"]
    assert rows(
        ledger, "select window_start_time, is_outdated from record_ledger.oldest_valid_record"
    ) == [(hour(1), True)]
    assert cycle(ledger, filled, "b").start == hour(1)
    audit(ledger)


def test_records_stored_incomplete_are_passed_by_a_config_that_fills_them(ledger, static, clock):
    lacking = static({"a": ""}, check_fields=["a"])
    cycle(ledger, lacking)
    backfill(ledger, START - timedelta(days=1))
    filled = static({"a": "x"}, check_fields=["a"])
    passed = [cycle(ledger, filled) for _ in range(27)]
    assert [p.start for p in passed] == [hour(n) for n in range(-24, 3)]
    assert {p.record["a"] for p in passed} == {"x"}
    assert cycle(ledger, filled).verdict == "LEASED"
    audit(ledger)


def test_what_a_caller_has_filled_is_passed_though_the_config_leaves_it_empty(
    ledger, static, clock
):
    lacking = static({"a": ""}, check_fields=["a"])
    register(ledger, lacking)
    clock.set(hour(4))
    window = [
        {
            "window_start_time": hour(n).isoformat(),
            "window_end_time": hour(n + 1).isoformat(),
            "config_version": 1,
        }
        for n in range(4)
    ]
    assert store(ledger, PIPELINE, [entry(window[0], {"a": ""}), entry(window[1], {"a": "mine"}),
                                    entry(window[2], {"a": ""}), entry(window[3], {"a": "too"})]) == 4  # fmt: skip
    assert rows(ledger, "select incomplete_count from record_ledger.pipeline_progress") == [(2,)]
    assert rows(ledger, "select window_start_time from record_ledger.oldest_valid_record") == [
        (hour(1),)
    ]
    planned = "select window_start_time from record_ledger.plan_runs('orders', 5) where run_no is not null"
    assert rows(ledger, planned) == [(hour(1),), (hour(3),)]
    held = pass_valid(ledger, PIPELINE)
    assert held.record["a"] == "mine"
    # It is none the less filled while it waits for its next attempt.
    fail(ledger, held.token)
    assert rows(ledger, "select incomplete_count from record_ledger.pipeline_progress") == [(2,)]
    clock.advance("1h")
    assert pass_valid(ledger, PIPELINE).start == hour(1)
    # Another change of the fields makes it outdated like all others.
    register(ledger, static({"a": "", "b": 1}, check_fields=["a"]))
    assert pass_valid(ledger, PIPELINE).verdict == "INCOMPLETE"
    assert rows(ledger, "select incomplete_count from record_ledger.pipeline_progress") == [(3,)]
    audit(ledger)


# ---------------------------------------------------------------- with templates
def test_a_first_run_after_a_new_check_field_passes_its_record(ledger, templated):
    through(ledger, templated(), "a")
    changed = templated(check_fields=["path"])
    answer = through(ledger, changed, "b")
    assert (answer.verdict, answer.start, answer.record["path"]) == ("READY", hour(1), "01")
    audit(ledger)


def test_to_build_names_what_the_pass_may_come_to(ledger, clock, templated):
    clock.set(hour(30))
    through(ledger, templated(), "a")
    backfill(ledger, hour(-1))
    clock.set(hour(32))
    changed = templated("{{ target_day }}")
    asked = cycle(ledger, changed, "b").to_build
    # Ten of the historical records that were never built, ten live ones, and the two that are due now.
    assert starts(asked) == [hour(n) for n in [*range(-24, -14), *range(1, 11), 30, 31]]
    assert {w["config_version"] for w in asked} == {2}
    # The config is not in force yet, and nothing was written.
    assert one(ledger, "select config_version from record_ledger.pipelines") == 1
    answer = through(ledger, changed, "b")
    assert (answer.start, answer.record["path"]) == (hour(-24), "00")
    # Only the record that was passed is another one now.
    assert (
        one(ledger, "select count(*) from record_ledger.record_events where event = 'rebuilt'") == 1
    )


def test_a_run_that_has_a_record_is_asked_for_that_one_only(ledger, clock, templated):
    clock.set(hour(3))
    first = through(ledger, templated(), "a")
    changed = templated("{{ target_day }}")
    # While it holds the record nothing is rendered for it.
    held = cycle(ledger, changed, "a")
    assert (held.start, held.record["path"]) == (first.start, "00")
    fail(ledger, held.token)
    clock.set(hour(5))
    assert starts(cycle(ledger, changed, "a").to_build) == [hour(0)]
    answer = through(ledger, changed, "a", lambda start: "again")
    assert (answer.start, answer.record["path"], answer.record["attempt"]) == (hour(0), "again", 2)
    complete(ledger, answer.token)
    assert cycle(ledger, changed, "a").verdict == "ALREADY_DONE"
    # The windows that are due are another run's to store.
    assert len(rows(ledger, "select 1 from record_ledger.pipeline_records")) == 3
    assert starts(cycle(ledger, changed, "b").to_build) == [hour(1), hour(2), hour(3), hour(4)]


def test_what_was_rendered_for_another_config_or_window_is_asked_for_again(ledger, templated):
    given = templated()
    asked = cycle(ledger, given, "a").to_build
    register(ledger, templated("other"))
    # Sent with the config that it is of, which has another version by now, and then with another one.
    for config, version in ((given, 2), (templated("{{ other }}"), 3)):
        answer = cycle(ledger, config, "a", built(asked, path="stale"))
        assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", None)
        assert {w["config_version"] for w in answer.to_build} == {version}
    moved = [w | {"window_end_time": hour(9).isoformat(), "config_version": 3} for w in asked]
    answer = cycle(ledger, templated("{{ other }}"), "a", built(moved, path="stale"))
    assert starts(answer.to_build) == [hour(0), hour(1), hour(2)]
    assert rows(ledger, "select 1 from record_ledger.pipeline_records") == []
    # Stored and outdated, it is the same.
    config = templated("{{ other }}")
    assert cycle(ledger, config, "a", built(answer.to_build, path="good")).record["path"] == "good"
    changed = templated("{{ another }}")
    asked = cycle(ledger, changed, "b").to_build
    register(ledger, templated("{{ third }}"))
    answer = cycle(ledger, changed, "b", built(asked, path="stale"))
    assert (answer.verdict, {w["config_version"] for w in answer.to_build}) == ("INCOMPLETE", {5})
    assert (
        one(
            ledger,
            "select count(*) from record_ledger.pipeline_records where fields ->> 'path' = 'stale'",
        )
        == 0
    )


def test_what_comes_next_and_was_not_sent_is_asked_for_under_the_lock(ledger, templated):
    through(ledger, templated(), "a")
    changed = templated("{{ target_day }}")
    asked = cycle(ledger, changed, "b").to_build
    # Meanwhile the first two are passed to others, and the first of them is given back.
    taken = [through(ledger, changed) for _ in range(2)]
    operate(ledger, "reopen", *EVERYTHING)
    sent = [w for w in asked if starts([w]) == [hour(2)]]
    release(ledger, taken[0].token)
    register(ledger, templated("{{ target_day }}", check_fields=["path"]))
    answer = cycle(
        ledger, templated("{{ target_day }}", check_fields=["path"]), "b", built(sent, path="x")
    )
    assert (answer.exit_dag, answer.record) == (True, None)
    assert starts(answer.to_build) == [hour(1)]


def test_a_template_that_gives_nothing_holds_up_no_other_record(ledger, clock, templated):
    clock.set(hour(40))
    through(ledger, templated(), "a")
    changed = templated("{{ path }}", check_fields=["path"])
    empty = {hour(n) for n in range(1, 25)}
    answer = through(ledger, changed, "b", lambda start: "" if start in empty else "full")
    assert (answer.start, answer.record["path"]) == (hour(25), "full")
    assert rows(ledger, "select incomplete_count from record_ledger.pipeline_progress") == [(24,)]
    assert "cannot fill" in verdict_of(ledger, hour(1))[1]
    # They are not asked for again before the fields change.
    assert starts(cycle(ledger, changed, "c").to_build) == [hour(n) for n in range(26, 36)]
    third = templated("{{ third }}", check_fields=["path"])
    assert starts(cycle(ledger, third, "c").to_build)[0] == hour(1)
    assert through(ledger, third, "c").start == hour(1)
    audit(ledger)


def test_without_the_config_an_outdated_record_waits_where_it_has_templates(ledger, templated):
    through(ledger, templated(), "a")
    register(ledger, templated("{{ target_day }}"))
    assert verdict_of(ledger, hour(1))[0] == "READY"
    answer = pass_valid(ledger, PIPELINE, "b")
    assert (answer.exit_dag, answer.verdict) == (True, "INCOMPLETE")
    assert "built with an older config; the next run with its config builds it" in answer.reason
    writes_nothing(ledger, "select record_ledger.pass_valid_record('orders', 'b')")
    assert through(ledger, templated("{{ target_day }}"), "b").start == hour(1)


def test_a_batch_builds_all_of_its_records_or_passes_none(ledger, clock, templated):
    clock.set(hour(30))
    through(ledger, templated(), "a")
    changed = templated("{{ target_day }}")
    asked = batch(ledger, changed, "b", 20)
    assert starts(asked.to_build) == [hour(n) for n in range(1, 21)]
    # The last one is missing: nothing is passed, and what was sent is built by itself.
    answer = batch(ledger, changed, "b", 20, built(asked.to_build[:-1], path="x"))
    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", [])
    assert starts(answer.to_build) == [hour(20)]
    assert (
        one(
            ledger,
            "select count(*) from record_ledger.pipeline_records where status = 'IN_PROGRESS'",
        )
        == 1
    )
    answer = batch(ledger, changed, "b", 20, built(answer.to_build, path="x"))
    assert [r["path"] for r in answer.record] == ["x"] * 20
    audit(ledger)


def test_a_batch_whose_templates_give_nothing_goes_on_to_what_they_fill(ledger, clock, templated):
    clock.set(hour(30))
    through(ledger, templated(), "a")
    changed = templated("{{ target_day }}", check_fields=["path"])
    answer, calls = batch(ledger, changed, "b", 3), 0
    while answer.to_build:
        sent = [
            entry(w, {"path": "" if starts([w])[0] < hour(12) else "x"}) for w in answer.to_build
        ]
        answer, calls = batch(ledger, changed, "b", 3, sent), calls + 1
        assert calls < 10
    assert [r["window_start_time"] for r in answer.record] == [
        f"2026-11-22T{n}:00:00+00:00" for n in (12, 13, 14)
    ]


def test_a_batch_that_was_drawn_is_asked_for_its_own_records(ledger, clock, templated):
    clock.set(hour(30))
    first = batch(ledger, templated(), "b", 3)
    first = batch(ledger, templated(), "b", 3, built(first.to_build, path="x"))
    for record in first.record[:2]:
        release(ledger, record["claim_token"])
    changed = templated("{{ target_day }}")
    asked = batch(ledger, changed, "b", 3)
    assert starts(asked.to_build) == [hour(0), hour(1)]
    again = batch(ledger, changed, "b", 3, built(asked.to_build, path="new"))
    assert [r["path"] for r in again.record] == ["new", "new", "x"]


# ---------------------------------------------------------------- what it costs
BACKLOG = 5000
CALLS = {
    "complete": ({"a": "x", "b": 1}, ["a"]),
    "incomplete": ({"a": "", "b": 1}, ["a"]),
}


@pytest.mark.parametrize("changed", CALLS)
def test_an_answer_reads_no_more_however_many_records_are_outdated(ledger, clock, static, changed):
    register(ledger, static({"a": "x"}, granularity="1m"))
    clock.set(START + timedelta(minutes=BACKLOG))
    store(ledger, PIPELINE)
    backfill(ledger, START - timedelta(days=3))
    call = "select * from record_ledger.pass_valid_record('orders', null)"
    before = pages(ledger, call)
    fields, checked = CALLS[changed]
    register(ledger, static(fields, granularity="1m", check_fields=checked))
    # Four pages to a look-up; an exit reads a little more, because it says why.
    assert pages(ledger, call) <= before + 60
    view = "select * from record_ledger.oldest_valid_record where pipeline_id = 'orders'"
    assert pages(ledger, view) <= before + 60


def test_an_answer_reads_no_more_however_many_templates_gave_nothing(ledger, clock, templated):
    """Outdated ones behind thousands that are current and incomplete are found by their lane."""
    first = templated(check_fields=["path"], granularity="1m")
    register(ledger, first)
    clock.set(START + timedelta(minutes=BACKLOG))
    store(ledger, PIPELINE, built(cycle(ledger, first).to_build, path=""))
    second = templated("{{ other }}", check_fields=["path"], granularity="1m")
    register(ledger, second)
    ledger.execute(
        "update record_ledger.record set config_version = 2 where window_start_time < %s",
        [START + timedelta(minutes=BACKLOG - 3)],
    )
    ledger.execute("vacuum record_ledger.record")
    call = "select verdict from record_ledger.pass_valid_record('orders', null)"
    assert pages(ledger, call) < 100
    first_outdated = (START + timedelta(minutes=BACKLOG - 3)).isoformat()
    assert first_outdated in pass_valid(ledger, PIPELINE).reason
