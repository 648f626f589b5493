"""Incomplete records: skipped, visible, built from templates once per config version."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.sql.statuses import START, hour
from tests.sql.support import (
    PIPELINE,
    audit,
    built,
    cycle,
    entry,
    events,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    store,
    verdict_of,
    windows,
    writes_nothing,
)


def window(n, config_version=1):
    """One hour as `to_build` names it."""
    return {
        "window_start_time": hour(n).isoformat(),
        "window_end_time": hour(n + 1).isoformat(),
        "config_version": config_version,
    }


FIRST = window(0)


@pytest.fixture
def templated(static):
    def make(**changes):
        return static(
            {"key_x": "x-{{ target_day }}", "key_y": 7}, check_fields=["key_x"], **changes
        )

    return make


# ---------------------------------------------------------------- complete and incomplete
@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"key_x": None}, True),
        ({"key_x": ""}, True),
        ({"key_x": " "}, False),
        ({"key_x": 0}, False),
        ({"key_x": False}, False),
        ({"key_x": []}, False),
        ({"key_x": {}}, False),
        ({"key_x": "null"}, False),
    ],
)
def test_complete_is_every_check_field_neither_missing_nor_null_nor_empty(
    ledger, static, fields, missing
):
    answer = cycle(
        ledger, static(fields, check_fields=["key_x", "pipeline_id", "target_day", "time_interval"])
    )
    assert answer.exit_dag is missing
    if missing:
        assert answer.verdict == "INCOMPLETE"
        assert "key_x" in answer.reason
        assert (answer.verdict, answer.reason) == verdict_of(ledger, START)[:2]
        assert record_of(ledger, START)["missing_fields"] == ["key_x"]
        assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []


def test_missing_fields_are_named_in_the_order_of_check_fields(ledger, static):
    fields = {"key_z": "", "key_x": None, "key_y": "y", "key_w": ""}
    cycle(ledger, static(fields, check_fields=["key_z", "key_y", "key_x"]))
    ((found,),) = set(
        rows(ledger, "select missing_fields::text from record_ledger.record_verdicts")
    )
    assert found == "{key_z,key_x}"


def test_an_incomplete_record_never_blocks_later_ones(ledger, templated):
    given = templated()
    to_build = cycle(ledger, given).to_build
    sent = built(to_build, key_x="x", key_y=7)
    sent[0]["fields"] = {"key_x": "", "key_y": 7}
    assert cycle(ledger, given, "a", sent).start == hour(1)
    assert verdict_of(ledger, START)[0] == "INCOMPLETE"
    assert pass_valid(ledger, PIPELINE).start == hour(2)
    # It says why nothing is passed, as the oldest pending one.
    assert pass_valid(ledger, PIPELINE).verdict == "INCOMPLETE"


def test_an_incomplete_record_blocks_later_ones_with_depends_on_past(ledger, templated):
    given = templated(depends_on_past=True)
    sent = built(cycle(ledger, given).to_build, key_x="x", key_y=7)
    sent[0]["fields"] = {"key_x": None, "key_y": 7}
    answer = cycle(ledger, given, "a", sent)
    assert answer.verdict == "INCOMPLETE"
    assert verdict_of(ledger, hour(1))[0] == "BLOCKED"


# ---------------------------------------------------------------- to_build and built
def test_to_build_holds_the_due_windows_and_nothing_is_stored_or_passed(ledger, templated):
    given = templated(timezone="America/St_Johns")
    answer = cycle(ledger, given, "a")
    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", None)
    assert "3" in answer.reason
    assert answer.to_build == [
        {
            "pipeline_id": PIPELINE,
            "target_day": "2026-11-21",
            "window_start_time": f"2026-11-21T{20 + n}:30:00-03:30",
            "window_end_time": f"2026-11-21T{21 + n}:30:00-03:30",
            "time_interval": "1h",
            "timezone": "America/St_Johns",
            "config_version": 1,
        }
        for n in range(3)
    ]
    assert not any(snapshot(ledger))
    writes_nothing(
        ledger, "select record_ledger.store_new_and_pass_valid_record(%s, 'a')", [Jsonb(given)]
    )


def test_built_windows_are_stored_with_their_fields_and_the_oldest_is_passed(ledger, templated):
    given = templated()
    to_build = cycle(ledger, given, "a").to_build
    sent = [
        entry(w, {"key_x": w["window_start_time"], "key_y": [n]}) for n, w in enumerate(to_build)
    ]
    answer = cycle(ledger, given, "a", sent)
    assert (answer.exit_dag, answer.to_build) == (False, [])
    assert (answer.record["key_x"], answer.record["key_y"]) == ("2026-11-22T00:00:00+00:00", [0])
    assert rows(
        ledger, "select key_x from record_ledger.pipeline_records order by window_start_time"
    ) == [(w["window_start_time"],) for w in to_build]
    assert cycle(ledger, given, "b").start == hour(1)
    audit(ledger)


def test_windows_are_stored_up_to_the_first_one_missing_from_built(ledger, templated):
    given = templated()
    sent = built(cycle(ledger, given).to_build, key_x="x", key_y=7)
    del sent[1]
    answer = cycle(ledger, given, None, reversed(sent))
    assert (answer.start, answer.to_build) == (hour(0), [])
    assert windows(ledger) == [(hour(0), hour(1))]
    assert [w["window_start_time"] for w in cycle(ledger, given).to_build] == [
        f"2026-11-22T0{n}:00:00+00:00" for n in (1, 2)
    ]
    # Built windows that are not due are not stored either.
    sent = [entry(window(n), {"key_x": "x", "key_y": 7}) for n in range(1, 9)]
    cycle(ledger, given, None, sent)
    assert windows(ledger)[-1] == (hour(2), hour(3))
    audit(ledger)


def test_what_became_due_meanwhile_is_left_to_the_next_call(ledger, clock, templated):
    given = templated()
    sent = built(cycle(ledger, given).to_build, key_x="x", key_y=7)
    clock.advance("2h")
    assert cycle(ledger, given, None, sent).start == hour(0)
    assert len(windows(ledger)) == 3
    assert len(cycle(ledger, given).to_build) == 2


def test_built_times_may_have_any_offset(ledger, templated):
    given = templated()
    cycle(ledger, given)
    times = ["2026-11-22T00:00Z", "2026-11-21T17:00:00-08:00", "2026-11-22 07:45:00.000+05:45"]
    sent = [
        entry(window(n) | {"window_start_time": time}, {"key_x": time, "key_y": 7})
        for n, time in enumerate(times)
    ]
    cycle(ledger, given, None, sent)
    assert rows(
        ledger, "select key_x from record_ledger.pipeline_records order by window_start_time"
    ) == [(time,) for time in times]


def test_a_pipeline_with_templates_needs_no_building_when_nothing_is_due(ledger, clock, templated):
    given = templated()
    cycle(ledger, given, "a", built(cycle(ledger, given).to_build, key_x="x", key_y=7))
    assert cycle(ledger, given, "b").start == hour(1)
    assert cycle(ledger, given, "c").start == hour(2)
    assert cycle(ledger, given, "d").verdict == "LEASED"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "built.*null"),
        ({}, "built.*array"),
        ("[]", "built.*array"),
        ([7], "window_start_time"),
        ([{}], "window_start_time"),
        ([{"window_start_time": "2026-11-22T00:00:00", "fields": {}}], "offset"),
        ([{"window_start_time": "tomorrow", "fields": {}}], "window_start_time"),
        ([{"window_start_time": "2026-13-45T00:00:00Z", "fields": {"key_x": "", "key_y": 7}}], "window_start_time"),
        ([{"window_start_time": "2026-11-22T00:00 noon Z", "fields": {"key_x": "", "key_y": 7}}], "window_start_time"),
        ([{"window_start_time": None, "fields": {"key_x": "", "key_y": 7}}], "window_start_time"),
        ([{"window_start_time": "2026-11-22T00:00:00Z"}], "window_end_time"),
        ([FIRST | {"window_end_time": "2026-11-22T01:00:00", "fields": {}}], "window_end_time.*offset"),
        ([FIRST | {"config_version": None, "fields": {}}], "config_version"),
        ([FIRST | {"config_version": "1", "fields": {}}], "config_version"),
        ([FIRST | {"config_version": 1.5, "fields": {}}], "config_version"),
        ([FIRST | {"config_version": -1, "fields": {}}], "config_version"),
        ([FIRST], "fields"),
        ([FIRST | {"fields": []}], "fields"),
        ([FIRST | {"fields": {"key_x": "x"}}], "key_y"),
        ([FIRST | {"fields": {"key_x": 1, "key_y": 2, "more": 3}}], "more"),
    ],
    ids=range(20),
)  # fmt: skip
def test_a_wrong_built_is_rl005_and_leaves_nothing(ledger, templated, wrong, message):
    given = templated()
    with refused("RL005", f"built.*{message}|{message}"):
        ledger.execute(
            "select record_ledger.store_new_and_pass_valid_record(%s, 'a', %s)",
            [Jsonb(given), Jsonb(wrong)],
        )
    assert not any(snapshot(ledger))
    register(ledger, given)
    with refused("RL005", message):
        ledger.execute("call record_ledger.store_new_records(%s, %s)", [PIPELINE, Jsonb(wrong)])
    assert windows(ledger) == []


def test_a_config_without_templates_needs_one_call_and_takes_built_all_the_same(ledger, static):
    given = static({"key_x": "x"})
    assert cycle(ledger, given, "a").record["key_x"] == "x"
    other = given | {"pipeline_id": None, "default_record": {"pipeline_id": "other", "key_x": "x"}}
    sent = [entry(window(0), {"key_x": "sent"})]
    assert cycle(ledger, other, "a", sent).record["key_x"] == "sent"
    assert len(windows(ledger, "other")) == 1


@pytest.mark.parametrize("key_x", ["x", "{{ window_start_time }}"])
def test_what_is_lost_takes_no_place_among_what_is_built(ledger, clock, static, key_x):
    # 120 records wait to be built, more than one call builds, and all but the newest two are lost.
    options = {"granularity": "10m", "check_fields": ["key_x"], "source_retention": "4h"}
    register(ledger, static({"key_x": ""}, **options))
    clock.set(hour(20))
    store(ledger, PIPELINE)
    given = static({"key_x": key_x}, **options)
    register(ledger, given)
    first_kept = hour(20) - timedelta(minutes=20)
    clock.set(first_kept + timedelta(hours=4))
    answer = cycle(ledger, given)
    if "{" in key_x:
        assert datetime.fromisoformat(answer.to_build[0]["window_start_time"]) == first_kept
        answer = cycle(ledger, given, built=built(answer.to_build, key_x="x"))
    assert answer.start == first_kept, answer.reason
    assert events(ledger, START) == ["waived"]
    audit(ledger)
