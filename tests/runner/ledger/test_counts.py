"""Counts in Python and in the shell: noted, adopted, waived, shown, and asked for at the end."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal

import pytest

from record_ledger import (
    ClaimLost,
    CountsDisagree,
    IllegalStateChange,
    InvalidArgument,
    UnknownPipeline,
    adopt_observations,
    complete_record,
    fail_record,
    observe_record,
)

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles
START = "2026-11-21T00:00:00-08:00"
OBSERVE = (
    "from record_ledger.cli import main; import sys; sys.exit(main(['observe', *sys.argv[1:]]))"
)


@pytest.fixture
def counted(config, clock):
    clock.set(NOON)
    return config("orders", required_counts=["source", "target"], retry_delay="0s")


@pytest.fixture
def counted_file(counted, tmp_path):
    path = tmp_path / "counted.json"
    path.write_text(json.dumps(counted), encoding="utf-8")
    return path


@pytest.fixture
def record(runner, counted):
    return runner.store_new_and_pass_valid_record(counted, "run-1").record


def stored(runner):
    return runner.pipeline_records("orders", limit=1)[0]


# ---------------------------------------------------------------- in Python
def test_a_passed_record_is_counted_and_completed_when_its_counts_agree(runner, record):
    assert observe_record(record, "source", 7, {"bytes": 4096}, ledger=runner) == 1
    assert observe_record(record, "target", 6, ledger=runner) == 2
    with pytest.raises(CountsDisagree, match="source 7, target 6") as caught:
        complete_record(record, ledger=runner)
    assert caught.value.sqlstate == "RL007"
    assert "waive_counts" in caught.value.hint
    observe_record(record, "target", 7, ledger=runner)
    complete_record(record, ledger=runner)

    seen = runner.record_observations("orders", record["window_start_time"])
    assert [(o["stage"], o["row_count"], o["is_evidence"]) for o in seen] == [
        ("source", 7, True),
        ("target", 6, False),
        ("target", 7, True),
    ]
    assert seen[0]["detail"] == {"bytes": 4096}
    assert seen[0]["observed_at"].isoformat() == "2026-11-22T12:00:00-08:00"
    assert stored(runner)["published_generation"] == 1


def test_a_count_without_a_claim_is_noted_by_the_local_time_of_the_window(runner, record):
    for start in (START, "2026-11-21T00:00", dt.date(2026, 11, 21), record["window_start_time"]):
        runner.observe_record("orders", start, "source", 7)
    assert [o["claim_token"] for o in runner.record_observations("orders")] == [None] * 4


def test_a_later_claim_adopts(runner, counted, record):
    observe_record(record, "source", 7, ledger=runner)
    observe_record(record, "target", 7, ledger=runner)
    fail_record(record, "no disk", ledger=runner)
    again = runner.store_new_and_pass_valid_record(counted, "run-1").record
    assert adopt_observations(again, "source", ledger=runner) == 1
    with pytest.raises(CountsDisagree, match="target not counted under this claim"):
        complete_record(again, ledger=runner)
    assert adopt_observations(again, ledger=runner) == 1
    complete_record(again, ledger=runner)


def test_a_waiver_says_whether_it_is_new(runner, record):
    assert runner.waive_counts("orders", START, "known") is True
    assert runner.waive_counts("orders", "2026-11-21", "known") is False
    complete_record(record, ledger=runner)
    assert stored(runner)["counts_waived"] is True
    with pytest.raises(IllegalStateChange):
        runner.waive_counts("orders", START, "too late")


def test_errors_are_the_servers(runner, record):
    with pytest.raises(InvalidArgument, match="row_count: -1"):
        observe_record(record, "source", -1, ledger=runner)
    with pytest.raises(InvalidArgument, match="no window that starts at 2026-11-21T00:30:00-08:00"):
        runner.observe_record("orders", "2026-11-21T00:30", "source", 1)
    with pytest.raises(UnknownPipeline):
        runner.observe_record("ordrs", START, "source", 1)
    with pytest.raises(InvalidArgument, match="window_start_time missing"):
        observe_record({"pipeline_id": "orders", "claim_token": 1}, "source", 1, ledger=runner)
    fail_record(record, "no disk", ledger=runner)
    for call in (lambda: observe_record(record, "source", 1, ledger=runner),
                 lambda: adopt_observations(record, ledger=runner)):  # fmt: skip
        with pytest.raises(ClaimLost):
            call()


@pytest.mark.parametrize("rows", [1.5, "7", True, None, float("nan"), 2**63, [7]])
def test_what_is_no_whole_number_is_refused_and_not_rounded(runner, record, rows):
    with pytest.raises(InvalidArgument, match=r"row_count: .* is no count of rows"):
        observe_record(record, "source", rows, ledger=runner)
    assert runner.record_observations("orders") == []


@pytest.mark.parametrize("rows", [7.0, Decimal("7.00")])
def test_a_whole_number_of_another_type_is_a_count(runner, record, rows):
    observe_record(record, "source", rows, ledger=runner)
    assert [row["row_count"] for row in runner.record_observations("orders")] == [7]


def test_counts_are_read_by_the_time_of_a_window(runner, record):
    observe_record(record, "source", 7, ledger=runner)
    assert len(runner.record_observations("orders", record["window_start_time"])) == 1
    assert len(runner.record_observations("orders", "2026-11-21")) == 1
    assert runner.record_observations("orders", "2026-11-20") == []
    with pytest.raises(InvalidArgument, match="window_start_time: 20261121 is not a time"):
        runner.record_observations("orders", 20261121)


def test_a_block_counts_its_record_and_is_completed(runner, counted):
    work = runner.processing(counted)
    with work as record:
        work.observe("source", 7)
        work.observe("target", 7, {"digest": "abc"})
    assert stored(runner)["status"] == "COMPLETED"
    assert record["window_start_time"].isoformat() == START


def test_a_block_whose_counts_do_not_agree_fails_its_record_and_raises(runner, counted):
    work = runner.processing(counted)
    with pytest.raises(CountsDisagree, match="target not counted"), work:
        work.observe("source", 7)
    assert (stored(runner)["status"], stored(runner)["last_event"]) == ("PENDING", "failed")
    assert "target not counted" in stored(runner)["last_detail"]["error"]


def test_a_block_without_a_record_has_nothing_to_count(runner, counted, clock):
    clock.set("2026-11-22T08:30:00Z")
    work = runner.processing(counted)
    with work, pytest.raises(InvalidArgument, match="no record to count"):
        work.observe("source", 7)


# ---------------------------------------------------------------- in the shell
def test_a_record_that_run_printed_is_observed_and_completed(
    command, counted_file, tmp_path, clock
):
    printed = tmp_path / "passed.json"
    printed.write_text(command("run", "--config", counted_file).out, encoding="utf-8")
    token = json.loads(printed.read_text(encoding="utf-8"))["record"]["claim_token"]

    done = command("observe", "source", 1200, "--record", printed, "--detail", '{"bytes": 4096}')
    assert (done.code, done.json) == (
        0,
        {
            "pipeline_id": "orders",
            "window_start_time": START,
            "claim_token": token,
            "outcome": "observed",
            "observation_no": 1,
        },
    )
    refused = command("complete", "--record", printed)
    assert refused.code == 1
    assert refused.err.startswith("record-ledger: counts do not agree: window 2026-11-21T00:00")
    why = command("why", "orders", "--window", START)
    assert "source 1200, target not counted under this claim" in why.out
    named = ["--pipeline", "orders", "--window", START]
    assert command("observe", "target", 1200, *named, "--claim-token", token).code == 0
    assert command("observe", "target", 7, *named).code == 0
    assert command("complete", "--record", printed).code == 0
    clock.advance("1h")

    shown = command("history", "orders", "2026-11-21").out.splitlines()[-4:]
    assert [line.split()[2:] for line in shown] == [
        ["STAGE", "ROWS", "CLAIM", "EVIDENCE", "BY", "DETAIL"][1:],
    ] + [line.split()[2:] for line in shown[1:]]
    assert [line.split()[2:6] for line in shown[1:]] == [
        ["source", "1200", str(token), "yes"],
        ["target", "1200", str(token), "yes"],
        ["target", "7", "-", "no"],
    ]
    told = command("history", "orders", "2026-11-21", "--json").json
    assert [o["row_count"] for o in told["observations"]] == [1200, 1200, 7]


def test_counts_are_adopted_and_waived_by_command(command, counted_file, tmp_path, runner):
    printed = tmp_path / "passed.json"
    printed.write_text(command("run", "--config", counted_file).out, encoding="utf-8")
    command("observe", "source", 7, "--record", printed)
    command("fail", "--record", printed, "--error", "no disk")
    printed.write_text(command("run", "--config", counted_file).out, encoding="utf-8")
    adopted = command("adopt", "--record", printed)
    assert (adopted.code, adopted.json["outcome"], adopted.json["adopted_count"]) == (
        0,
        "adopted",
        1,
    )
    token = adopted.json["claim_token"]
    assert (
        command("adopt", "target", "--pipeline", "orders", "--claim-token", token).json[
            "adopted_count"
        ]
        == 0
    )
    for changed in (1, 0):
        waived = command("waive-counts", "orders", "2026-11-21", "--reason", "known")
        assert (waived.code, waived.json["changed_count"]) == (0, changed)
    assert command("complete", "--record", printed).code == 0
    assert stored(runner)["counts_waived"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --record FILE, or --pipeline"),
        (["--pipeline", "orders"], "give both --pipeline and --window"),
        (["--window", START], "give both --pipeline and --window"),
        (["--claim-token", "1"], "not both"),
        (["--record", "x", "--window", START], "not both"),
    ],
)
def test_what_is_observed_has_to_be_named(command, runner, record, options, message, monkeypatch):
    monkeypatch.delenv("RECORD_LEDGER_RECORD", raising=False)
    done = command("observe", "source", 7, *options)
    assert done.code == 1
    assert message in done.err
    assert runner.record_observations("orders") == []


def test_a_command_under_exec_counts_its_record_without_naming_it(
    command, counted_file, runner, monkeypatch
):
    script = f'{sys.executable} -c "{OBSERVE}" source 7 && {sys.executable} -c "{OBSERVE}" target 7'
    done = command("exec", "--config", counted_file, "--", "sh", "-c", script)
    assert (done.code, done.json["outcome"]) == (0, "completed")
    assert [o["is_evidence"] for o in runner.record_observations("orders")] == [True, True]


@pytest.mark.parametrize("options", [[], ["--drain"]])
def test_a_command_that_succeeds_without_the_counts_fails_its_record_at_once(
    command, counted_file, runner, options
):
    done = command("exec", "--config", counted_file, *options, "--run-id", "r", "--", "true")
    assert done.code == 1
    assert "counts do not agree" in done.err
    assert "failed" in (stored(runner)["last_event"], "")
    assert stored(runner)["status"] in ("PENDING", "FAILED")
    assert stored(runner)["last_detail"]["error"].startswith(
        "counts do not agree: window 2026-11-21"
    )
    if not options:
        assert (done.json["outcome"], done.json["exit_code"]) == ("failed", 0)
        assert "target not counted under this claim" in done.json["reason"]
