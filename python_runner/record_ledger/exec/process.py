"""Runs a command in a process group of its own, and ends it as a whole."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from .output import Output, Relay
from .reaper import reap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .reaper import Guard

# How much of standard error is kept for the record's history.
TAIL_BYTES = 4000

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none: its SIGTERM kills
_POLL_SECONDS = 0.02
# The guard kills what we did not, so many seconds after we should have.
_GRACE_OF_GUARD = 5.0
_REST_OF_CHARACTER = re.compile(rb"\A[\x80-\xBF]{1,3}")

# Becomes the command once it is told to, in a process of its own: Python code between fork and exec
# would be unsafe beside threads. When we are gone before that, it ends. Its last pipe closes as it
# becomes the command, or carries the number of the error that kept it from that.
_LAUNCHER = """
import os, signal, sys
go, failed, dies_with_us = map(int, sys.argv[1:4])
os.set_inheritable(failed, False)
if dies_with_us and sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.read(go, 1):
    os.close(go)
    # Python ignores them, and what is ignored stays so.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(sys.argv[4], sys.argv[4:])
    except OSError as error:
        os.write(failed, str(error.errno).encode())
"""


class Child:
    """A running command. Nothing of its process group is left when `wait` returns.

    It has a session of its own, so that Ctrl-C in a terminal reaches it once, through us. `stop`
    sends a signal to its group, and SIGKILL `grace` seconds later to what is left of it. What a
    command leaves behind in its group when it ends is stopped in the same way.

    `stdout` None leaves our own standard output to it. Its standard error always passes through us.
    `held_for` gives the seconds that are left of the lease: the guard ends the command with it
    unless `hold` says that it was extended.

    :raises OSError: when it cannot be started; nothing runs then.
    :raises ValueError: when an argument or a variable can be no part of a command.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: Output | None,
        stderr: Output,
        whole_lines: bool,
        reads_stdin: bool,
        grace: float,
        guard: Guard,
        held_for: Callable[[], float],
    ) -> None:
        self.stopped_by: int | None = None
        self._grace = grace
        self._guard = guard
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._killed = threading.Event()
        self._exited = False  # the command itself
        self._ended = False  # its whole group
        self._process = _launch(
            arguments,
            environment,
            guard=guard,
            held_for=held_for,
            stdin=None if reads_stdin else subprocess.DEVNULL,
            stdout=None if stdout is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        pipe = self._process.stderr
        assert pipe is not None  # noqa: S101 - it was asked for
        self._stderr = Relay(pipe, stderr, whole_lines=whole_lines, kept=TAIL_BYTES, drains=True)
        self._stdout: Relay | None = None
        if stdout is not None and self._process.stdout is not None:
            self._stdout = Relay(self._process.stdout, stdout, whole_lines=whole_lines)

    @property
    def tail(self) -> str:
        """The end of what it wrote to standard error, whatever bytes those were."""
        data = self._stderr.tail
        if len(data) == TAIL_BYTES:  # cut somewhere, perhaps within a character
            data = _REST_OF_CHARACTER.sub(b"", data)
        return data.decode("utf-8", "replace").strip()

    @property
    def output_error(self) -> str | None:
        """What kept its standard output from being written whole, once `wait` has returned."""
        return None if self._stdout is None else self._stdout.error

    @property
    def messages_error(self) -> str | None:
        """What kept its standard error from being written whole, once `wait` has returned."""
        return self._stderr.error

    def stop(self, number: int) -> None:
        """Sends the signal to its group, once, and SIGKILL when the grace is over; returns soon.

        `stopped_by` is the signal from then on, unless the command had ended by itself.
        """
        with self._lock:
            if not self._exited and self.stopped_by is None:
                self.stopped_by = number
                self._stop_group(number)

    def hold(self, seconds: float) -> None:
        """Tells the guard that the lease was extended, and has so many seconds left."""
        self._guard.hold(self._process.pid, seconds)

    def stop_for_lost_claim(self) -> None:
        """Stops it as SIGTERM does, and leaves it its grace although the lease may be over."""
        self.hold(self._grace + _GRACE_OF_GUARD)
        self.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kills its group at once."""
        with self._lock:
            if not self._ended:
                self._signal_group(_KILL)
                self._killed.set()

    def wait(self) -> int:
        """Returns its exit code, or the negative number of the signal that ended it."""
        code = self._process.wait()
        with self._lock:
            self._exited = True
            # Something may be left that still works on the record's window.
            is_left = self._signal_group(0)
            if is_left and self._timer is None:
                self._stop_group(signal.SIGTERM)
        if is_left:
            while self._signal_group(0) and not self._killed.wait(_POLL_SECONDS):
                reap(self._process.pid)
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
        self._guard.forget(self._process.pid)
        for relay in (self._stderr, self._stdout):
            if relay is not None:
                relay.finish()
        return code

    def _stop_group(self, number: int) -> None:
        self._signal_group(number)
        self._timer = threading.Timer(self._grace, self.kill)
        self._timer.daemon = True
        self._timer.start()

    def _signal_group(self, number: int) -> bool:
        """Sends a signal to its group, 0 for none; tells whether the group is still there."""
        if sys.platform == "win32":
            if number:
                self._process.terminate()
            return self._process.poll() is None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # it became another user's, as with sudo
        return True


def _launch(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    guard: Guard,
    held_for: Callable[[], float],
    stdin: int | None,
    stdout: int | None,
    stderr: int | None,
) -> subprocess.Popen[bytes]:
    """Returns the running command, in a session and process group of its own; the guard knows it.

    `held_for` gives the seconds that are left of its lease.

    :raises OSError: when it cannot be started; nothing runs then.
    :raises ValueError: when an argument or a variable can be no part of a command.
    """
    if os.name != "posix":
        return subprocess.Popen(
            arguments, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0
        )
    if not arguments[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    go, tell = os.pipe()
    told, failed = os.pipe()
    try:
        program = [sys.executable, "-I", "-S", "-c", _LAUNCHER]
        process = subprocess.Popen(
            [*program, str(go), str(failed), str(int(not guard.is_there)), *arguments],
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            pass_fds=(go, failed),
            start_new_session=True,
        )
    except OSError as error:
        # Not the command's doing: there is no room for a process, say.
        os.close(tell)
        os.close(told)
        what = f"{error.strerror}, when {sys.executable} was started for it"
        raise OSError(error.errno, what) from error
    except BaseException:
        os.close(tell)
        os.close(told)
        raise
    finally:
        os.close(go)
        os.close(failed)
    guard.watch(process.pid, held_for())
    with os.fdopen(tell, "wb", buffering=0) as pipe:
        pipe.write(b"!")
    with os.fdopen(told, "rb", buffering=0) as pipe:
        number = pipe.read()
    if number:
        process.communicate()
        guard.forget(process.pid)
        raise OSError(int(number), os.strerror(int(number)))
    return process


def exit_code_of(code: int) -> int:
    """Returns what `Child.wait` returned as shells count it: 128 and the number of the signal."""
    return code if code >= 0 else 128 - code
