"""The command line: what each command prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from record_ledger import RecordLedger
from record_ledger.cli import main

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles


class Done:
    """What a command printed and how it ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        """The JSON object of the last line of standard output."""
        return json.loads(self.out.strip().splitlines()[-1])


@pytest.fixture
def command(ledger_dsn, monkeypatch, capsys):
    """Runs `record-ledger ARGUMENTS` on the test's database, in this process."""
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def config_file(tmp_path, config):
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(config("orders")), encoding="utf-8")
    return path


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def start(*arguments, **options):
    """Starts `python -m record_ledger ARGUMENTS` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "record_ledger", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# ---------------------------------------------------------------- run and the end of a claim
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["complete"],
        ["complete", "--pipeline", "orders"],
        ["complete", "--claim-token", "1"],
        ["complete", "--record", "-", "--pipeline", "orders"],
        ["complete", "--record", "-"],
        ["complete", "--record", "no such file"],
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


# ---------------------------------------------------------------- status, why, history
def test_status_shows_each_pipeline_and_why(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"))
    runner.store_new_and_pass_valid_record(config("idle", start_at="2026-12-01"))

    done = command("status")
    one = command("status", "orders", "--json")

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["PIPELINE", "VERDICT", "BEHIND"]
    assert lines[1].split()[:2] == ["idle", "NO_RECORDS"]
    assert lines[2].split()[:5] == ["orders", "READY", "10h", "5", "1"]
    assert "\x1b" not in done.out
    (row,) = one.json["pipelines"]
    assert row["pipeline_id"] == "orders"
    assert row["lag"] == 36000
    assert row["done_until"] == "2026-11-21T00:00:00-08:00"


def test_status_of_an_empty_ledger_says_what_comes_next(command):
    done = command("status")

    assert done.code == 0
    assert "record-ledger run" in done.out
    assert command("status", "--json").json == {"pipelines": []}
    assert "record-ledger run" in command("why").out


def test_status_fails_for_alerting(command, runner, config, clock):
    clock.set(NOON)
    record = runner.store_new_and_pass_valid_record(config("orders")).record

    assert command("status", "--fail-on", "failed,incomplete,behind=10h").code == 0
    behind = command("status", "--fail-on", "failed,behind=9h59m59s")
    runner.fail_record("orders", record["claim_token"], "no disk", retry=False)
    failed = command("status", "--fail-on", "failed")

    assert behind.code == 1
    assert behind.err == "record-ledger: pipeline orders is 10h behind (limit 9h59m59s)\n"
    assert failed.code == 1
    assert failed.err == "record-ledger: pipeline orders has failed records: 1\n"


def test_a_limit_that_is_no_duration_is_refused_by_the_server(command):
    done = command("status", "--fail-on", "behind=2")

    assert done.code == 1
    assert "no duration" in done.err


def test_why_gives_every_open_record_its_sentence(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"), "run-1")

    done = command("why", "orders", "--limit", "2")
    everything = command("why", "--limit", "0", "--json")

    assert "LEASED" in done.out
    assert "run-1" in done.out
    assert "READY" in done.out
    assert "--limit 0" in done.out
    assert len(everything.json["records"]) == 6
    assert everything.json["left_out"] is False


def test_why_says_why_there_is_no_open_record(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("idle", start_at="2026-12-01"))

    assert command("why", "idle").out.startswith("idle: NO_RECORDS: ")


@pytest.mark.parametrize(
    "start_time",
    ["2026-11-21T00:00", "2026-11-21", "2026-11-21 00:00:00-08:00", "2026-11-21T08:00Z"],
)
def test_history_shows_the_life_of_one_record(command, runner, config, clock, start_time):
    clock.set(NOON)
    record = runner.store_new_and_pass_valid_record(config("orders"), "run-1").record
    runner.fail_record("orders", record["claim_token"], "no disk\x1b[2J\nsecond line")

    done = command("history", "orders", start_time)

    assert done.code == 0, done.err
    assert done.out.startswith("orders  2026-11-21T00:00:00-08:00 to 2026-11-21T02:00:00-08:00")
    assert "PENDING -> IN_PROGRESS" in done.out
    assert "source_name = elasticsearch" in done.out
    assert "no disk" in done.out
    assert "\x1b" not in done.out


def test_history_as_json_has_the_record_and_its_events(command, runner, config, clock):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"), "run-1")

    done = command("history", "orders", "2026-11-21", "--json")

    assert done.json["record"]["status"] == "IN_PROGRESS"
    assert [event["event"] for event in done.json["events"]] == ["passed"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "nobody"], "not registered"),
        (["why", "nobody"], "not registered"),
        (["history", "nobody", "2026-11-21"], "not registered"),
        (["history", "orders", "2026-11-20"], "no record"),
        (["history", "orders", "yesterday"], "ISO 8601"),
    ],
)
def test_what_is_not_there_is_said_and_exits_1(command, runner, config, arguments, says):
    runner.register_pipeline(config("orders"))

    done = command(*arguments)

    assert done.code == 1
    assert says in done.err


# ---------------------------------------------------------------- usage, logs, connections
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["no-such-command"],
        ["fail", "--pipeline", "p", "--claim-token", "1"],
        ["complete", "--claim-token", "one"],
        ["status", "--fail-on", "weather"],
        ["status", "--fail-on", "failed=2"],
        ["status", "--fail-on", "behind"],
        ["why", "--limit", "-1"],
        ["history", "orders"],
        ["run", "--conf", "x"],
    ],
)
def test_wrong_usage_exits_2(command, arguments):
    done = command(*arguments)

    assert done.code == 2
    assert "usage: record-ledger" in done.err


def test_help_and_version_exit_0(command):
    assert command("--help").code == 0
    assert "99" in command("--help").out
    assert command("--version").out.startswith("record-ledger ")
    for name in ("demo", "deploy", "run", "complete", "fail", "release", "heartbeat"):
        assert command(name, "--help").code == 0
        assert name in command("--help").out


def test_a_log_line_says_all_that_happened(command, config_file, clock):
    clock.set(NOON)

    done = command("run", "--config", config_file, "--run-id", "a run", "-v")

    line = done.err.strip().splitlines()[-1]
    assert "level=info" in line
    assert "call=store_new_and_pass_valid_record" in line
    assert 'run_id="a run"' in line
    assert "pipeline_id=orders" in line
    assert "window=2026-11-21T00:00:00-08:00" in line
    assert "verdict=READY" in line
    assert 'reason="' in line
    assert " ms=" in line


def test_global_options_may_stand_before_the_command(command, ledger_dsn, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_DSN", "host=/nowhere")

    assert command("--dsn", ledger_dsn, "status").code == 0
    assert command("status", "--dsn", ledger_dsn).code == 0


def test_a_database_that_is_not_there_is_one_message_without_the_password(command):
    done = command("status", "--dsn", "postgresql://me:s3cret@/nothing?host=/nowhere", "-q")

    assert done.code == 1
    assert "s3cret" not in done.err + done.out
    assert "Traceback" not in done.err
    assert "cannot be reached" in done.err


def test_two_databases_at_once_are_refused(command):
    done = command("status", "--dsn", "host=x", "--embedded", "y")

    assert done.code == 1
    assert "give one of them" in done.err


def test_colours_are_for_terminals_only(command, runner, config, clock, monkeypatch):
    clock.set(NOON)
    runner.store_new_and_pass_valid_record(config("orders"))
    monkeypatch.setattr("record_ledger.commands.tables.has_colours", lambda: True)

    assert "\x1b[32mREADY\x1b[0m" in command("status").out


# ---------------------------------------------------------------- as a process of its own
def test_python_dash_m_is_the_same_command(ledger_dsn):
    process = start("status", "--dsn", ledger_dsn, "--json")
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert json.loads(out) == {"pipelines": []}


def test_a_reader_that_has_seen_enough_causes_no_traceback(ledger_dsn, runner, config, clock):
    clock.set(NOON)
    runner.store_new_records(
        runner.register_pipeline(config("orders", granularity="1m", start_at="2026-11-15"))
    )
    process = start("why", "--limit", "0", "--dsn", ledger_dsn)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("PIPELINE")
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait(60)

    assert err == ""
    assert process.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_without_a_traceback(number, code, ledger_dsn, connect):
    blocker = connect(autocommit=False)
    blocker.execute("lock table record_ledger.pipeline in access exclusive mode")
    process = start("status", "--dsn", ledger_dsn)
    with connect() as observer:
        while not observer.execute(
            "select from pg_stat_activity where application_name = 'record-ledger' "
            "and wait_event_type = 'Lock' and datname = current_database()"
        ).fetchall():
            assert process.poll() is None

    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert process.returncode == code
    assert "Traceback" not in err
