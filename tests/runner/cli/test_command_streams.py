"""What the command line reads and prints, whatever its streams and its locale are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOON = "2026-11-22T20:00:00Z"
NAME = "Größe 大"

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell"),
    pytest.mark.slow,
]


@pytest.fixture
def shell(ledger_dsn, config, clock, tmp_path):
    """Runs a shell text in which `$CLI` is record-ledger and config.json a config."""
    clock.set(NOON)
    sizes = config("größen", default_record={"pipeline_id": "größen", "name": NAME})
    (tmp_path / "config.json").write_text(json.dumps(sizes, ensure_ascii=False), encoding="utf-8")

    def run(text, **variables):
        return subprocess.run(
            ["sh", "-c", text],
            cwd=tmp_path,
            env={
                **os.environ,
                "RECORD_LEDGER_DSN": ledger_dsn,
                "CLI": f"{sys.executable} -m record_ledger",
                "PYTHONUTF8": "0",
                **variables,
            },
            capture_output=True,
            check=False,
            timeout=60,
        )

    return run


# ---------------------------------------------------------------- encodings
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_json_in_every_encoding_and_ends_the_claim(shell, runner, encoding):
    done = shell(
        "$CLI run --config config.json > passed.json && $CLI complete --record passed.json",
        PYTHONIOENCODING=encoding,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pipeline_id"] == "größen"
    (record,) = runner.pipeline_records("größen", limit=1)
    assert (record["status"], record["fields"]["name"]) == ("COMPLETED", NAME)


def test_a_character_that_the_output_cannot_show_is_escaped(shell):
    done = shell(
        "$CLI run --config config.json && $CLI status && $CLI history größen 2026-11-21",
        PYTHONIOENCODING="ascii",
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"\ngr\\xf6\\xdfen  " in done.stdout


@pytest.mark.parametrize(("encoding", "mark"), [("latin-1", b""), ("utf-8", b"\xef\xbb\xbf")])
def test_standard_input_is_utf_8_whatever_the_locale_says(shell, runner, tmp_path, encoding, mark):
    (tmp_path / "input").write_bytes(mark + (tmp_path / "config.json").read_bytes())

    done = shell("$CLI run --config - < input", PYTHONIOENCODING=encoding)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["record"]["name"] == NAME
    assert [row["pipeline_id"] for row in runner.pipelines()] == ["größen"]


# ---------------------------------------------------------------- streams that are not there
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("$CLI status >&-", 0),
        (
            "$CLI exec --config config.json -- sh -c 'cat; echo out; echo err >&2' <&- >&- 2>&-",
            0,
        ),
        ("$CLI run --config - <&-", 1),
    ],
)
def test_a_stream_that_is_closed_is_one_that_nobody_reads(shell, text, code):
    done = shell(text)

    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr


@full_disk
@pytest.mark.parametrize("arguments", ["status", "--version"])
def test_output_that_cannot_be_written_is_one_message(shell, arguments):
    done = shell(f"$CLI {arguments} > /dev/full")

    assert done.returncode == 1
    assert done.stderr == b"record-ledger: No space left on device\n"


@full_disk
def test_a_record_whose_passing_could_not_be_told_is_released(shell, runner):
    done = shell("$CLI run --config config.json --run-id first > /dev/full")

    assert done.returncode == 1
    assert done.stderr == b"record-ledger: No space left on device\n"
    assert [event["event"] for event in runner.record_events("größen")] == ["passed", "released"]
    again = shell("$CLI run --config config.json --run-id first")
    assert json.loads(again.stdout)["record"]["attempt"] == 1


@full_disk
def test_an_exec_whose_answer_could_not_be_told_has_completed_its_record(shell, runner):
    done = shell("$CLI exec --config config.json -- true > /dev/full")

    assert done.returncode == 1
    assert done.stderr == b"record-ledger: No space left on device\n"
    assert runner.pipeline_records("größen", limit=1)[0]["status"] == "COMPLETED"
