"""Starts a command that does not begin before its guard knows of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .guard import Guard

# Becomes the command once it is told to, in a process of its own: Python code between fork and exec
# would be unsafe beside threads. When we are gone before that, it ends. Its last pipe closes as it
# becomes the command, or carries the number of the error that kept it from that.
_PROGRAM = """
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


def launch(
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
        program = [sys.executable, "-I", "-S", "-c", _PROGRAM]
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
