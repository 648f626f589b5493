"""Ends the commands of a process that is gone, however it ended: also by kill -9."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from . import logs

if TYPE_CHECKING:
    from types import TracebackType

_PR_SET_CHILD_SUBREAPER = 36

# Reads `+ GROUP` and `- GROUP`. Its input ends with the process that writes to it, whatever ended
# that one, and then the groups that are left are killed. It outlives signals to everybody: a
# service manager that stops a unit sends them to each process of it.
_PROGRAM = """
trap '' HUP INT TERM
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guard:
    """Kills every process group that is still watched when this process is gone.

    A small shell does it, from a session of its own and at the end of a pipe: on any POSIX system,
    and for all that a command started in its group. Where there is no `sh`, Linux itself ends the
    command, and the command only, when it loses its parent (PR_SET_PDEATHSIG). Elsewhere the lease
    is the only guard: the record is not passed on before it has run out.

    Inside of its `with` block, what a command leaves behind becomes a child of this process (on
    Linux), so that its end is noticed: see `reap`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adopts = False
        self._shell: subprocess.Popen[bytes] | None = None
        shell = shutil.which("sh") if os.name == "posix" else None
        if shell is None:
            logs.logger.info(logs.line(event="no_guard", reason="there is no sh"))
            return
        # By nothing in its arguments does `pkill -f record-ledger` find it, when that is what
        # ended us.
        self._shell = subprocess.Popen(
            [shell, "-c", _PROGRAM],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    @property
    def is_there(self) -> bool:
        """Whether there is a shell to guard the groups."""
        return self._shell is not None

    def __enter__(self) -> Guard:
        self._adopts = _adopt_orphans(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with suppress(OSError):
                self._shell.stdin.close()
            self._shell.wait()
        if self._adopts:
            _adopt_orphans(False)

    def watch(self, group: int) -> None:
        """Has the group killed when this process is gone before `forget`."""
        self._send(f"+ {group}\n")

    def forget(self, group: int) -> None:
        """Leaves the group alone: it has ended, and another may get its number."""
        self._send(f"- {group}\n")

    def _send(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None:
            return
        try:
            with self._lock:
                self._shell.stdin.write(line.encode("ascii"))
        except OSError as error:
            logs.logger.warning(logs.line(event="guard_lost", reason=str(error)))


def reap(group: int) -> None:
    """Takes note of ended processes of the group that are ours: as zombies they would count.

    The process number 1 of a container often does not do that, or it is this one.
    """
    if sys.platform != "win32":
        with suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass


def _adopt_orphans(wanted: bool) -> bool:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without it
            return int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)) == 0
    return False
