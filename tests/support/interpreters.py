"""A bash and a Python that live for a whole document and run one piece of it at a time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 300.0
_MARK = "@@ end of step @@"

_PYTHON = """
import sys, traceback
namespace = {"__name__": "__main__"}
for line in sys.stdin:
    mode, path = line.strip().split(" ", 1)
    status = 0
    try:
        with open(path, encoding="utf-8") as file:
            exec(compile(file.read(), "<document>", mode), namespace)
    except BaseException:
        status = 1
        kind, error, tb = sys.exc_info()
        traceback.print_exception(kind, error, tb.tb_next, chain=False)
    sys.stderr.flush()
    print("\\n%(mark)s", status, flush=True)
""" % {"mark": _MARK}  # noqa: UP031 (the script is full of braces)

_BASH = """
__failed=0; {before}
. {path} </dev/null
__status=$?; trap - ERR
printf '\\n%s %s\\n' '{mark}' "{status}"
"""


@dataclass
class Outcome:
    """A step's output (stdout and stderr as they came) and its exit status."""

    printed: str
    status: int


class Interpreter:
    """A process that reads, line by line, the name of the next file to run."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def _exchange(self, line: str) -> Outcome:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        printed = self._read_to_mark()
        output, _, status = printed.rpartition("\n" + _MARK)
        return Outcome(output, int(status))

    def _read_to_mark(self) -> str:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        printed = b""
        until = time.monotonic() + DEADLINE
        while not (printed.endswith(b"\n") and _MARK.encode() in printed):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(descriptor, 65536) if ready else b""
            if not chunk:
                what = "it ended the interpreter" if ready else f"no end within {DEADLINE} s"
                raise AssertionError(f"{what}; printed so far:\n{printed.decode(errors='replace')}")
            printed += chunk
        return printed.decode(errors="replace")

    def close(self) -> None:
        """Ends the process and all that it started."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Bash(Interpreter):
    """One shell: variables and the working directory stay from step to step."""

    def __init__(self, folder: Path, environment: dict[str, str], scripts: Path) -> None:
        super().__init__(["bash", "--noprofile", "--norc"], folder, environment)
        self._script = scripts / "step.sh"
        self._last = 0

    def run(self, text: str, *, every_command: bool = False) -> Outcome:
        """Runs a script; the status is the last command's, with `every_command` a failed one's."""
        self._script.write_text(text + "\n", encoding="utf-8")
        outcome = self._exchange(
            _BASH.format(
                before="trap '__failed=$?' ERR" if every_command else f"(exit {self._last})",
                path=self._script,
                mark=_MARK,
                status="$__failed" if every_command else "$__status",
            )
        )
        self._last = outcome.status
        return outcome


class Python(Interpreter):
    """One Python: names stay from step to step."""

    def __init__(self, folder: Path, environment: dict[str, str], scripts: Path) -> None:
        super().__init__([sys.executable, "-c", _PYTHON], folder, environment)
        self._script = scripts / "step.py"

    def run(self, text: str, *, interactive: bool = False) -> Outcome:
        """Runs code; `interactive` prints the value of an expression, as the prompt does."""
        self._script.write_text(text, encoding="utf-8")
        return self._exchange(f"{'single' if interactive else 'exec'} {self._script}\n")
