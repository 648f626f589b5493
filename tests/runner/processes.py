"""What the tests of exec share: processes that are watched, not waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

NOON = "2026-11-22T20:00:00Z"  # in Los Angeles: windows up to 2026-11-21 12:00 have settled
DEADLINE = 30.0
PAUSE = 0.005


def until(condition, what):
    """Returns what `condition()` gives as soon as that is true."""
    deadline = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} within {DEADLINE} s"
        time.sleep(PAUSE)
    return result


def content(path):
    """Returns what a command wrote into a file, once it has written a whole line."""
    path = Path(path)
    text = until(
        lambda: path.exists() and (text := path.read_text()).endswith("\n") and text,
        f"a line in {path.name}",
    )
    return text.strip()


def is_alive(pid):
    """Tells whether a process still does anything."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Exec:
    """`record-ledger exec ...` as a process of its own, which writes into files."""

    def __init__(
        self, folder, dsn, *arguments, stdin=subprocess.DEVNULL, ignored=None, **variables
    ):
        def prepare():
            if ignored is not None:
                signal.signal(ignored, signal.SIG_IGN)

        self._out, self._err = folder / "exec.out", folder / "exec.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "record_ledger", "exec", *map(str, arguments)],
                stdin=stdin,
                stdout=out,
                stderr=err,
                env={**os.environ, "RECORD_LEDGER_DSN": dsn, **variables},
                cwd=folder,
                preexec_fn=prepare,  # noqa: PLW1509
            )

    def signal(self, number):
        self.process.send_signal(number)

    def said(self, text):
        """Returns once it has said that on standard error."""
        until(lambda: text in self.err, f"{text!r} on standard error")

    def ended(self):
        """Returns its exit code once it has ended."""
        return self.process.wait(DEADLINE)

    @property
    def out(self):
        return self._out.read_bytes()

    @property
    def err(self):
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])


def shell(script):
    """Returns the end of a command line that runs a script."""
    return ["--", "sh", "-c", script]


def waits_in_the_database(observer, event):
    """Returns once a call of the runner waits for such a lock."""
    until(
        lambda: observer.execute(
            "select from pg_stat_activity where application_name = 'record-ledger' "
            "and wait_event_type = 'Lock' and wait_event = %s and datname = current_database()",
            [event],
        ).fetchall(),
        f"a call that waits for {event}",
    )


def blocks_after_the_pass(ledger):
    """Has whoever asks for the length of a lease, which follows a pass, wait for a lock."""
    (view,) = ledger.execute("select pg_get_viewdef('record_ledger.pipelines')").fetchone()
    ledger.execute(
        "create function public.waits() returns boolean volatile language sql "
        "as 'select pg_advisory_xact_lock_shared(7) is not null'"
    )
    ledger.execute(
        f"create or replace view record_ledger.pipelines as "
        f"select * from ({view.rstrip(';')}) as v where public.waits()"
    )
