"""The commands that pass a record and end a claim: what each prints, and its exit code."""

from __future__ import annotations

import json

import pytest

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles


def test_run_prints_the_record_and_exits_0(command, config_file, clock):
    clock.set(NOON)

    done = command("run", "--config", config_file, "--run-id", "run-1")

    assert done.code == 0
    assert done.json["exit_dag"] is False
    assert done.json["verdict"] == "READY"
    record = done.json["record"]
    assert record["window_start_time"] == "2026-11-21T00:00:00-08:00"
    assert record["target_day"] == "2026-11-21"
    assert record["run_id"] == "run-1"
    assert done.err == ""


def test_run_with_nothing_to_do_says_why_and_exits_99(command, config_file, clock):
    clock.set("2026-11-22T08:30:00Z")

    done = command("run", "--config", config_file)

    assert done.code == 99
    assert done.json["record"] is None
    assert done.json["verdict"] == "UNSTABLE"
    assert "2026-11-21T00:00:00-08:00" in done.json["reason"]


def test_the_record_that_run_printed_ends_the_claim(command, config_file, clock, tmp_path):
    clock.set(NOON)
    printed = tmp_path / "record.json"
    printed.write_text(command("run", "--config", config_file).out, encoding="utf-8")

    beat = command("heartbeat", "--record", printed)
    done = command("complete", "--record", printed, "--detail", '{"rows": 3}')
    again = command("complete", "--record", "-", stdin=printed.read_text(encoding="utf-8"))
    other = command("fail", "--record", printed, "--error", "late")

    assert beat.json["lease_expires_at"] == "2026-11-22T13:00:00-08:00"
    assert done.json["outcome"] == "completed"
    assert (beat.code, done.code, again.code, other.code) == (0, 0, 0, 1)
    assert other.err.startswith("record-ledger: claim lost")


def test_a_claim_can_be_named_by_its_token(command, config_file, clock, runner):
    clock.set(NOON)
    for verb, options in (
        ("release", []),
        ("fail", ["--error", "no disk", "--no-retry"]),
        ("complete", []),
    ):
        token = command("run", "--config", config_file).json["record"]["claim_token"]
        done = command(verb, "--pipeline", "orders", "--claim-token", token, *options)
        assert done.code == 0, done.err
        assert done.json["claim_token"] == token

    first, second = runner.pipeline_records("orders", limit=2)
    assert (first["status"], first["last_detail"]["error"]) == ("FAILED", "no disk")
    assert second["status"] == "COMPLETED"


CLAIM_VERBS = {
    "heartbeat": [],
    "adopt": [],
    "release": [],
    "fail": ["--error", "no disk"],
    "complete": [],
}


@pytest.mark.parametrize("verb", CLAIM_VERBS)
def test_a_token_of_another_window_is_refused(command, config_file, clock, runner, verb, tmp_path):
    """As of a ledger that was restored and passed another window with the same token."""
    clock.set(NOON)
    record = command("run", "--config", config_file).json["record"]
    before = runner.pipeline_records("orders"), runner.record_events("orders")
    foreign = tmp_path / "record.json"
    foreign.write_text(
        json.dumps({**record, "window_start_time": "2026-11-21T02:00:00-08:00"}), encoding="utf-8"
    )
    named = ["--pipeline", "orders", "--claim-token", record["claim_token"], "--window"]
    for ways in (["--record", foreign], [*named, "2026-11-21T02:00"], [*named, "1999-01-01"]):
        done = command(verb, *ways, *CLAIM_VERBS[verb])
        assert (done.code, done.out) == (1, "")
        assert (
            "claim lost" in done.err and "belongs to window 2026-11-21T00:00:00-08:00" in done.err
        )
    assert (runner.pipeline_records("orders"), runner.record_events("orders")) == before
    # The pipeline's local time names it as well as the instant does.
    assert command(verb, *named, "2026-11-21 00:00", *CLAIM_VERBS[verb]).code == 0


def test_a_window_that_is_not_a_time_is_said(command, config_file, clock):
    clock.set(NOON)
    token = command("run", "--config", config_file).json["record"]["claim_token"]
    named = ["--pipeline", "orders", "--claim-token", token]
    for verb, option in (("complete", "--window"), ("release", "--not-before")):
        done = command(verb, *named, option, "soon")
        assert done.code == 1
        assert (
            f"{option[2:].replace('-', '_')}" in done.err
            and "'soon' is not a valid time" in done.err
        )


def test_a_record_is_given_back_until_a_time(command, config_file, clock, runner, tmp_path):
    clock.set(NOON)
    printed = tmp_path / "record.json"
    printed.write_text(command("run", "--config", config_file, "--run-id", "a").out, "utf-8")
    done = command("release", "--record", printed, "--not-before", "2026-11-22T13:00")
    assert done.json["outcome"] == "released"
    (verdict,) = runner.record_verdicts("orders", limit=1)
    assert verdict["verdict"] == "BACKOFF"
    assert verdict["ready_at"].isoformat() == "2026-11-22T13:00:00-08:00"
    again = command("run", "--config", config_file, "--run-id", "a")
    assert (again.code, again.json["verdict"]) == (99, "BACKOFF")
    assert "was given back by run a" in again.json["reason"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["complete"],
        ["complete", "--pipeline", "orders"],
        ["complete", "--claim-token", "1"],
        ["complete", "--record", "-", "--pipeline", "orders"],
        ["complete", "--record", "-", "--window", "2026-11-21"],
        ["complete", "--pipeline", "orders", "--window", "2026-11-21"],
        ["complete", "--record", "-"],
        ["complete", "--record", "no such file"],
        ["complete", "--pipeline", "orders", "--claim-token", "9" * 20],
        ["complete", "--pipeline", "orders", "--claim-token", "1", "--detail", "[1]"],
        ["complete", "--pipeline", "orders", "--claim-token", "1", "--detail", "{"],
    ],
)
def test_a_claim_that_is_not_named_well_is_one_message(command, arguments):
    done = command(*arguments, stdin="not a record")

    assert done.code == 1
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("record-ledger: ")


def test_the_run_id_comes_from_airflows_environment(command, config_file, clock, monkeypatch):
    clock.set(NOON)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "nightly")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "scheduled__2026-11-22")
    monkeypatch.setenv("AIRFLOW_CTX_TASK_ID", "load")

    first = command("run", "--config", config_file).json["record"]
    again = command("run", "--config", config_file).json["record"]
    other = command("run", "--config", config_file, "--run-id", "mine/0").json["record"]

    assert first["run_id"] == "nightly/scheduled__2026-11-22/load"
    assert again["window_start_time"] == first["window_start_time"]
    assert other["window_start_time"] != first["window_start_time"]


TOML = """
timezone = "Europe/Berlin"
x_time_back = "1d"
granularity = "2h"
start_at = 2026-11-20T06:00:00
[default_record]
pipeline_id = "from_toml"
"""


@pytest.mark.parametrize("name", ["config.toml", "config.conf", "-"])
def test_a_config_may_be_toml(command, clock, tmp_path, name):
    clock.set(NOON)
    path = tmp_path / name
    path.write_text(TOML, encoding="utf-8")

    done = command("run", "--config", "-" if name == "-" else path, stdin=TOML)

    assert done.json["record"]["window_start_time"] == "2026-11-20T06:00:00+01:00"


def test_a_config_may_come_from_standard_input_as_json(command, config, clock):
    clock.set(NOON)

    done = command("run", "--config", "-", stdin=json.dumps(config("orders")))

    assert done.json["record"]["pipeline_id"] == "orders"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("timezone = ", "not valid TOML"),
        ("[1]", "must be a dict"),
        ('{"timezone": NaN}', "finite"),
        ('{"timezone": "Europe/Berln"}', "Europe/Berlin"),
        ("[" * 100000, "nested too deeply"),
    ],
)
def test_a_bad_config_is_one_clear_message_and_exits_1(command, text, says):
    done = command("run", "--config", "-", stdin=text)

    assert done.code == 1
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_misspelt_key_is_warned_of_on_standard_error(command, config, clock):
    clock.set(NOON)

    done = command("run", "--config", "-", stdin=json.dumps(config("orders", chek_fields=[])))

    assert done.code == 0
    assert "level=warning" in done.err
    assert "check_fields" in done.err
