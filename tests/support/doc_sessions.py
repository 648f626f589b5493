"""Runs a document from top to bottom and compares what it prints with what the document shows.

The whole document is one session, in a scratch copy of the checkout. It has one bash, one Python
and one database with a freshly deployed ledger. RECORD_LEDGER_DSN and PG* name it; `psql`,
`record-ledger`, `dbt`, `python` and `uv run` work. `tests.support.documents` says how a document is
written, `tests.support.output_match` which outputs are equal.
"""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict

from tests.support.clock import Clock
from tests.support.databases import Connection, open_connection
from tests.support.documents import DATA, RUN, Block, commands, read_blocks
from tests.support.interpreters import DEADLINE, Bash, Outcome, Python
from tests.support.output_match import matches
from tests.support.repository import copy_to
from tests.support.server import DEFAULT_VERSION, postgres_binaries

_LIBPQ = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE",
          "password": "PGPASSWORD"}  # fmt: skip
_UV = """#!/bin/sh
# Not started by uv, so without it: what `uv run` would run is in this environment.
[ "$1" = run ] && shift
while [ "$1" = --extra ] || [ "$1" = --group ]; do shift 2; done
exec "$@"
"""


class DocumentSession:
    """One document's session; a context manager.

    `dsn` is a database of its own, `folder` an empty scratch folder.
    """

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._checkout = folder / "checkout"
        self._scripts = folder / "scripts"
        self._scripts.mkdir()
        (folder / "home").mkdir()
        copy_to(self._checkout)
        self._server = _server_variables(dsn)
        self._environment = {**_environment(folder), **self._server}
        self._bash = Bash(self._checkout, self._environment, self._scripts)
        self._python: Python | None = None
        self._connection: Connection | None = None
        self._clock: Clock | None = None
        self._time_stands = False

    def __enter__(self) -> DocumentSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bash.close()
        if self._python is not None:
            self._python.close()
        if self._connection is not None:
            self._connection.close()

    def run(self, path: Path, name: str | None = None) -> int:
        """Runs every block and returns how many it ran.

        :raises AssertionError: at the first block that fails or prints other output.
        """
        ran = 0
        for block in read_blocks(path, name):
            self._set_clock(block)
            if block.language in DATA:
                self._parse(block)
            if "file" in block.directives:
                file = self._checkout / block.directives["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text + "\n", encoding="utf-8")
            elif block.language in RUN and "not run" not in block.directives:
                self._run_block(block)
                ran += 1
        return ran

    def _run_block(self, block: Block) -> None:
        without_server = "without a server" in block.directives
        if without_server:
            assert block.language in ("bash", "console"), f"{block.place}: shell blocks only"
            self._bash.run(f"unset {' '.join(self._server)}")
        if block.language == "console":
            self._run_console(block)
        elif block.language == "bash":
            self._check(block, self._bash.run(block.text, every_command=True))
        elif block.language == "sql":
            self._run_sql(block)
        elif block.text.lstrip().startswith(">>>"):
            self._run_doctest(block)
        else:
            self._check(block, self._interpreter().run(block.text))
        if without_server:
            self._bash.run("\n".join(f"export {k}='{v}'" for k, v in self._server.items()))

    def _run_console(self, block: Block) -> None:
        steps = commands(block)
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            outcome = self._bash.run(step.text)
            place = f"{block.document}:{step.line}"
            self._compare(place, step.text, step.expected, outcome.printed)
            # As in a terminal, a command may fail when the next one prints its exit code.
            if following is None or "$?" not in following.text:
                _demand_success(place, step.text, outcome)

    def _run_sql(self, block: Block) -> None:
        stop = int(block.expected is None)
        done = subprocess.run(
            ["psql", "-X", "-v", f"ON_ERROR_STOP={stop}"],
            input=block.text + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self._checkout, env=self._environment, timeout=DEADLINE, check=False,
        )  # fmt: skip
        self._check(block, Outcome(done.stdout, done.returncode))

    def _run_doctest(self, block: Block) -> None:
        for example in doctest.DocTestParser().get_examples(block.text, block.document):
            outcome = self._interpreter().run(example.source, interactive=True)
            place = f"{block.document}:{block.line + 1 + example.lineno}"
            self._compare(place, example.source, example.want, outcome.printed)

    def _check(self, block: Block, outcome: Outcome) -> None:
        """Compares the output of a block that shows it; other blocks must succeed."""
        if block.expected is None:
            _demand_success(block.place, block.text, outcome)
        else:
            self._compare(block.place, block.text, block.expected, outcome.printed)

    def _compare(self, place: str, what: str, expected: str, printed: str) -> None:
        if not matches(expected, printed, exact_times=self._time_stands):
            raise AssertionError(
                f"{place}: this does not print what the document shows:\n{what}\n"
                f"--- the document shows\n{expected}\n--- it prints\n{printed}"
            )

    def _set_clock(self, block: Block) -> None:
        instant = block.directives.get("clock")
        if instant is None:
            return
        if self._clock is None:
            self._connection = open_connection(self._dsn)
            self._clock = Clock(self._connection)
        self._time_stands = instant != "free"
        if self._time_stands:
            self._clock.set(instant)
        else:
            self._clock.free()

    def _interpreter(self) -> Python:
        if self._python is None:
            self._python = Python(self._checkout, self._environment, self._scripts)
        return self._python

    @staticmethod
    def _parse(block: Block) -> None:
        try:
            if block.language == "json":
                json.loads(block.text)
            elif block.language == "yaml":
                import yaml

                yaml.safe_load(block.text)
            elif sys.version_info >= (3, 11):
                import tomllib

                tomllib.loads(block.text)
        except ValueError as error:
            raise AssertionError(f"{block.place}: not {block.language}: {error}") from error


def _demand_success(place: str, what: str, outcome: Outcome) -> None:
    if outcome.status != 0:
        raise AssertionError(
            f"{place}: this ends with status {outcome.status}:\n{what}\n"
            f"--- it prints\n{outcome.printed}"
        )


def _server_variables(dsn: str) -> dict[str, str]:
    parts = conninfo_to_dict(dsn)
    variables = {_LIBPQ[key]: str(value) for key, value in parts.items() if key in _LIBPQ}
    return {"RECORD_LEDGER_DSN": dsn, **variables}


def _environment(folder: Path) -> dict[str, str]:
    tools = folder / "tools"
    tools.mkdir()
    programs = [tools, Path(sys.executable).parent, postgres_binaries(DEFAULT_VERSION)]
    if "UV" in os.environ:
        (tools / "uv").symlink_to(os.environ["UV"])
    else:
        (tools / "uv").write_text(_UV, encoding="utf-8")
        (tools / "uv").chmod(0o755)
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PG", "PYTEST_", "RECORD_LEDGER", "AIRFLOW"))
    }
    return {
        **inherited,
        "COLUMNS": "100",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DO_NOT_TRACK": "1",
        "HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PAGER": "cat",
        "PATH": os.pathsep.join([*map(str, programs), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "TERM": "dumb",
        "UV_NO_SYNC": "1",
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
        "VIRTUAL_ENV": sys.prefix,
    }
