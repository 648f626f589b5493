"""exec gives its command the whole record in a file, also where a variable is too small for it."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import sys
from pathlib import Path

import pytest

from tests.runner.processes import NOON, content, shell, until

pytestmark = pytest.mark.slow

KIB = 1024
# Writes what the command found: the modes of its file and folder, the file's text, and its names.
LOOK = """
import json, os, sys
path = os.environ["RECORD_LEDGER_RECORD_FILE"]
json.dump(
    {
        "path": path,
        "modes": [os.stat(name).st_mode for name in (path, os.path.dirname(path))],
        "record": json.load(open(path)),
        "names": sorted(n for n in os.environ if n.startswith("RECORD_LEDGER_")),
    },
    open(sys.argv[1], "w"),
)
"""


@pytest.fixture
def run(command, config, clock, tmp_path):
    """Runs exec on a record with these fields."""
    clock.set(NOON)

    def run_exec(fields, *arguments):
        text = json.dumps(config("orders", fields=fields))
        return command("exec", "--config", "-", *arguments, stdin=text)

    return run_exec


@pytest.fixture
def look(run, tmp_path):
    """What such a command finds, and how exec ended."""

    def look_at(fields, *options):
        done = run(fields, *options, "--", sys.executable, "-c", LOOK, tmp_path / "found")
        assert done.code == 0, done.err
        return json.loads((tmp_path / "found").read_text()), done

    return look_at


def first(runner):
    return runner.pipeline_records("orders", limit=1)[0]


def test_the_file_holds_the_record_for_its_command_alone(look, runner):
    found, done = look({"key_x": "größe"})

    assert found["record"]["key_x"] == "größe"
    assert found["record"]["claim_token"] == first(runner)["claim_token"]
    assert [stat.S_IMODE(mode) for mode in found["modes"]] == [0o600, 0o700]
    assert done.err == ""
    assert not Path(found["path"]).exists()
    assert not Path(found["path"]).parent.exists()


def test_each_parallel_command_has_a_file_of_its_own(run, tmp_path):
    script = f"""cp "$RECORD_LEDGER_RECORD_FILE" {tmp_path}/$RECORD_LEDGER_CLAIM_TOKEN.copy
        echo "$RECORD_LEDGER_RECORD" | cmp - "$RECORD_LEDGER_RECORD_FILE" """

    done = run({}, "--drain", "--jobs", "3", *shell(script))

    assert done.code == 0, done.err
    copies = [json.loads(path.read_text()) for path in tmp_path.glob("*.copy")]
    assert len({copy["window_start_time"] for copy in copies}) == done.json["completed"] == 6


@pytest.mark.parametrize("length", [100 * KIB, 128 * KIB, 200_000])
def test_a_field_that_is_too_long_for_a_variable_is_in_the_file(look, length):
    found, done = look({"sql": "x" * length, "short": "y"})

    assert found["record"]["sql"] == "x" * length
    assert "RECORD_LEDGER_FIELD_SHORT" in found["names"]
    is_short = length == 100 * KIB
    assert ("RECORD_LEDGER_FIELD_SQL" in found["names"]) is is_short
    assert ("name=RECORD_LEDGER_FIELD_SQL" in done.err) is not is_short
    if not is_short:
        assert "RECORD_LEDGER_RECORD" not in found["names"]
        assert "instead=RECORD_LEDGER_RECORD_FILE" in done.err


def test_many_fields_that_are_too_long_together_are_in_the_file(look, monkeypatch):
    fields = {f"f{number}": "x" * 2_500 for number in range(80)}
    monkeypatch.setattr("record_ledger.exec.environment._MOST_TOGETHER", 128 * 1024)

    found, done = look(fields)

    assert found["record"]["f79"] == "x" * 2_500
    assert "RECORD_LEDGER_CLAIM_TOKEN" in found["names"]
    (line,) = [line for line in done.err.splitlines() if "no room for more" in line]
    assert "RECORD_LEDGER_FIELD_F0, " in line and " more" in line


def test_a_variable_of_an_exec_around_it_is_not_taken_for_its_own(look, monkeypatch):
    monkeypatch.setenv("RECORD_LEDGER_RECORD", "{}")
    monkeypatch.setenv("RECORD_LEDGER_RECORD_FILE", "/outer")

    found, _ = look({"sql": "x" * 200_000})

    assert "RECORD_LEDGER_RECORD" not in found["names"]
    assert found["path"] != "/outer"


def test_a_command_counts_a_record_that_is_too_long_for_a_variable(run, runner):
    observe = f"{sys.executable} -m record_ledger observe source 5"

    done = run({"sql": "x" * 200_000}, *shell(observe))

    assert done.code == 0, done.err
    assert runner.record_observations("orders")[0]["is_evidence"]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("{{ sql }}", "argument 1 of the command is 200,000 bytes long, and the system takes less"),
        ("{{ '\\0' }}", "argument 1 of the command holds a NUL character"),
    ],
)
def test_an_argument_that_the_system_does_not_take_is_said_by_its_number(
    run, runner, argument, says
):
    done = run({"sql": "x" * 200_000}, "--", "echo", argument)

    assert (done.code, done.json["outcome"]) == (1, "released")
    assert says in done.json["reason"]
    assert "'echo'" not in done.json["reason"]
    assert (first(runner)["status"], first(runner)["attempt"]) == ("PENDING", 0)


def test_arguments_that_are_too_long_together_are_said_so(run):
    done = run({}, "--", "echo", *["x" * 100_000] * 70)

    assert done.json["outcome"] == "released"
    assert done.json["reason"].startswith("the arguments of the command and the environment are 7,")


def test_the_smallest_room_of_the_system_is_kept(started, config, clock, tmp_path):
    clock.set(NOON)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config("orders", fields={"a": "x" * 90_000, "b": "y" * 90_000})))

    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (512 * KIB, hard))
    try:
        done = started("--config", path, "--", "true")
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))

    assert done.ended() == 0, done.err
    assert "the system has no room for more" in done.err


def test_a_text_that_the_locale_lacks_is_in_the_file(started, config, clock, tmp_path):
    clock.set(NOON)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config("orders", fields={"size": "大"})), encoding="ascii")
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    program = "import os; print(open(os.environ['RECORD_LEDGER_RECORD_FILE']).read())"

    done = started("--config", path, "--", sys.executable, "-c", program, **ascii_only)

    assert done.ended() == 0, done.err
    assert json.loads(done.out.splitlines()[0])["size"] == "大"
    assert "name=RECORD_LEDGER_FIELD_SIZE" in done.err

    named = started("--config", path, "--", "echo", "{{ size }}", **ascii_only)

    assert named.ended() == 1
    assert "argument 1 of the command holds" in named.json["reason"]


def test_no_room_for_files_passes_no_record(run, runner, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkdtemp", full)

    done = run({}, "--", "true")

    assert done.code == 1
    assert done.err == (
        "record-ledger: the files of records cannot be made (No space left on device); set TMPDIR "
        "to a folder with room\n"
    )
    assert runner.pipelines() == []


def test_a_file_that_cannot_be_written_releases_the_record(run, runner, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path / "gone"))

    done = run({}, "--", "true")

    assert (done.code, done.json["outcome"]) == (1, "released")
    assert f"its file cannot be written in {tmp_path}/gone: No such file" in done.json["reason"]
    assert first(runner)["attempt"] == 0


def test_kill_9_of_exec_leaves_no_file(started, config_file, clock, tmp_path):
    clock.set(NOON)
    folder = tmp_path / "two  blanks"
    folder.mkdir()
    script = f'echo "$RECORD_LEDGER_RECORD_FILE" > {tmp_path}/on; exec sleep 600'
    done = started("--config", config_file, *shell(script), TMPDIR=str(folder))
    path = Path(content(tmp_path / "on"))
    assert path.exists() and path.parent.parent == folder

    done.signal(signal.SIGKILL)
    done.ended()

    until(lambda: not path.parent.exists(), "the folder's end")
