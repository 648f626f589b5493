"""The steps that the handoff names, on the ledger."""

from __future__ import annotations

import datetime as dt
import json

import pytest

import record_ledger as steps
from record_ledger import ClaimLost, InvalidArgument, InvalidConfig, RecordLedger, UnknownPipeline
from record_ledger.values import json_from_record


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def test_the_steps_together_do_what_the_one_call_does(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    orders = config("orders")

    record = steps.build_complete_pipeline_record(orders, ledger=runner)
    stored = steps.upload_record_to_database(record, ledger=runner)
    oldest = steps.download_oldest_pending_record(ledger=runner)
    answer = steps.validate_record_timing(orders, oldest, ledger=runner)

    assert stored is True
    assert set(answer) == {"exit_dag", "record"}
    assert answer["exit_dag"] is False
    assert answer["record"] == oldest
    assert oldest["window_start_time"] == record["window_start_time"]
    passed = runner.store_new_and_pass_valid_record(orders).record
    assert passed["window_start_time"] == record["window_start_time"]


def test_building_registers_the_pipeline_and_stores_no_window(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")

    record = steps.build_complete_pipeline_record(
        config("orders", fields={"path": "{{ target_day }}/x"}), ledger=runner
    )

    assert record["path"] == "2026-11-21/x"
    assert record["target_day"] == dt.date(2026, 11, 21)
    assert record["window_start_time"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert record["status"] == "PENDING"
    assert [row["pipeline_id"] for row in runner.pipelines()] == ["orders"]
    assert runner.pipeline_records("orders") == []


def test_building_gives_none_when_nothing_is_due(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    late = config("orders", start_at="2026-12-01")

    assert steps.build_complete_pipeline_record(late, ledger=runner) is None


def test_uploading_stores_a_window_once(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.build_complete_pipeline_record(config("orders"), ledger=runner)

    assert steps.upload_record_to_database(record, ledger=runner) is True
    assert steps.upload_record_to_database(record, ledger=runner) is False
    assert len(runner.pipeline_records("orders")) == 1


def test_a_record_that_came_through_json_can_be_uploaded(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.build_complete_pipeline_record(config("orders"), ledger=runner)

    text = json.dumps(json_from_record(record))

    assert steps.upload_record_to_database(json.loads(text), ledger=runner) is True


def test_uploading_another_window_is_refused_and_names_the_expected_one(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.build_complete_pipeline_record(config("orders"), ledger=runner)
    later = {**record, "window_start_time": record["window_end_time"]}
    longer = {**record, "window_end_time": record["window_end_time"].add(hours=1)}

    for wrong in (later, longer):
        with pytest.raises(InvalidArgument, match="2026-11-21T00:00:00-08:00") as caught:
            steps.upload_record_to_database(wrong, ledger=runner)
        assert caught.value.sqlstate == "RL005"
    assert runner.pipeline_records("orders") == []


def test_uploading_a_record_of_an_unknown_pipeline_is_refused(runner):
    with pytest.raises(UnknownPipeline):
        steps.upload_record_to_database(
            {"pipeline_id": "missing", "window_start_time": "2026-11-21T00:00:00Z"}, ledger=runner
        )


def test_the_oldest_pending_record_is_of_all_pipelines_or_of_one(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    for name, start in (("young", "2026-11-20"), ("old", "2026-11-18")):
        runner.store_new_records(runner.register_pipeline(config(name, start_at=start)))

    assert steps.get_oldest_pending_record(ledger=runner)["pipeline_id"] == "old"
    assert steps.download_oldest_pending_record("young", ledger=runner)["pipeline_id"] == "young"
    assert steps.get_oldest_pending_record is steps.download_oldest_pending_record


def test_downloading_gives_none_when_nothing_is_pending(runner):
    assert steps.download_oldest_pending_record(ledger=runner) is None


def test_validating_an_unstable_record_exits(runner, config, clock):
    clock.set("2026-11-22T08:30:00Z")
    orders = config("orders")
    runner.store_new_and_pass_valid_record(orders)
    record = steps.download_oldest_pending_record("orders", ledger=runner)

    answer = steps.validate_record_timing(orders, record, ledger=runner)

    assert answer == {"exit_dag": True, "record": None}


def test_validating_a_record_that_is_done_exits(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = runner.store_new_and_pass_valid_record(config("orders")).record
    steps.complete_record(record, ledger=runner)

    answer = steps.validate_record_timing(config("orders"), record, ledger=runner)

    assert answer == {"exit_dag": True, "record": None}


def test_validating_rebuilds_an_incomplete_record_from_mended_templates(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    empty = config("orders", fields={"path": ""}, check_fields=["path"])
    fixed = config("orders", fields={"path": "{{ time_interval }}"}, check_fields=["path"])
    runner.store_new_and_pass_valid_record(empty)
    record = steps.download_oldest_pending_record("orders", ledger=runner)

    assert steps.validate_record_timing(empty, record, ledger=runner)["exit_dag"] is True
    answer = steps.validate_record_timing(fixed, record, ledger=runner)

    assert answer["exit_dag"] is False
    assert answer["record"]["path"] == "2h"
    stored = runner.pipeline_records("orders", record["window_start_time"])[0]
    assert stored["fields"]["path"] == "2h"


def test_validating_refuses_a_record_of_another_pipeline_and_builds_nothing(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    empty = config("orders", fields={"path": ""}, check_fields=["path"])
    fixed = config("orders", fields={"path": "{{ time_interval }}"}, check_fields=["path"])
    other = config("returns", fields={"path": "returns/{{ time_interval }}"})
    runner.store_new_and_pass_valid_record(empty)
    runner.register_pipeline(fixed)
    record = steps.download_oldest_pending_record("orders", ledger=runner)

    with pytest.raises(InvalidArgument, match="of pipeline orders, but the config is of returns"):
        steps.validate_record_timing(other, record, ledger=runner)

    stored = runner.pipeline_records("orders", record["window_start_time"])[0]
    assert stored["fields"]["path"] == ""


def test_validating_reports_a_bad_config(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = runner.store_new_and_pass_valid_record(config("orders")).record

    with pytest.raises(InvalidConfig):
        steps.validate_record_timing(config("orders", granularity="x"), record, ledger=runner)


def test_a_record_is_ended_by_the_dict_that_was_passed(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    first, second, third = (
        steps.store_new_and_pass_valid_record(config("orders"), ledger=runner)["record"]
        for _ in range(3)
    )

    expires = steps.extend_lease(first, ledger=runner)
    steps.complete_record(first, {"rows": 1}, ledger=runner)
    steps.complete_record(first, {"rows": 1}, ledger=runner)
    steps.fail_record(second, ValueError("no \x00 disk"), retry=False, ledger=runner)
    steps.release_record(third, ledger=runner)

    assert expires.isoformat() == "2026-11-22T13:00:00-08:00"
    stored = {r["window_start_time"]: r for r in runner.pipeline_records("orders")}
    assert stored[first["window_start_time"]]["status"] == "COMPLETED"
    assert stored[second["window_start_time"]]["status"] == "FAILED"
    assert stored[second["window_start_time"]]["last_detail"]["error"] == "ValueError: no  disk"
    assert stored[third["window_start_time"]]["status"] == "PENDING"
    assert stored[third["window_start_time"]]["attempt"] == 0


CALLS = {
    "complete": lambda record, ledger: steps.complete_record(record, ledger=ledger),
    "fail": lambda record, ledger: steps.fail_record(record, "no disk", ledger=ledger),
    "release": lambda record, ledger: steps.release_record(record, ledger=ledger),
    "extend": lambda record, ledger: steps.extend_lease(record, ledger=ledger),
    "adopt": lambda record, ledger: steps.adopt_observations(record, ledger=ledger),
    "observe": lambda record, ledger: steps.observe_record(record, "source", 7, ledger=ledger),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_record_of_another_copy_of_the_ledger_is_lost(runner, config, clock, call):
    """With the token of a claim that is held here on another window: nothing is changed."""
    clock.set("2026-11-22T20:00:00Z")
    first, second = (
        steps.store_new_and_pass_valid_record(config("orders"), ledger=runner)["record"]
        for _ in range(2)
    )
    foreign = {**first, "claim_token": second["claim_token"]}
    before = runner.pipeline_records("orders"), runner.record_events("orders")
    for start in (first["window_start_time"], first["window_start_time"].isoformat()):
        with pytest.raises(ClaimLost, match="belongs to window"):
            CALLS[call]({**foreign, "window_start_time": start}, runner)
    assert (runner.pipeline_records("orders"), runner.record_events("orders")) == before
    CALLS[call](second, runner)
    if call != "observe":
        # Where the record does not tell its window, the token decides.
        CALLS[call]({key: first[key] for key in ("pipeline_id", "claim_token")}, runner)


@pytest.mark.parametrize("given", ["2026-11-22T13:00", "2026-11-22T21:00:00Z", "datetime", "date"])
def test_a_record_is_given_back_until_a_time(runner, config, clock, given):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.store_new_and_pass_valid_record(config("orders"), ledger=runner)["record"]
    until = {
        "datetime": dt.datetime(2026, 11, 22, 13),  # the pipeline's local time
        "date": dt.date(2026, 11, 23),
    }.get(given, given)
    steps.release_record(record, not_before=until, ledger=runner)
    (verdict,) = runner.record_verdicts("orders", limit=1)
    expected = "2026-11-23T00:00:00-08:00" if given == "date" else "2026-11-22T13:00:00-08:00"
    assert (verdict["verdict"], verdict["ready_at"].isoformat()) == ("BACKOFF", expected)


@pytest.mark.parametrize("given", ["infinity", "soon", 3, dt.time(6)])
def test_what_is_no_time_is_no_not_before(runner, config, clock, given):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.store_new_and_pass_valid_record(config("orders"), ledger=runner)["record"]
    with pytest.raises(InvalidArgument, match=r"not_before: .* is not a valid time"):
        steps.release_record(record, given, ledger=runner)
    assert runner.claim_state("orders", record["claim_token"]).state == "current"


@pytest.mark.parametrize(
    "record", [{}, {"pipeline_id": "orders"}, {"pipeline_id": "orders", "claim_token": None}]
)
def test_what_is_no_passed_record_is_refused_with_what_it_lacks(runner, record):
    with pytest.raises(InvalidArgument, match="claim_token"):
        steps.complete_record(record, ledger=runner)


@pytest.mark.parametrize("start", ["yesterday", "2026-11-21T00:00:00", 3])
def test_a_window_that_names_no_instant_is_refused(runner, start):
    with pytest.raises(InvalidArgument, match="names no instant"):
        steps.upload_record_to_database(
            {"pipeline_id": "orders", "window_start_time": start}, ledger=runner
        )


def test_a_field_that_json_cannot_carry_is_refused_by_its_name(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = steps.build_complete_pipeline_record(config("orders"), ledger=runner)

    with pytest.raises(InvalidArgument, match=r"record\.key_x: <object"):
        steps.upload_record_to_database({**record, "key_x": object()}, ledger=runner)
