"""exec: how a command's end ends the claim, and what the command is given."""

from __future__ import annotations

import json
import os
import sys

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.runner.processes import NOON, shell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts")


@pytest.fixture
def run(command, config_file, clock):
    """Runs exec in this process, at noon."""
    clock.set(NOON)
    return lambda *arguments: command("exec", "--config", config_file, *arguments)


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


def test_a_command_that_ends_with_0_completes_its_record(run, runner):
    done = run("--run-id", "run-1", *shell("echo copied"))

    assert done.code == 0
    assert done.out.splitlines()[0] == "copied"
    assert done.json == {
        "outcome": "completed",
        "pipeline_id": "orders",
        "window_start_time": "2026-11-21T00:00:00-08:00",
        "window_end_time": "2026-11-21T02:00:00-08:00",
        "claim_token": first(runner)["claim_token"],
        "attempt": 1,
        "exit_code": 0,
    }
    assert done.err == ""
    assert (first(runner)["status"], first(runner)["run_id"]) == ("COMPLETED", "run-1")
    detail = first(runner)["last_detail"]
    assert detail["exit_code"] == 0
    assert 0 <= detail["seconds"] < 60


@pytest.mark.parametrize(
    ("script", "exit_code", "reason", "noted"),
    [
        ("exit 3", 3, "exit code 3", "exit code 3"),
        ("echo no space >&2; exit 99", 99, "exit code 99", "exit code 99: no space"),
        ("echo hm >&2; kill -KILL $$", 137, "killed by SIGKILL", "killed by SIGKILL: hm"),
    ],
)
def test_any_other_end_fails_it_with_the_end_of_its_standard_error(
    run, runner, script, exit_code, reason, noted
):
    done = run(*shell(script))

    assert done.code == 1
    assert done.json["outcome"] == "failed"
    assert (done.json["exit_code"], done.json["reason"]) == (exit_code, reason)
    assert done.err.splitlines()[-1] == (
        f"record-ledger: orders, window 2026-11-21T00:00:00-08:00: the command failed: {reason}"
    )
    assert first(runner)["last_detail"]["error"] == noted
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 1)


def test_with_nothing_to_do_it_says_why_and_exits_99(run, clock, tmp_path):
    clock.set("2026-11-22T08:30:00Z")

    done = run(*shell(f"touch {tmp_path}/ran"))

    assert done.code == 99
    assert done.json["outcome"] == "nothing"
    assert (done.json["pipeline_id"], done.json["verdict"]) == ("orders", "UNSTABLE")
    assert "2026-11-21T00:00:00-08:00" in done.json["reason"]
    assert not (tmp_path / "ran").exists()


def test_a_run_that_had_its_record_gets_no_second_one(run):
    assert run("--run-id", "once", "--", "true").code == 0

    done = run("--run-id", "once", "--", "true")

    assert (done.code, done.json["verdict"]) == (99, "ALREADY_DONE")


def test_arguments_are_templates_over_the_record(run):
    done = run(
        "--",
        "printf",
        "%s|",
        "{{ window_start_time.strftime('%Y/%m/%d %H') }}",
        "{{ window_end_time.add(hours=1).to_iso8601_string() }}",
        "{{ source_name | upper }}-{{ target_day }}",
        "{{ attempt + 1 }}",
        "{{ window_end_time | utc }}",
        "{as it is} %s\n",
        "two\nlines {{ time_interval }}\n",
        "{# gone #}",
    )

    assert done.code == 0, done.err
    assert "\n".join(done.out.split("\n")[:-2]) == (
        "2026/11/21 00|2026-11-21T03:00:00-08:00|ELASTICSEARCH-2026-11-21|2|2026-11-21T10:00:00|"
        "{as it is} %s\n"
        "|two\nlines 2h\n||"
    )


def test_an_argument_that_is_no_template_takes_no_record(run, runner):
    done = run("--", "echo", "fine", "{{ target_day", "{{ x | no_such_filter }}")

    assert done.code == 1
    assert done.out == ""
    assert "argument 2 of the command, '{{ target_day', is no template" in done.err
    assert "argument 3 of the command" in done.err and "no_such_filter" in done.err
    assert runner.pipelines() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["echo", "{{ target_day }}", "x{{ windw }}"],
            "argument 2 of the command, 'x{{ windw }}': 'windw' is undefined; available are att",
        ),
        (["{{ tool }}"], "the command, '{{ tool }}': 'tool' is undefined"),
        (["echo", "{{ 1 / 0 }}"], "argument 1 of the command, '{{ 1 / 0 }}': the template failed"),
        (["echo", "{{ target_day | utc }}"], "is no time that could be told in UTC"),
        (["echo", "{{ ''.__class__.__mro__ }}"], "argument 1 of the command"),
    ],
)
def test_an_argument_that_cannot_be_rendered_releases_the_record(run, runner, arguments, says):
    done = run("--", *arguments)

    assert done.code == 1
    assert done.json["outcome"] == "released"
    assert done.json["exit_code"] is None
    assert says in done.json["reason"]
    assert done.err.count("\n") == 1
    assert says in done.err
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-such-command", "No such file or directory"),
        ("{folder}/plain", "Permission denied"),
        ("{folder}/no-interpreter", "No such file or directory"),
        ("{folder}/nonsense", "Exec format error"),
        ("", ""),
    ],
)
def test_a_command_that_cannot_be_started_releases_the_record(run, runner, tmp_path, name, reason):
    for file, text, mode in (
        ("plain", "exit 0", 0o644),
        ("no-interpreter", "#!/no/such/interpreter\n", 0o755),
        ("nonsense", "exit 0", 0o755),
    ):
        (tmp_path / file).write_text(text)
        (tmp_path / file).chmod(mode)
    name = name.format(folder=tmp_path)

    done = run("--", name)

    assert done.code == 1
    assert done.json["outcome"] == "released"
    assert f"{name!r} cannot be started: {reason}" in done.err
    assert "Traceback" not in done.err
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 0)


def test_everything_after_the_first_dashes_is_the_commands(run):
    done = run("--", "echo", "--", "--jobs", "0", "--config")

    assert done.out.splitlines()[0] == "-- --jobs 0 --config"


# ---------------------------------------------------------------- the environment
DUMP = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"


@pytest.fixture
def environment_of(command, config, clock, tmp_path):
    """Runs exec on a record with these fields; returns the environment that the command had."""
    clock.set(NOON)

    def run(fields, *options):
        path = tmp_path / "environment.json"
        text = json.dumps(config("orders", fields=fields))
        dump = ["--", sys.executable, "-c", DUMP, str(path)]
        done = command("exec", "--config", "-", *options, *dump, stdin=text)
        assert done.code == 0, done.err
        return json.loads(path.read_text()), done

    return run


def test_the_environment_holds_the_record(environment_of, runner):
    found, _ = environment_of({"key_x": "a=b\nc"}, "--run-id", "run-1")

    record = json.loads(found["RECORD_LEDGER_RECORD"])
    assert record["source_name"] == "elasticsearch"
    assert record["status"] == "IN_PROGRESS"
    expected = {
        "PIPELINE_ID": "orders",
        "TARGET_DAY": "2026-11-21",
        "WINDOW_START_TIME": "2026-11-21T00:00:00-08:00",
        "WINDOW_END_TIME": "2026-11-21T02:00:00-08:00",
        "TIME_INTERVAL": "2h",
        "GENERATION": "1",
        "ATTEMPT": "1",
        "CLAIM_TOKEN": str(first(runner)["claim_token"]),
        "RUN_ID": "run-1",
        "LEASE_EXPIRES_AT": "2026-11-22T13:00:00-08:00",
        "FIELD_SOURCE_NAME": "elasticsearch",
        "FIELD_TARGET_NAME": "snowflake",
        "FIELD_KEY_X": "a=b\nc",
    }
    assert {name: found[f"RECORD_LEDGER_{name}"] for name in expected} == expected


def test_fields_that_are_no_texts_or_numbers_are_in_the_json_only(environment_of, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_FIELD_OF_AN_OUTER_EXEC", "stale")
    found, done = environment_of(
        {
            "rows-per file": 10, "ratio": 0.5, "full": True, "größe": "l",
            "nothing": None, "list": [1], "dict": {"a": 1}, "same.name": 1, "same_name": 2,
        }
    )  # fmt: skip

    prefix = "RECORD_LEDGER_FIELD_"
    assert {name[len(prefix) :]: found[name] for name in found if name.startswith(prefix)} == {
        "SOURCE_NAME": "elasticsearch",
        "TARGET_NAME": "snowflake",
        "ROWS_PER_FILE": "10",
        "RATIO": "0.5",
        "FULL": "true",
        "GR_SSE": "l",
    }
    assert "same.name, same_name" in done.err
    assert json.loads(found["RECORD_LEDGER_RECORD"])["größe"] == "l"


def test_commands_find_the_ledger_of_exec_without_a_password_of_its_options(
    environment_of, ledger_dsn, monkeypatch
):
    found, _ = environment_of({})
    assert found["RECORD_LEDGER_DSN"] == ledger_dsn

    # That of the environment is another one: no command of exec may take it for its own.
    monkeypatch.setenv("RECORD_LEDGER_DSN", "host=/nowhere")
    found, _ = environment_of({}, "--dsn", f"{ledger_dsn} password=s3cret")
    assert conninfo_to_dict(found["RECORD_LEDGER_DSN"]) == conninfo_to_dict(ledger_dsn)
    assert "s3cret" not in str(found)


def test_a_command_reaches_the_ledger_of_its_exec(command, config, clock, ledger_dsn, monkeypatch):
    clock.set(NOON)
    monkeypatch.setenv("RECORD_LEDGER_DSN", "host=/nowhere")
    script = f"{sys.executable} -m record_ledger observe source 5"

    text = json.dumps(config("orders"))
    done = command("exec", "--dsn", ledger_dsn, "--config", "-", *shell(script), stdin=text)

    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[0])["outcome"] == "observed"


def test_a_connection_string_that_cannot_be_read_is_one_message(command, config_file, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "0")  # `cret@` is not there: it is asked once
    done = command(
        "exec", "--dsn", "postgresql://me:s3@cret@", "--config", config_file, "--", "true"
    )

    assert done.code == 1
    assert "s3" not in done.err and "Traceback" not in done.err


def test_wrong_options_are_wrong_usage(command):
    for options in (
        ["--config", "x"],
        ["--", "true"],
        ["--config", "x", "--jobs", "0", "--", "true"],
        ["--config", "x", "--grace", "-1", "--", "true"],
        ["--config", "x", "--grace", "nan", "--", "true"],
    ):
        done = command("exec", *options)
        assert (done.code, done.out) == (2, "")
