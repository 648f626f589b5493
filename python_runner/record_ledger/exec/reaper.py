"""The reaper: ends the commands of an exec process that is gone, or that stands still.

Guarantees. The reaper kills the process group of a command in two cases:
* our process is gone, also by kill -9
* the lease is over, and our process has not reported an extension: it is stopped (SIGSTOP, Ctrl-Z,
  a debugger), it hangs, or its machine was suspended

It ends nothing while heartbeats reach the ledger. It reads time from /proc/uptime where that exists
(Linux; the clock runs while the machine is suspended), else it counts what it has slept.

Limits. The reaper does not see processes that left the group (a daemon) or became another user's.
When a whole container or machine is stopped, the reaper and the command stop together; it acts when
both go on. Without `sh` there is no reaper. Linux then kills the command, without its group, when
our process is gone (PR_SET_PDEATHSIG), and nothing ends the command of a process that stands still.
Elsewhere, and when the machine itself is lost, only the lease protects the record: no other run
gets it before the lease has run out.
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
# In seconds. At its end an exec waits so long for its reaper, which has next to nothing to do.
_LONGEST_GOODBYE = 10.0

# Reads `+ GROUP`, `= GROUP LEFT` (hundredths of a second of its lease), `- GROUP` and `d FOLDER`.
# Its input ends with the process that writes to it. Then the reaper kills the groups that are left,
# and removes the folder. It ignores the signals that a service manager sends to each process of a
# unit that it stops.
#
# For each lease a watcher sleeps in the background, at most half a minute at a time: no sleep
# counts the time of a suspended machine. At the lease's end the watcher kills the group of a
# stopped process immediately. A process that is not stopped gets a second more, because it ends its
# command by itself, and more gently. USR1 ends a watcher that is not needed any more.
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
    # Until `forget`: a watcher that ended earlier could leave its number to another process.
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


class Reaper:
    """Kills every watched process group when this process is gone, or stands still.

    A small shell does it, from a session of its own and at the end of a pipe: see the module.

    Inside of its `with` block, a process that outlives its command becomes a child of this process
    (on Linux), so that `reap` notices its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adopts = False
        self._is_lost = False
        self._shell: subprocess.Popen[bytes] | None = None
        shell = shutil.which("sh")
        if shell is None:
            logs.logger.info(logs.line(event="no_guard", reason="there is no sh"))
            return
        # Its arguments do not name the package: `pkill -f record-ledger` must end us and not it.
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
            # A stopped reaper does not read: no heartbeat waits for it.
            os.set_blocking(self._shell.stdin.fileno(), False)

    @property
    def is_there(self) -> bool:
        """Whether there is a shell to watch the groups."""
        return self._shell is not None

    def __enter__(self) -> Reaper:
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
        """Has the group killed when this process is gone before `forget`; also does as `hold`."""
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
            reason = None if is_sent else "the reaper does not read"
        except OSError as error:
            reason = str(error)
        if reason is not None:
            self._is_lost = True
            logs.logger.warning(logs.line(event="guard_lost", reason=reason))


def _held(group: int, seconds: float) -> str:
    return f"= {group} {max(math.ceil(seconds * 100.0), 0)}\n"


def reap(group: int) -> None:
    """Collects the ended processes of the group that are our children: zombies would count.

    The process number 1 of a container often collects none, or it is this process.
    """
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def _adopt_orphans(wanted: bool) -> bool:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without it
            return int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)) == 0
    return False
