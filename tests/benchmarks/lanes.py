"""What a call costs with 10^3 records in a lane and with 10^6: the same, wherever they wait.

One line per lane and call. A lane is where open records are looked for (see rule lane); finished
records are in none, and have lines of their own. Costs are the backend's CPU time around each call,
without the client, the network and the disk. Both sizes take turns, each in a database of its own,
so that the larger one pays for its deeper indexes too.

A pass stores a window and passes a record: of the lane, where its records can be passed, else the
newest window. An exit is asked for with a config by which no window is stable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from record_ledger import queries
from tests.benchmarks.bench import Ledger, as_json, create_ledger, undisturbed
from tests.benchmarks.filling import LANES, Lane
from tests.benchmarks.report import Report, Result
from tests.support.server import Server

SMALL = 1_000
LARGE = 1_000_000
ROUNDS = 40
# The first calls fill caches and make plans.
WARM_UP = 10
LOOKS = 15
GOAL = 1.2
# A call that takes longer has its ratio from this, and is not repeated.
_TIMEOUT_MS = 20_000
# A reader that has taken so much is not asked again.
_LOOKED_ENOUGH_US = 3e6

_STATUS = "select * from record_ledger.pipeline_progress where pipeline_id = %s"
_WHY = """
select * from record_ledger.record_verdicts where pipeline_id = %s and window_start_time = %s
"""
_OLDEST_VALID = "select * from record_ledger.oldest_valid_record where pipeline_id = %s"
_PLAN = "select * from record_ledger.plan_runs(%s, 10)"
_OPEN = """
select min(window_start_time) from record_ledger.record
where pipeline_id = 'p' and open_pipeline_id is not null
"""
CALLS = (
    "a pass", "complete_record", "an exit", "status", "why", "oldest_valid_record", "plan_runs",
)  # fmt: skip


class Unavailable(Exception):
    """This machine does not say what CPU time a process has taken."""


def cpu_of(pid: int) -> float:
    """Returns the CPU time that a process has taken, in microseconds, of the kernel's too."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1000


def require_cpu_times(area: str) -> None:
    """Does nothing where the system says what CPU time a process takes.

    :raises Unavailable: elsewhere.
    """
    if not Path("/proc/self/schedstat").exists():
        raise Unavailable(f"{area}: this system has no /proc/PID/schedstat")


class Backend:
    """A session of one pipeline, whose calls are timed by what their backend computes."""

    def __init__(self, ledger: Ledger, config: dict[str, Any]) -> None:
        self.ledger = ledger
        self.config = as_json(config)
        self.costs: dict[str, list[float]] = {}
        self._pid = ledger.connection.info.backend_pid
        assert Path(f"/proc/{self._pid}").exists(), "the server runs elsewhere"
        self._templates = {
            name: value for name, value in config["default_record"].items() if "{{" in value
        }

    def call(self, what: str, query: str, values: list[Any]) -> Any:
        """Runs a statement, notes its cost under a name, and returns the first value."""
        before = cpu_of(self._pid)
        row = self.ledger.connection.execute(query.encode(), values).fetchone()
        self.costs.setdefault(what, []).append(cpu_of(self._pid) - before)
        return None if row is None else row[0]

    def cycle(self, what: str) -> dict[str, Any]:
        """Runs the whole call, twice and as one where there is something to be rendered."""
        run = self.ledger.run_id()
        values = [self.config, run, "[]"]
        answer: dict[str, Any] = self.call(what, queries.STORE_NEW_AND_PASS_VALID_RECORD, values)
        if answer["to_build"] and what == "a pass":
            built = [{**window, "fields": self._rendered()} for window in answer["to_build"]]
            values[2] = json.dumps(built)
            answer = self.call(what, queries.STORE_NEW_AND_PASS_VALID_RECORD, values)
            second = self.costs[what].pop()
            self.costs[what][-1] += second
        return answer

    def _rendered(self) -> dict[str, str]:
        fields = json.loads(self.config)["default_record"]
        return {
            name: "rendered" if name in self._templates else value
            for name, value in fields.items()
            if name != "pipeline_id"
        }

    def item(self, passing: str = "a pass", completing: str = "complete_record") -> None:
        """Passes a record and completes it."""
        answer = self.cycle(passing)
        assert not answer["exit_dag"], answer
        record = answer["record"]
        self.call(
            completing,
            queries.COMPLETE_RECORD,
            ["p", record["claim_token"], "{}", record["window_start_time"]],
        )

    def exit(self, what: str = "an exit") -> None:
        """Asks for a record where there is none to be passed."""
        answer = self.cycle(what)
        assert answer["exit_dag"], answer

    def cost(self, what: str) -> float:
        """Returns what a call costs, in microseconds, by all but the first ones."""
        costs = self.costs[what]
        return undisturbed(costs[min(WARM_UP, len(costs) // 2) :])


@dataclass
class Side:
    """One size of a lane."""

    backend: Backend
    step: int
    # Calls that took longer than the timeout.
    given_up: set[str] = field(default_factory=set)

    def turn(self, step: int, what: str, call: Callable[[], None]) -> None:
        """Moves the clock on and makes a call, unless it has once taken too long."""
        if what in self.given_up:
            return
        self.backend.ledger.go_to_step(self.step + step)
        try:
            call()
        except psycopg.errors.QueryCanceled:
            self.given_up.add(what)

    def readers(self, step: int) -> dict[str, Callable[[], Any]]:
        """Stores an open record for the readers to be asked about, and returns their calls."""
        execute = self.backend.ledger.connection.execute
        self.backend.ledger.go_to_step(self.step + step)
        execute(queries.STORE_NEW_RECORDS.encode(), ["p", "[]"])
        row = execute(_OPEN).fetchone()
        assert row is not None
        return {
            what: partial(self.backend.call, what, query, values)
            for what, query, values in (
                ("status", _STATUS, ["p"]),
                ("why", _WHY, ["p", row[0]]),
                ("oldest_valid_record", _OLDEST_VALID, ["p"]),
                ("plan_runs", _PLAN, ["p"]),
            )
        }

    def let_no_window_be_stable(self) -> None:
        """Asks by another config from now on: its windows are stable after a hundred years."""
        never = json.loads(self.backend.config) | {"x_time_back": "36500d"}
        self.backend.config = as_json(never)

    def cost(self, what: str) -> float:
        return _TIMEOUT_MS * 1000 if what in self.given_up else self.backend.cost(what)


def measure(server: Server, report: Report, large: int = LARGE, rounds: int = ROUNDS) -> None:
    """Measures lane by lane, and holds `large` records against a thousand.

    :raises Unavailable: where the system does not say what CPU time a process takes.
    """
    require_cpu_times("lanes")
    create_ledger(server, "lanes_template").connection.close()
    found = {}
    for lane in LANES:
        sides = [_side(server, lane, count) for count in (SMALL, large)]
        _measure(sides, rounds)
        found[lane.name] = [{what: side.cost(what) for what in CALLS} for side in sides]
        for what in sorted(sides[1].given_up):
            print(f"{lane.name}: {what} takes more than {_TIMEOUT_MS // 1000} s", flush=True)
        for side in sides:
            name = side.backend.ledger.connection.info.dbname
            side.backend.ledger.connection.close()
            server.execute(f"drop database {name} with (force)")
        print(_line(lane.name, *found[lane.name]), file=sys.stderr, flush=True)
    report.series["lanes"] = [
        {
            "name": name,
            **{f"{what}, {size}": round(costs[what]) for what in CALLS
               for size, costs in zip(("few", "many"), sides, strict=True)},
        }
        for name, sides in found.items()
    ]  # fmt: skip
    for what in CALLS:
        report.add(
            f"lanes: {what}",
            [
                Result(
                    name,
                    many[what] / few[what],
                    GOAL,
                    f"{large:,} records of {SMALL:,} ({few[what]:,.0f} us)",
                )
                for name, (few, many) in found.items()
            ],
        )


def _line(name: str, few: dict[str, float], many: dict[str, float]) -> str:
    ratios = ", ".join(f"{what} {many[what] / few[what]:.2f}" for what in CALLS)
    return f"  {name}: {ratios}"


def _side(server: Server, lane: Lane, count: int) -> Side:
    ledger = create_ledger(server, f"lane_{count}", template="lanes_template")
    lane.fill(ledger.connection, "p", count)
    ledger.connection.execute("vacuum (analyze, freeze)")
    ledger.connection.execute("set synchronous_commit = off")
    ledger.connection.execute(f"set statement_timeout = {_TIMEOUT_MS}".encode())
    return Side(Backend(ledger, lane.config("p")), count + 3)


def _measure(sides: list[Side], rounds: int) -> None:
    turns = WARM_UP + rounds
    for turn in range(turns):
        for side in sides:
            side.turn(turn, "a pass", side.backend.item)
    readers = [side.readers(turns) for side in sides]
    for what in readers[0]:
        for _ in range(WARM_UP + LOOKS):
            for side, calls in zip(sides, readers, strict=True):
                if sum(side.backend.costs.get(what, [])) < _LOOKED_ENOUGH_US:
                    side.turn(turns, what, calls[what])
    for side in sides:
        side.let_no_window_be_stable()
    for turn in range(turns):
        for side in sides:
            side.turn(turns + turn, "an exit", side.backend.exit)
