"""A pass, a verdict and a status on small ledgers and on large ones, in turns.

Pages (shared buffers hit or read, by EXPLAIN) are the same on a noisy machine; times stand beside
them, without waiting for the disk. A pass must touch no more of a large ledger than of a small one,
but for the levels that its indexes have more: one or two from 10^3 to 10^6 records, each a page in
every look-up, which the ratio of pages shows and the time does not. A status counts what is open,
and grows with that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.bench import Ledger, as_json, create_ledger, median, timed
from tests.benchmarks.filling import FINISHED, HISTORIES, fill
from tests.benchmarks.report import Report, Result
from tests.support.server import Server

LARGE = 1_000_000
ROUNDS = 200
LOOKS = 5

_PASS = "select record_ledger.store_new_and_pass_valid_record(%s, null)"
_STORE = "call record_ledger.store_new_records(%s)"
_VERDICT = """
select * from record_ledger.record_verdicts
where pipeline_id = %s and window_start_time = (
    select max(window_start_time) from record_ledger.pipeline_records where pipeline_id = %s
)
"""
_STATUS = "select * from record_ledger.pipeline_progress where pipeline_id = %s"
_FIGURES = {
    "pass_pages": ("a pass", "pages", 1.2),
    "cycle_us": ("a cycle", "us", 1.2),
    "verdict_pages": ("one verdict", "pages", None),
    "status_pages": ("one status", "pages", None),
}
# The first one's copies, under other names.
_MORE_PIPELINES = """
insert into record_ledger.pipeline
select (jsonb_populate_record(p, jsonb_build_object('pipeline_id', 'p' || n, 'config',
    jsonb_set(p.config, '{default_record,pipeline_id}', to_jsonb('p' || n))))).*
from record_ledger.pipeline as p cross join generate_series(2, %s) as n
"""
_MORE_RECORDS = """
insert into record_ledger.record
select (jsonb_populate_record(r, jsonb_build_object('pipeline_id', 'p' || n))).*
from record_ledger.record as r cross join generate_series(2, %s) as n
where r.pipeline_id = 'p1'
"""
_MORE_CLAIMS = """
insert into record_ledger.claim (
    pipeline_id, claim_token, window_start_time, bound_run_id, active_mark
)
select pipeline_id, claim_token, window_start_time, run_id, window_start_time
from record_ledger.record where pipeline_id <> 'p1'
"""


@dataclass
class State:
    """A pipeline of a ledger, the step that the ledger is at, and what was measured of it."""

    name: str
    ledger: Ledger
    pipeline: str
    step: int
    config: dict[str, Any]
    cycles: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def cycle(self) -> float:
        """Runs one cycle and returns what it took."""
        passing, record = timed(self.ledger.cycle, as_json(self.config))
        completing, _ = timed(self.ledger.complete, record)
        return passing + completing

    def look(self, name: str, query: str, values: list[str]) -> None:
        """Notes how long a query takes and how many pages it touches: the least of a few looks."""
        pages, times = [], []
        for _ in range(LOOKS):
            with self.ledger.connection.transaction(force_rollback=True):
                explain = f"explain (analyze, buffers, timing off, format json) {query}"
                row = self.ledger.connection.execute(explain, values).fetchone()  # type: ignore[arg-type]
            assert row is not None
            plan = row[0][0]
            pages.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
            times.append(plan["Planning Time"] + plan["Execution Time"])
        self.figures |= {f"{name}_pages": min(pages), f"{name}_ms": round(min(times), 3)}


def measure(
    server: Server, report: Report, large: int = LARGE, rounds: int = ROUNDS, *, long: bool = False
) -> None:
    """Measures every state in turns, and holds each against a ledger of a thousand records.

    `large` is how many records a large pipeline has; `long` adds one with ten times as many.
    """
    found = _states(server, large, long=long)
    ledgers = {state.ledger.dsn: (state.ledger, state.step) for state in found}
    for ledger, _ in ledgers.values():
        ledger.connection.execute("vacuum analyze")
        ledger.connection.execute("set synchronous_commit = off")
    for turn in range(rounds + 20):
        for ledger, step in ledgers.values():
            ledger.go_to_step(step + turn)
        for state in found:
            spent = state.cycle()
            # The first ones fill caches and plans.
            if turn >= 20:
                state.cycles.append(spent)
    for ledger, step in ledgers.values():
        ledger.go_to_step(step + rounds + 20)
    for state in found:
        state.look("pass", _PASS, [as_json(state.config)])
        # So that each has an open record whose verdict can be asked for.
        state.ledger.connection.execute(_STORE, [state.pipeline])
        state.look("verdict", _VERDICT, [state.pipeline, state.pipeline])
        state.look("status", _STATUS, [state.pipeline])
        state.figures["cycle_us"] = round(median(state.cycles))
    for ledger, _ in ledgers.values():
        ledger.connection.close()
    report.series["growth"] = [{"name": state.name, **state.figures} for state in found]
    base = found[0]
    for figure, (what, unit, goal) in _FIGURES.items():
        lines = [
            Result(
                f"{what} on {state.name}",
                state.figures[figure] / base.figures[figure],
                goal,
                f"of {base.figures[figure]} {unit} on {base.name}",
            )
            for state in found[1:]
        ]
        report.add(f"growth of {what}", lines)


def _states(server: Server, large: int, *, long: bool) -> list[State]:
    found = []
    for count in [n for n in (1_000, 10_000, 100_000) if n < large] + [10 * large] * long:
        ledger = create_ledger(server, f"growth_{count}")
        fill(ledger.connection, ledger.config("finished"), count)
        found.append(_state(f"{count:,} finished records", ledger, "finished", count))
    many = create_ledger(server, "growth_pipelines")
    fill(many.connection, many.config("p1"), 10)
    pipelines = max(100, large // 100)
    for statement in (_MORE_PIPELINES, _MORE_RECORDS):
        with many.connection.transaction():
            many.connection.execute("set local session_replication_role = replica")
            many.connection.execute(statement, [pipelines])  # type: ignore[arg-type]
    many.connection.execute(_MORE_CLAIMS)
    found.append(_state(f"{pipelines:,} pipelines", many, f"p{pipelines // 2}", 10))
    ledger = create_ledger(server, "growth_large")
    for state, count, every in (
        ("finished", large, 1),
        ("waiting", large, 1),
        ("failed", large, 100),
        ("in backoff", large, 100),
        ("in progress", large, 100),
        ("incomplete", large // 10, 1),
    ):
        name = state.replace(" ", "_")
        config = ledger.config(name)
        if state == "incomplete":
            config["check_fields"] = ["path"]
            config["default_record"]["path"] = "orders"
        others = [(FINISHED, f"n %% {every} <> 0")] if every > 1 else []
        histories = [(HISTORIES[state], f"n %% {every} = 0"), *others]
        fill(ledger.connection, config, count, histories, first=large - count)
        of = f" of {count:,}" if every > 1 else ""
        title = f"{count // every:,}{of} {state}" + (" records" if every == 1 else "")
        found.append(_state(title, ledger, name, large, config))
    return found


def _state(
    name: str, ledger: Ledger, pipeline: str, stored: int, config: dict[str, Any] | None = None
) -> State:
    return State(name, ledger, pipeline, stored + 3, config or ledger.config(pipeline))
