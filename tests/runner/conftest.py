"""Fixtures of the runner's tests: the command line and the runner on the test's database."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading

import pytest

from record_ledger import RecordLedger
from record_ledger.cli import main
from tests.runner.processes import Exec


class Done:
    """What a command printed and how it ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        """The JSON object of the last line of standard output."""
        return json.loads(self.out.strip().splitlines()[-1])


@pytest.fixture
def command(ledger_dsn, monkeypatch, capsys):
    """Runs `record-ledger ARGUMENTS` on the test's database, in this process."""
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def config_file(tmp_path, config):
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(config("orders")), encoding="utf-8")
    return path


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def started(ledger_dsn, tmp_path):
    """Starts `record-ledger exec ARGUMENTS` as a process of its own; nothing of it stays."""
    processes = []

    def start(*arguments, **options):
        folder = tmp_path / f"exec{len(processes)}"
        folder.mkdir()
        processes.append(Exec(folder, ledger_dsn, *arguments, **options))
        return processes[-1]

    yield start
    for one in processes:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def retried():
    """An event that is set when a call is about to be tried again."""
    event = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            if "event=retry" in record.getMessage():
                event.set()

    handler = Handler()
    logger = logging.getLogger("record_ledger")
    logger.addHandler(handler)
    yield event
    logger.removeHandler(handler)
