"""What the runner renders, and with which config: nothing of one passes for another's."""

from __future__ import annotations

import json
import logging

import pytest

import record_ledger as steps
from record_ledger import logs
from record_ledger.errors import InvalidArgument, InvalidConfig

PATH = "{{ window_start_time.strftime('%H') }}.csv"
# Fails for windows from 2026-11-21T04:00 on.
FRAGILE = "{{ 1 // (window_start_time.hour < 4) }}"


@pytest.fixture(autouse=True)
def noon(clock):
    clock.set("2026-11-22T20:00:00Z")


def test_a_record_that_was_built_with_another_config_is_not_stored(runner, config):
    first = config("orders", fields={"path": "a/" + PATH})
    second = config("orders", fields={"path": "b/" + PATH})
    record = steps.build_complete_pipeline_record(first, ledger=runner)
    assert record["config_version"] == 1
    runner.register_pipeline(second)

    with pytest.raises(
        InvalidArgument, match="built with config version 1, and version 2 is in force"
    ) as caught:
        steps.upload_record_to_database(record, ledger=runner)

    assert "build_complete_pipeline_record" in caught.value.hint
    assert runner.pipeline_records("orders") == []
    record = steps.build_complete_pipeline_record(second, ledger=runner)
    assert steps.upload_record_to_database(record, ledger=runner) is True
    assert steps.upload_record_to_database(record, ledger=runner) is False
    (stored,) = runner.pipeline_records("orders")
    assert (stored["fields"]["path"], stored["config_version"]) == ("b/00.csv", 2)


@pytest.mark.parametrize("version", [None, "1", 1.0, True])
def test_a_record_that_does_not_say_what_it_was_built_with_is_refused(runner, config, version):
    record = steps.build_complete_pipeline_record(config("orders"), ledger=runner)
    record["config_version"] = version

    with pytest.raises(InvalidArgument, match=f"config_version {version!r} is not a version"):
        steps.upload_record_to_database(record, ledger=runner)

    assert runner.pipeline_records("orders") == []


def test_a_corrected_template_reaches_records_that_are_stored(runner, config):
    wrong = config("orders", fields={"path": "wrong/" + PATH}, max_attempts=1)
    first = runner.store_new_and_pass_valid_record(wrong, "a").record
    steps.fail_record(first, "no such folder", ledger=runner)
    right = config("orders", fields={"path": "right/" + PATH}, max_attempts=1)

    passed = runner.store_new_and_pass_valid_record(right, "b").record
    runner.reopen_records(
        "orders", first["window_start_time"], first["window_end_time"], "corrected"
    )
    again = runner.store_new_and_pass_valid_record(right, "a").record

    assert passed["path"] == "right/02.csv"
    assert (again["window_start_time"], again["path"]) == (
        first["window_start_time"],
        "right/00.csv",
    )
    batch = runner.pass_valid_records(right, "c", 3).records
    assert [record["path"] for record in batch] == [f"right/0{hour}.csv" for hour in (4, 6, 8)]


def test_without_its_config_a_record_of_templates_is_left_to_the_next_run(runner, config):
    runner.store_new_and_pass_valid_record(config("orders", fields={"path": PATH}), "a")
    changed = config("orders", fields={"path": "new/" + PATH})
    runner.register_pipeline(changed)

    answer = runner.pass_valid_record("orders", "b")

    assert (answer.exit_dag, answer.verdict) == (True, "INCOMPLETE")
    assert "built with an older config; the next run with its config builds it" in answer.reason
    assert runner.store_new_and_pass_valid_record(changed, "b").record["path"] == "new/02.csv"


def test_validating_builds_an_outdated_record_and_gives_what_it_then_holds(runner, config):
    fields = {"path": PATH, "gone": 1}
    runner.store_new_and_pass_valid_record(config("orders", fields=fields), "a")
    record = steps.download_oldest_pending_record("orders", ledger=runner)
    changed = config("orders", fields={"path": "new/" + PATH, "added": 2})
    changed["default_record"].pop("gone", None)

    answer = steps.validate_record_timing(changed, record, ledger=runner)

    assert answer["exit_dag"] is False
    assert (answer["record"]["path"], answer["record"]["added"]) == ("new/02.csv", 2)
    assert "gone" not in answer["record"]
    (stored,) = runner.pipeline_records("orders", record["window_start_time"])
    assert (stored["fields"]["path"], stored["is_outdated"]) == ("new/02.csv", False)
    # The same again changes nothing.
    steps.validate_record_timing(changed, record, ledger=runner)
    assert len(runner.record_events("orders", record["window_start_time"])) == 1


# ---------------------------------------------------------------- templates that fail
def test_a_template_that_fails_for_a_later_window_holds_up_no_earlier_one(runner, config, caplog):
    given = config("orders", fields={"path": FRAGILE})

    with caplog.at_level(logging.WARNING, "record_ledger"):
        passed = runner.store_new_and_pass_valid_record(given).record

    assert passed["path"] == "1"
    assert "event=window_left_out" in caplog.text
    assert "2026-11-21T04:00:00-08:00" in caplog.text
    assert len(runner.pipeline_records("orders")) == 2
    # It is the first one now.
    with pytest.raises(InvalidConfig) as caught:
        runner.store_new_and_pass_valid_record(given)
    assert "default_record.path: " in caught.value.message
    assert "(window 2026-11-21T04:00:00-08:00)" in caught.value.message


def test_a_call_that_is_asked_for_more_and_more_ends(runner, config, monkeypatch):
    window = {
        "pipeline_id": "orders",
        "target_day": "2026-11-21",
        "window_start_time": "2026-11-21T00:00:00-08:00",
        "window_end_time": "2026-11-21T02:00:00-08:00",
        "time_interval": "2h",
        "timezone": "America/Los_Angeles",
        "config_version": 1,
    }
    asked = {"exit_dag": True, "verdict": "INCOMPLETE", "reason": "1 windows wait", "record": None}
    asked["to_build"] = [window]
    calls = []
    monkeypatch.setattr(
        runner._calls,
        "value",
        lambda *given, **options: calls.append(given) or json.dumps(asked).encode(),
    )

    answer = runner.store_new_and_pass_valid_record(config("orders", fields={"path": PATH}))

    assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", None)
    assert len(calls) == 11


# ---------------------------------------------------------------- what the server remarks
def test_a_start_that_has_no_effect_is_told_once_per_process(runner, config, caplog, monkeypatch):
    monkeypatch.setattr(logs, "_given", set())
    runner.store_new_and_pass_valid_record(config("orders"))

    with caplog.at_level(logging.WARNING, "record_ledger"):
        for day in range(1, 5):
            runner.store_new_and_pass_valid_record(config("orders", start_at=f"2026-10-0{day}"))

    (told,) = [record.message for record in caplog.records if "start_at" in record.message]
    assert "severity=NOTICE" in told
    assert "it has no effect, because pipeline orders has records already" in told


def test_two_configs_in_turn_are_a_warning_to_the_caller(runner, config, caplog):
    with caplog.at_level(logging.WARNING, "record_ledger"):
        for lease in ("1h", "2h", "1h", "2h"):
            runner.store_new_and_pass_valid_record(config("orders", lease=lease))

    (told,) = [record.message for record in caplog.records if "take turns" in record.message]
    assert "severity=WARNING" in told
    assert "version 4 is version 2 again" in told
