"""Ends the commands of a process that cannot: it is gone, however it ended, or it stands still.

What the guard does. It kills the process group of a command when our process is gone, also by
kill -9, and when the lease is over and our process has not said that it was extended: it is stopped
(SIGSTOP, Ctrl-Z, a debugger), or its machine was suspended, or it hangs. Time is counted by
/proc/uptime where that is there (Linux; it goes on while the machine is suspended), else by what
`sleep` counts. Nothing is ended while heartbeats come through.

What it cannot do. It does not see what has left the group (a daemon), nor processes that became
another user's. It is stopped itself where all of a container or a machine is; then nothing of the
command runs either, and it acts when both go on. Without `sh` there is no guard: then Linux kills
the command, and the command only, when our process is gone (PR_SET_PDEATHSIG), and nothing ends the
command of one that stands still. Without Linux too, and when the machine itself is lost, only the
lease guards: the record is passed to no other run before it has run out.
"""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from record_ledger import logs

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_PR_SET_CHILD_SUBREAPER = 36
# So long the end of an exec waits for that of its guard, which has next to nothing to do.
_LONGEST_GOODBYE = 10.0

# Reads `+ GROUP`, `= GROUP LEFT` (hundredths of a second of its lease), `- GROUP` and `d FOLDER`.
# Its input ends with the process that writes to it, whatever ended that one; then the groups that
# are left are killed, and the folder is removed. It outlives signals to everybody: a service
# manager that stops a unit sends them to each process of it.
#
# For each lease a watcher sleeps in the background, half a minute at a time at most: no sleep
# counts the time of a suspended machine. At its end a process that is stopped has its group killed
# at once; one that is not gets a second more, because it ends its command by itself, and more
# gently. A watcher that is not needed any more gets USR1: it ends its sleep, and itself.
_PROGRAM = """
set -f
trap '' HUP INT TERM
groups=' '
folder=
clock() {
    read -r now rest </proc/uptime || return
    now=${now%.*}${now#*.}
}
is_stopped() {
    read -r state </proc/$PPID/stat || return
    case ${state##*) } in [Tt]*) return 0 ;; esac
    return 1
}
nap() {
    sleep "$1" &
    sleeper=$!
    wait "$sleeper"
}
watch() {
    sleeper=
    trap 'kill -s KILL $sleeper; wait $sleeper; exit' USR1
    if clock; then
        end=$((now + $2))
        while left=$((end - now)) && [ "$left" -gt -100 ]; do
            if [ "$left" -le 0 ]; then
                is_stopped && break
                left=10
            elif [ "$left" -gt 3000 ]; then
                left=3000
            fi
            # Not every system's sleep knows parts of a second: then the last one is not slept.
            if [ "$left" -ge 100 ]; then
                nap "$((left / 100))"
            else
                nap "0.$(((left + 9) / 10))"
            fi
            clock || break
        done
    else
        nap "$(($2 / 100 + 1))"
    fi
    kill -s KILL -- "-$1"
    # Until it is forgotten: its number could be another process's by then.
    while kill -s 0 $$; do nap 60; done
}
forget() {
    eval "watcher=\\$watcher_$1"
    eval "watcher_$1="
    [ -z "$watcher" ] || { kill -s USR1 "$watcher"; wait "$watcher"; }
}
while IFS= read -r line; do
    set -- $line
    case $1 in
        +) groups="$groups$2 " ;;
        =)
            forget "$2"
            watch "$2" "$3" </dev/null &
            eval "watcher_$2=$!"
            ;;
        -)
            groups="${groups%% $2 *} ${groups#* $2 }"
            forget "$2"
            ;;
        d) folder=${line#d } ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
    forget "$group"
done
[ -z "$folder" ] || rm -rf -- "$folder"
"""


class Guard:
    """Kills every process group that is still watched when this process is gone, or stands still.

    A small shell does it, from a session of its own and at the end of a pipe: see the module.

    Inside of its `with` block, what a command leaves behind becomes a child of this process (on
    Linux), so that its end is noticed: see `reap`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adopts = False
        self._is_lost = False
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
        if self._shell.stdin is not None:
            # One that is stopped itself does not read: no heartbeat waits for that.
            os.set_blocking(self._shell.stdin.fileno(), False)

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
            try:
                self._shell.wait(_LONGEST_GOODBYE)
            except subprocess.TimeoutExpired:  # it is stopped itself
                self._shell.kill()
                self._shell.wait()
        if self._adopts:
            _adopt_orphans(False)

    def watch(self, group: int, seconds: float) -> None:
        """Has the group killed when this process is gone before `forget`, and as `hold` does."""
        self._send(f"+ {group}\n{_held(group, seconds)}")

    def hold(self, group: int, seconds: float) -> None:
        """Has the group killed once the seconds are over, unless it is held anew before.

        To be called whenever the lease was extended: the seconds are what is left of it.
        """
        self._send(_held(group, seconds))

    def remove(self, folder: Path) -> None:
        """Has the folder removed when this process is gone."""
        self._send(f"d {folder}\n")

    def forget(self, group: int) -> None:
        """Leaves the group alone: it has ended, and another may get its number."""
        self._send(f"- {group}\n")

    def _send(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None or self._is_lost:
            return
        try:
            with self._lock:
                is_sent = self._shell.stdin.write(os.fsencode(line)) is not None
            reason = None if is_sent else "it does not read"
        except OSError as error:
            reason = str(error)
        if reason is not None:
            self._is_lost = True
            logs.logger.warning(logs.line(event="guard_lost", reason=reason))


def _held(group: int, seconds: float) -> str:
    return f"= {group} {max(math.ceil(seconds * 100.0), 0)}\n"


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
