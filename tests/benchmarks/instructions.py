"""How many instructions the server executes for a call: on every machine the same, to 1 %.

A call is counted in a `postgres --single` under valgrind's callgrind, on a copy of data that a
normal server prepared. Everything that varies is fixed: the ledger's clock stands still until a
statement moves it, the settings are given, and the processor's features are pinned. A mark before
the counted calls and another one after them cut the count. The server's start and end, and the
first calls, which fill its caches, are not counted. What a mark costs, and a move of the clock, is
counted by itself and subtracted.

The statements are the runner's own, with literals where a client binds. The goals are ratios to
0.4.0, whose figures are kept here; `--release 0.4.0` counts them again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from psycopg.sql import Literal

from record_ledger import queries
from tests.benchmarks.bench import BARE, START, STEP, as_json, make_config
from tests.benchmarks.report import Report, Result
from tests.support.databases import Connection, deploy, in_database, open_connection
from tests.support.releases import release_script
from tests.support.server import Server

# The PostgreSQL and the processors that the figures are of.
VERSION = 18
MACHINES = ("x86_64", "AMD64")
BASELINE = "0.4.0"

WARM_UP = 20
CALLS = 40
BACKLOG = 1_000


@dataclass(frozen=True)
class Figure:
    """What a case is held to.

    `baseline` is what 0.4.0 needs, in instructions; `goal` is a ratio to it. `limit` is in
    instructions too: `--check` fails above it. A change that makes a case cheaper lowers its limit
    to 2 % above the new count.
    """

    baseline: int
    goal: float | None = None
    limit: int | None = None


# 0.4.0 has no complete_and_pass: an item is what it takes the place of.
FIGURES = {
    "item": Figure(2_213_000, 0.65, 1_698_000),
    "exit UNSTABLE": Figure(627_000, 0.6, 493_000),
    "exit NO_RECORDS": Figure(601_000, 0.6, 369_000),
    "item with one record in progress elsewhere": Figure(2_379_000, 0.65, 1_875_000),
    "exit with one in progress": Figure(703_000, 0.6, 535_000),
    "complete_and_pass": Figure(2_213_000, 0.65, 1_541_000),
    "pass of a stored backlog": Figure(1_773_000, 0.65, 1_148_000),
    "bare insert": Figure(87_500),
    "select 1": Figure(31_900),
    "empty function called alike": Figure(132_200),
}


class Unavailable(Exception):
    """Instructions cannot be counted on this machine."""


# ---------------------------------------------------------------- statements
class Calls:
    """The calls of one pipeline, as the runner of a release sends them."""

    def __init__(self, release: str | None, pipeline: str, **changes: Any) -> None:
        self._release = release
        self._pipeline = pipeline
        self._runs = 0
        self._config = as_json(make_config(pipeline, **changes))

    def store_and_pass(self, text: str = queries.STORE_NEW_AND_PASS_VALID_RECORD) -> str:
        return bound(text, self._config, self._run_id(), "[]")

    def complete(self, record: dict[str, Any]) -> str:
        named = (self._pipeline, record["claim_token"], "{}")
        if self._release == BASELINE:
            return bound(_COMPLETE_IN_0_4_0, *named)
        return bound(queries.COMPLETE_RECORD, *named, record["window_start_time"])

    def complete_and_pass(self, record: dict[str, Any]) -> str:
        return bound(
            queries.COMPLETE_AND_PASS,
            self._pipeline,
            record["claim_token"],
            self._run_id(),
            "{}",
            record["window_start_time"],
        )

    def _run_id(self) -> str:
        self._runs += 1
        return f"dag/scheduled/task/{self._runs:06}"


_COMPLETE_IN_0_4_0 = "select record_ledger.complete_record(%s::text, %s::bigint, %s::jsonb)"
_EMPTY = queries.STORE_NEW_AND_PASS_VALID_RECORD.replace(
    "record_ledger.store_new_and_pass_valid_record", "bench.empty"
)
# A call of this function is where callgrind cuts. Nothing else calls it.
_MARKING_FUNCTION = "pg_postmaster_start_time"
_MARK = f"select {_MARKING_FUNCTION}()"
_SETUP = """
create schema bench;
create table bench.bare (id bigint generated always as identity primary key, note text);
create function bench.empty(
    config jsonb, run_id text, built jsonb default '[]',
    out exit_dag boolean, out verdict text, out reason text, out record jsonb, out to_build jsonb
)
language plpgsql
as $$ begin exit_dag := true; end $$;
create or replace function record_ledger.clock() returns timestamptz language sql volatile
as $$ select pg_catalog.current_setting('bench.now')::timestamptz $$;
"""


def bound(text: str, *values: Any) -> str:
    """Returns a statement with a literal in the place of each %s."""
    literals = iter(values)
    return re.sub("%s", lambda _: Literal(next(literals)).as_string(None), text)


def at_step(step: int) -> str:
    """Returns the statement that moves the ledger's clock to a second after a step."""
    instant = datetime.fromisoformat(START) + timedelta(seconds=step * STEP + 1)
    return f"set bench.now = '{instant.isoformat()}'"


# ---------------------------------------------------------------- cases
# Yields statements and is sent the row that each of them answers. Yields None where counting
# begins, and where it ends.
Dialogue = Generator[str | None, Any, None]


@dataclass(frozen=True)
class Case:
    """What is prepared with a normal server, and what is said to the one that is counted."""

    prepare: Callable[[Calls], Dialogue]
    counted: Callable[[Calls], Dialogue]
    changes: dict[str, Any]
    # Whether each counted call comes with a move of the clock, whose cost is subtracted.
    moves_clock: bool = False


def _no_preparation(_: Calls) -> Dialogue:
    yield from ()


def _say(statement: str) -> Dialogue:
    yield statement


def _marks() -> Dialogue:
    yield None
    yield None


def _counted(call: Callable[[int], Dialogue]) -> Dialogue:
    """Says the same thing again and again, the later ones counted."""
    for number in range(WARM_UP + CALLS):
        if number == WARM_UP:
            yield None
        yield from call(number)
    yield None


def _items(calls: Calls, first: int, count: int) -> Dialogue:
    for step in range(first, first + count):
        yield at_step(step)
        answer = yield calls.store_and_pass()
        assert not answer["exit_dag"], answer
        yield calls.complete(answer["record"])


def _with_history(calls: Calls) -> Dialogue:
    yield from _items(calls, 2, 10)


def _with_one_in_progress(calls: Calls) -> Dialogue:
    yield at_step(2)
    answer = yield calls.store_and_pass()
    assert not answer["exit_dag"], answer
    yield from _items(calls, 3, 10)


def _item(calls: Calls) -> Dialogue:
    yield from _counted(lambda number: _items(calls, 20 + number, 1))


def _exit(calls: Calls, verdict: str, step: int) -> Dialogue:
    def call(_: int) -> Dialogue:
        answer = yield calls.store_and_pass()
        assert answer["verdict"] == verdict, answer

    yield at_step(step)
    yield from _counted(call)


def _with_backlog(calls: Calls) -> Dialogue:
    yield from _with_history(calls)
    yield at_step(BACKLOG)
    answer = yield calls.store_and_pass()
    yield calls.complete(answer["record"])


def _complete_and_pass(calls: Calls) -> Dialogue:
    answer = {}

    def call(_: int) -> Dialogue:
        nonlocal answer
        answer = yield calls.complete_and_pass(answer["record"])
        assert answer["record"] is not None, answer

    yield at_step(BACKLOG)
    answer = yield calls.store_and_pass()
    yield from _counted(call)


def _pass(calls: Calls) -> Dialogue:
    """Passes and completes; only the pass is between two marks."""
    yield at_step(BACKLOG)
    for number in range(WARM_UP + CALLS):
        if number >= WARM_UP:
            yield None
        answer = yield calls.store_and_pass()
        if number >= WARM_UP:
            yield None
        yield calls.complete(answer["record"])


def _statement(text: str) -> Callable[[Calls], Dialogue]:
    return lambda _: _counted(lambda _: _say(text))


_LONG_LEASE = {"lease": "7d"}
CASES = {
    "item": Case(_with_history, _item, {}, moves_clock=True),
    "exit UNSTABLE": Case(_with_history, lambda calls: _exit(calls, "UNSTABLE", 11), {}),
    "exit NO_RECORDS": Case(
        lambda calls: _say(calls.store_and_pass()),
        lambda calls: _exit(calls, "NO_RECORDS", 0),
        {"start_at": "2100-01-01T00:00:00+00:00"},
    ),
    "item with one record in progress elsewhere": Case(
        _with_one_in_progress, _item, _LONG_LEASE, moves_clock=True
    ),
    "exit with one in progress": Case(
        _with_one_in_progress, lambda calls: _exit(calls, "UNSTABLE", 12), _LONG_LEASE
    ),
    "complete_and_pass": Case(_with_backlog, _complete_and_pass, {}),
    "pass of a stored backlog": Case(_with_backlog, _pass, {}),
    "bare insert": Case(_no_preparation, _statement(BARE), {}),
    "select 1": Case(_no_preparation, _statement("select 1"), {}),
    "empty function called alike": Case(
        _no_preparation, lambda calls: _counted(lambda _: _say(calls.store_and_pass(_EMPTY))), {}
    ),
}


# ---------------------------------------------------------------- the server that is counted
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "io_method": "sync",
    "jit": "off",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "shared_buffers": "64MB",
    "synchronous_commit": "off",
    "timezone": "UTC",
    # A new segment of the log is not written before it is used: no case meets one by chance.
    "wal_init_zero": "off",
    "wal_level": "minimal",
    "wal_recycle": "off",
}
# The C library has a variant of its functions for each processor: take the one that all have.
_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM,-BMI2",
    "LC_ALL": "C",
    "PATH": os.defpath,
}
_PROMPT = "backend> "
_VALUE = re.compile(r'\t 1: \S+ = "(.*?)"\t\(typeid', re.DOTALL)


class Counted:
    """A single-user server under callgrind, spoken to statement by statement."""

    def __init__(self, server: Server, data: Path, database: str) -> None:
        self._data = data
        self._log = (data / "log").open("w+", encoding="utf-8")
        settings = [part for item in _SETTINGS.items() for part in ("-c", "=".join(item))]
        self._process = subprocess.Popen(  # type: ignore[call-overload]
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={data / 'counts'}",
                f"--dump-before={_MARKING_FUNCTION}", "--quiet",
                server.binaries / "postgres", "--single", "-j", "-D", data,
                *settings, database,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True, encoding="utf-8", env=_ENVIRONMENT, cwd=data, **server.process_options,
        )  # fmt: skip
        self._answer()

    def say(self, statement: str | None) -> Any:
        """Runs one statement, or a mark, and returns its first value, JSON as what it holds."""
        self._process.stdin.write(f"{_MARK if statement is None else statement};\n\n")
        self._process.stdin.flush()
        found = _VALUE.search(self._answer())
        if found is None:
            return None
        return json.loads(found[1]) if found[1].startswith("{") else found[1]

    def _answer(self) -> str:
        said = ""
        while not said.endswith(_PROMPT):
            more = os.read(self._process.stdout.fileno(), 65536).decode()
            if not more:
                raise RuntimeError(f"the counted server ended:\n{said}{self._logged()}")
            said += more
        return said

    def end(self) -> list[Path]:
        """Ends the server and returns what callgrind wrote, in order.

        :raises RuntimeError: when a statement failed.
        """
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        logged = self._logged()
        self._log.close()
        if re.search("ERROR|FATAL|PANIC", logged):
            raise RuntimeError(f"a counted statement failed:\n{logged}")
        parts = self._data.glob("counts.*")
        return sorted(parts, key=lambda path: int(path.suffix[1:]))

    def _logged(self) -> str:
        self._log.seek(0)
        return self._log.read()


def instructions_in(part: Path) -> int:
    """Returns how many instructions a file of callgrind is about."""
    found = re.search(
        r"^(?:totals|summary): (\d+)$", part.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found is not None, part
    return int(found[1])


# ---------------------------------------------------------------- counting
@dataclass(frozen=True)
class Count:
    """What one call of a case needs, and what callgrind wrote about the counted calls."""

    instructions: int
    parts: list[Path]


class Bench:
    """Data with the cases prepared in it, by a release or by this checkout."""

    def __init__(self, names: list[str], release: str | None = None) -> None:
        """Deploys the ledger to a server of its own, and prepares the cases.

        :raises Unavailable: where instructions cannot be counted.
        """
        if shutil.which("valgrind") is None:
            raise Unavailable("instructions: valgrind is not installed (apt-get install valgrind)")
        if platform.machine() not in MACHINES:
            raise Unavailable(f"instructions: the figures are of {MACHINES[0]} only")
        self._calls = {name: Calls(release, name, **CASES[name].changes) for name in names}
        self._runs = 0
        settings = {name: _SETTINGS[name] for name in ("io_method", "max_wal_size")}
        self._server = Server(VERSION, durable=False, settings=settings)
        try:
            self._server.start()
            self.absent = self._deploy(release)
            for name in names:
                if name not in self.absent:
                    self._prepare(name)
            self._server.stop()
            self._mark = sum(map(instructions_in, self._run(_marks())))
            move = self._run(_counted(lambda step: _say(at_step(step))))
            self._move = self._total(move) / CALLS
        except BaseException:
            self.remove()
            raise

    def _deploy(self, release: str | None) -> set[str]:
        """Deploys the ledger, and returns the cases whose function it has not."""
        self._server.execute("create database bench")
        with open_connection(in_database(self._server.dsn(), "bench")) as connection:
            if release is None:
                deploy(connection.info.dsn)
            else:
                connection.execute(release_script(release).encode())
            connection.execute(_SETUP.encode())
            found = connection.execute(
                "select to_regproc('record_ledger.complete_and_pass') is null"
            ).fetchone()
        return {"complete_and_pass"} if found == (True,) else set()

    def _prepare(self, name: str) -> None:
        """Prepares a case in a database of its own: no other case changes what it counts."""
        database = self._database(name)
        self._server.execute(f"create database {database} template bench strategy file_copy")
        with open_connection(in_database(self._server.dsn(), database)) as connection:
            connection.execute(at_step(0).encode())
            _talk(CASES[name].prepare(self._calls[name]), partial(_value, connection))
            connection.execute("vacuum analyze")

    @staticmethod
    def _database(name: str) -> str:
        return f"case_{list(CASES).index(name)}"

    def count(self, name: str) -> Count:
        """Counts the instructions of one call of a case."""
        case = CASES[name]
        parts = self._run(case.counted(self._calls[name]), self._database(name))
        each = self._total(parts) / CALLS - (self._move if case.moves_clock else 0)
        return Count(round(each), parts)

    def _run(self, dialogue: Dialogue, database: str = "bench") -> list[Path]:
        """Says a dialogue to a server on a fresh copy; returns what lies between its marks."""
        self._runs += 1
        folder = self._server.folder / f"counted_{self._runs}"
        # With the rights that a server's data must have.
        subprocess.run(["cp", "-a", self._server.folder / "data", folder], check=True)
        counted = Counted(self._server, folder, database)
        try:
            _talk(dialogue, counted.say)
        finally:
            # Every second one lies between two marks.
            parts = counted.end()[1::2]
        shutil.rmtree(folder / "base")
        return parts

    def _total(self, parts: list[Path]) -> int:
        return sum(map(instructions_in, parts)) - len(parts) * self._mark

    def remove(self) -> None:
        """Deletes the data, and what callgrind wrote."""
        self._server.remove()


def _talk(dialogue: Dialogue, say: Callable[[str | None], Any]) -> None:
    """Says what a dialogue says, and sends it the answers."""
    answer = None
    while True:
        try:
            statement = dialogue.send(answer)
        except StopIteration:
            return
        answer = say(statement)


def _value(connection: Connection, statement: str | None) -> Any:
    assert statement is not None, "nothing is counted while a case is prepared"
    cursor = connection.execute(statement.encode())
    row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


def measure(
    report: Report,
    cases: list[str] | None = None,
    *,
    release: str | None = None,
    heaviest: int = 0,
) -> list[str]:
    """Counts the cases, and returns a sentence for each that is above its limit.

    `release` names an earlier release to count instead of this checkout, which no limit is for.
    With `heaviest`, that many functions of each case are printed.

    :raises Unavailable: where instructions cannot be counted.
    """
    names = cases or list(CASES)
    bench = Bench(names, release)
    lines, entries, above = [], [], []
    try:
        for name in names:
            if name in bench.absent:
                print(f"{name}: left out, the ledger has no such function", flush=True)
                continue
            count, figure = bench.count(name), FIGURES[name]
            lines.append(
                Result(
                    name,
                    count.instructions / figure.baseline,
                    figure.goal,
                    f"of {figure.baseline:,} at {BASELINE}; now {count.instructions:,}",
                )
            )
            entries.append(
                {"name": name, BASELINE: figure.baseline, "instructions": count.instructions}
            )
            if release is None and figure.limit and count.instructions > figure.limit:
                above.append(
                    f"{name}: {count.instructions:,} instructions, the limit is {figure.limit:,}"
                )
            if heaviest:
                print(_heaviest(name, count, heaviest), flush=True)
    finally:
        bench.remove()
    report.series["instructions"] = entries
    report.add("instructions", lines)
    return above


def _heaviest(name: str, count: Count, how_many: int) -> str:
    """Returns the functions that execute the most, by themselves and with what they call."""
    calls = CALLS // len(count.parts)
    lines = []
    for title, inclusive in (("by themselves", "no"), ("with what they call", "yes")):
        lines.append(f"\n{name}: instructions of the heaviest functions, {title}")
        annotated = subprocess.run(
            ["callgrind_annotate", f"--inclusive={inclusive}", "--threshold=100", count.parts[0]],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found = re.findall(r"^ *([\d,]+) +\( *([\d.]+)%\) +(.+)$", annotated, re.MULTILINE)
        # What was entered before the first mark, or calls itself, seems to have the whole count.
        inner = [row for row in found if float(row[1]) < 100]
        for spent, share, function in inner[:how_many]:
            each = int(spent.replace(",", "")) / calls
            lines.append(f"{each:>12,.0f} {share:>6} %  {_function(function)}")
    return "\n".join(lines)


def _function(annotated: str) -> str:
    """Returns a function's name without its file and its program."""
    return re.sub(r"^.*?:(?!:)| \[.*\]$", "", annotated)
