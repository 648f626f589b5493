"""exec passes on what its command prints: all of it, as it is, while it comes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from tests.runner.processes import DEADLINE, NOON, content, shell, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands are shell scripts")


@pytest.fixture
def run(started, config_file, clock):
    clock.set(NOON)

    def start(*arguments, **options):
        return started("--config", config_file, *arguments, **options)

    return start


def error_of(runner):
    return runner.pipeline_records("orders", limit=1)[0]["last_detail"]["error"]


def python(program, *arguments):
    return ["--", sys.executable, "-c", program, *map(str, arguments)]


def test_standard_output_comes_through_unchanged_however_much_it_is(run):
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 40_000)"

    done = run(*python(program))

    assert done.ended() == 0
    *_, last = done.out.splitlines()
    assert done.out == bytes(range(256)) * 40_000 + b"\n" + last + b"\n"
    assert json.loads(last)["outcome"] == "completed"


def test_both_streams_at_once_do_not_block_each_other(run, runner):
    program = """
import sys, threading
def write(stream, byte):
    for _ in range(200):
        stream.write(byte * 9999 + b"\\n")
threads = [threading.Thread(target=write, args=a) for a in ((sys.stdout.buffer, b"o"),
                                                            (sys.stderr.buffer, b"e"))]
[t.start() for t in threads]; [t.join() for t in threads]
sys.exit(1)
"""
    done = run(*python(program))

    assert done.ended() == 1
    assert done.out.count(b"o" * 9999 + b"\n") == 200
    assert done.err.count("e" * 9999 + "\n") == 200
    assert error_of(runner) == "exit code 1: " + "e" * 3999


def test_the_json_has_a_line_of_its_own_after_output_without_a_line_break(run):
    done = run(*shell("printf abc; printf def >&2; exit 1"))

    assert done.ended() == 1
    assert done.out.splitlines()[0] == b"abc"
    assert done.json["outcome"] == "failed"
    assert done.err.splitlines()[0] == "def"


def test_the_end_of_standard_error_is_kept_whatever_it_is(run, runner, tmp_path):
    written = [
        (b"\xff\xfe\x00bad\x1b[31m", ": \ufffd\ufffdbad\x1b[31m"),
        ("ä".encode() * 3000 + b"!", ": " + "ä" * 1999 + "!"),  # cut within a character
        (b"\n" * 5000, ""),
        (b"cannot reach postgresql://me:s3cret@there/db", ": cannot reach postgresql://me:***@"),
    ]
    for number, (data, _) in enumerate(written):
        (tmp_path / str(2 * number)).write_bytes(data)
    cat = ["cat", f"{tmp_path}/{{{{ window_start_time.hour }}}}"]

    done = run("--drain", "--", "sh", "-c", 'cat "$1" >&2; exit 2', *cat)

    assert done.ended() == 1
    err = (tmp_path / "exec0" / "exec.err").read_bytes()
    assert all(data in err for data, _ in written)
    for (_, noted), record in zip(written, runner.pipeline_records("orders"), strict=False):
        error = record["last_detail"]["error"]
        assert error.startswith("exit code 2" + noted)
        assert noted or error == "exit code 2"
        assert "s3cret" not in error


def test_output_is_passed_on_while_the_command_runs(run, tmp_path):
    os.mkfifo(tmp_path / "go")

    done = run(*shell(f"printf begun; printf begun >&2; read x < {tmp_path}/go"))

    until(lambda: done.out == b"begun" and done.err == "begun", "what was printed so far")
    (tmp_path / "go").write_text("on\n")
    assert done.ended() == 0


def test_the_command_reads_our_standard_input(run, tmp_path):
    (tmp_path / "input").write_text("from outside\n")

    with (tmp_path / "input").open() as given:
        done = run(*shell("cat"), stdin=given)

    assert done.ended() == 0
    assert done.out.splitlines()[0] == b"from outside"


def test_a_reader_that_has_gone_ends_the_command_as_without_us(ledger_dsn, config_file, clock):
    clock.set(NOON)
    process = subprocess.Popen(
        [sys.executable, "-m", "record_ledger", "exec", "--config", str(config_file), "--", "yes"],
        env={**os.environ, "RECORD_LEDGER_DSN": ledger_dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()

    assert process.wait(60) == 1
    assert "the command failed: killed by SIGPIPE" in err
    assert "Traceback" not in err


def test_lines_of_parallel_commands_are_whole(run, tmp_path):
    # Each writes its lines in pieces, while the other one does.
    program = """
import pathlib, sys
name, other, here = sys.argv[1], "ab"[sys.argv[1] == "a"], pathlib.Path(sys.argv[2])
(here / name).touch()
while not (here / other).exists(): pass
for _ in range(300):
    for piece in (name, name * 2000, "\\n"):
        sys.stdout.write(piece); sys.stdout.flush()
        sys.stderr.write(piece); sys.stderr.flush()
sys.stdout.write(name * 2001)
"""
    half = "{{ 'a' if window_start_time.hour == 0 else 'b' }}"

    done = run("--jobs", "2", *python(program, half, tmp_path))

    assert done.ended() == 0
    *lines, _ = done.out.splitlines()
    assert sorted(lines) == [b"a" * 2001] * 301 + [b"b" * 2001] * 301
    assert sorted(done.err.splitlines()) == ["a" * 2001] * 300 + ["b" * 2001] * 300


def test_what_a_command_leaves_behind_is_ended_before_its_record_is(run, runner, tmp_path):
    left = f"""trap 'echo ended > {tmp_path}/left; exit' TERM; echo > {tmp_path}/on
        while :; do sleep 0.01; done"""
    (tmp_path / "left.sh").write_text(left)
    os.mkfifo(tmp_path / "on")

    done = run(*shell(f"sh {tmp_path}/left.sh & read x < {tmp_path}/on"))

    assert done.ended() == 0
    assert (tmp_path / "left").read_text() == "ended\n"
    assert runner.pipeline_records("orders", limit=1)[0]["status"] == "COMPLETED"


@pytest.mark.parametrize("says", ["", "x"], ids=["silent", "chatty"])
def test_a_daemon_that_keeps_the_pipes_open_is_not_waited_for(run, tmp_path, says):
    program = """
import os, sys, time
here, says = sys.argv[1:]
print("begun", flush=True)
if os.fork() == 0:
    os.setsid()
    open(here, "w").close()
    while os.path.exists(here):
        time.sleep(0.001)
        os.write(1, says.encode())
else:
    while not os.path.exists(here): pass
"""
    done = run(*python(program, tmp_path / "daemon", says))

    assert done.ended() == 0
    (tmp_path / "daemon").unlink()
    assert done.out.startswith(b"begun\n")
    assert done.json["outcome"] == "completed"


@pytest.fixture
def in_terminal(ledger_dsn, config_file, clock):
    """Starts exec in a terminal of its own; gives the process and the terminal's other end."""
    clock.set(NOON)
    opened = []

    def start(*arguments):
        master, terminal = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "record_ledger", "exec", "--config", config_file, *arguments],
            env={**os.environ, "RECORD_LEDGER_DSN": ledger_dsn},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(terminal)
        opened.append((process, master))
        return process, master

    yield start
    for process, master in opened:
        process.kill()
        process.wait()
        os.close(master)


def shown(master):
    """Returns what the terminal showed until the last process had left it."""
    text = b""
    with suppress(OSError):  # EIO is its end
        while True:
            readable, _, _ = select.select([master], [], [], DEADLINE)
            assert readable, f"the terminal shows no end within {DEADLINE} s: {text!r}"
            data = os.read(master, 65536)
            if not data:
                break
            text += data
    return text.decode().replace("\r\n", "\n")


def test_a_terminal_is_the_commands_own(in_terminal):
    process, master = in_terminal(*shell("test -t 0 && test -t 1 && echo yes"))

    first, last = shown(master).splitlines()

    assert process.wait(60) == 0
    assert first == "yes"
    assert json.loads(last)["outcome"] == "completed"


def test_ctrl_c_reaches_the_command_once(in_terminal, tmp_path):
    script = f"trap 'echo interrupted; n=1' INT; echo > {tmp_path}/on; until [ $n ]; do :; done"
    process, master = in_terminal(*shell(script))
    content(tmp_path / "on")

    os.write(master, b"\x03")

    text = shown(master)
    assert process.wait(60) == 130
    assert text.count("interrupted") == 1
    assert json.loads(text.splitlines()[-1])["outcome"] == "completed"
