"""Records stored unbuilt, or built with an older config: built when their turn comes, and only once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.statuses import START, hour
from tests.sql.support import (
    PIPELINE,
    audit,
    backfill,
    built,
    cycle,
    events,
    fail,
    pass_valid,
    record_of,
    register,
    rows,
    store,
    verdict_of,
    writes_nothing,
)


@pytest.fixture
def templated(static):
    def make(**changes):
        return static(
            {"key_x": "x-{{ target_day }}", "key_y": 7}, check_fields=["key_x"], **changes
        )

    return make


def test_without_built_windows_of_templates_are_stored_unbuilt_and_built_later(
    ledger, clock, templated
):
    given = templated()
    register(ledger, given)
    assert store(ledger, PIPELINE) == 3
    assert rows(
        ledger, "select distinct fields::text, config_version from record_ledger.pipeline_records"
    ) == [("{}", None)]
    # Passing without the config renders nothing.
    answer = pass_valid(ledger, PIPELINE, "a")
    assert (answer.exit_dag, answer.verdict) == (True, "INCOMPLETE")
    assert "is not built yet; the next run with its config builds it" in answer.reason
    answer = cycle(ledger, given, "a")
    assert [w["window_start_time"] for w in answer.to_build] == [
        hour(n).isoformat() for n in range(3)
    ]
    answer = cycle(ledger, given, "a", built(answer.to_build[:2], key_x="x", key_y=7))
    assert (answer.start, answer.record["key_x"]) == (hour(0), "x")
    assert events(ledger, START) == ["rebuilt", "passed"]
    assert rows(
        ledger, "select detail from record_ledger.record_events where event = 'rebuilt' and window_start_time = %s",
        [START],
    ) == [({"config_version": 1, "fields_before": {}, "fields_added": ["key_x", "key_y"],
           "config_version_before": None},)]  # fmt: skip
    # The other one that was sent is left to its own pass.
    assert len(cycle(ledger, given, "b").to_build) == 2
    audit(ledger)


def test_to_build_asks_for_the_ten_oldest_stable_unbuilt_records_of_each_kind(
    ledger, clock, templated
):
    given = templated(granularity="1m", x_time_back="30m")
    register(ledger, given)
    assert store(ledger, PIPELINE) == 150
    clock.advance("3m")
    asked = [w["window_start_time"] for w in cycle(ledger, given).to_build]
    assert asked == [
        (START + timedelta(minutes=n)).isoformat() for n in [*range(10), 150, 151, 152]
    ]
    backfill(ledger, START - timedelta(minutes=1))
    asked = [w["window_start_time"] for w in cycle(ledger, given).to_build]
    assert asked == [
        (START + timedelta(minutes=n)).isoformat()
        for n in [*range(-1440, -1430), *range(10), 150, 151, 152]
    ]


def test_a_template_that_renders_empty_is_not_asked_for_again(ledger, templated):
    given = templated()
    cycle(ledger, given, "a", built(cycle(ledger, given).to_build, key_x="", key_y=7))
    again = cycle(ledger, given, "a")
    assert (again.verdict, again.to_build) == ("INCOMPLETE", [])
    assert "cannot fill" in again.reason
    writes_nothing(
        ledger, "select record_ledger.store_new_and_pass_valid_record(%s, 'a')", [Jsonb(given)]
    )


def test_changed_fields_have_every_pending_record_built_when_it_is_passed(ledger, templated):
    given = templated()
    sent = built(cycle(ledger, given).to_build, key_x="", key_y=7)
    sent[1]["fields"] = {"key_x": "full", "key_y": 7}
    assert cycle(ledger, given, "a", sent).start == hour(1)
    # Another key makes no record outdated.
    assert cycle(ledger, templated(lease="2h"), "b").verdict == "INCOMPLETE"
    changed = templated()
    changed["default_record"]["key_y"] = 8
    asked = cycle(ledger, changed, "b").to_build
    assert [w["window_start_time"] for w in asked] == [hour(0).isoformat(), hour(2).isoformat()]
    assert record_of(ledger, START)["config_version"] == 1
    answer = cycle(ledger, changed, "b", built(asked, key_x="now", key_y=8))
    assert (answer.start, answer.record["key_x"]) == (hour(0), "now")
    assert [
        version
        for (version,) in rows(
            ledger,
            "select config_version from record_ledger.pipeline_records order by window_start_time",
        )
    ] == [3, 1, 1]
    audit(ledger)


def test_a_changed_config_without_templates_fills_what_is_missing_by_itself(ledger, static):
    assert cycle(ledger, static({"key_x": ""}, check_fields=["key_x"]), "a").verdict == "INCOMPLETE"
    answer = cycle(ledger, static({"key_x": "x"}, check_fields=["key_x"]), "a")
    assert (answer.start, answer.record["key_x"]) == (hour(0), "x")
    assert events(ledger, START) == ["rebuilt", "passed"]
    assert cycle(ledger, static({"key_x": "x"}, check_fields=["key_x"]), "b").start == hour(1)
    audit(ledger)


def test_a_pass_without_the_config_builds_where_nothing_has_to_be_rendered(ledger, static):
    register(ledger, static({"key_x": ""}, check_fields=["key_x"]))
    store(ledger, PIPELINE)
    assert pass_valid(ledger, PIPELINE).verdict == "INCOMPLETE"
    register(ledger, static({"key_x": "x"}, check_fields=["key_x"]))
    assert store(ledger, PIPELINE) == 0
    answer = pass_valid(ledger, PIPELINE)
    assert (answer.start, answer.record["key_x"]) == (hour(0), "x")


def test_other_check_fields_judge_open_records_anew(ledger, static):
    fields = {"key_x": "x", "key_y": ""}
    first = cycle(ledger, static(fields, check_fields=["key_x"]), "a")
    register(ledger, static(fields, check_fields=["key_x", "key_y"]))
    assert verdict_of(ledger, hour(1))[0] == "INCOMPLETE"
    assert verdict_of(ledger, first.start)[0] == "LEASED"
    fail(ledger, first.token)
    assert verdict_of(ledger, first.start)[0] == "INCOMPLETE"
    register(ledger, static(fields, check_fields=[]))
    assert verdict_of(ledger, first.start)[0] == "BACKOFF"
    assert pass_valid(ledger, PIPELINE, "b").start == hour(1)
    audit(ledger)


def test_an_unstable_record_is_not_built_before_it_is_stable(ledger, clock, templated):
    given = templated(x_time_back="1h")
    register(ledger, given)
    assert store(ledger, PIPELINE) == 2
    assert [w["window_start_time"] for w in cycle(ledger, given).to_build] == [
        hour(n).isoformat() for n in range(2)
    ]
    clock.set(hour(2))
    assert [w["window_start_time"] for w in cycle(ledger, given).to_build] == [hour(0).isoformat()]
    clock.set(hour(2) - timedelta(microseconds=1))
    assert cycle(ledger, given).to_build == []
