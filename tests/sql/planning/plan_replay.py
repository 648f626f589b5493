"""Makes a plan come true: real passes at the planned instants, and what must hold before, at and after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.sql.support import MICROSECOND, Answer, complete, extend, one, rows
from tests.support.clock import Clock
from tests.support.databases import Connection

COLUMNS = (
    "run_no", "window_start_time", "window_end_time", "target_day", "is_stored", "stable_at", "is_backlog",
    "starts_at", "ends_at", "generation", "attempt", "drains_backlog",
)  # fmt: skip
PLAN = f"""
    select {", ".join(COLUMNS)}
    from record_ledger.plan_runs(%(name)s, %(runs)s, workers => %(workers)s, run_duration => %(run_duration)s)
"""
STORED = "select window_start_time from record_ledger.pipeline_records where pipeline_id = %s"
CLAIMS = """
    select r.claim_token, r.lease_expires_at, max(e.event_time)
    from record_ledger.pipeline_records as r
    join record_ledger.record_events as e using (pipeline_id, window_start_time, claim_token)
    where r.pipeline_id = %s and r.status = 'IN_PROGRESS'
    group by 1, 2
"""
# Stable windows that are still to be passed, those of the given claims left out.
LEFT = """
    select (
        select count(*) from (
            select r.window_end_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and coalesce(r.claim_token, 0) <> all (%(alive)s)
                and case when r.config_version >= p.fields_version then r.missing_fields is null else %(can_build)s end
                and not record_ledger.is_lost(r.window_end_time, p.source_retention, record_ledger.clock())
                and (r.status = 'PENDING' or r.status = 'IN_PROGRESS' and r.attempt < p.max_attempts)
            union all
            select w.window_end_time from record_ledger.new_windows(p.pipeline_id) as w
            where %(can_build)s
                and not record_ledger.is_lost(w.window_end_time, p.source_retention, record_ledger.clock())
        ) as w
        where w.window_end_time + p.x_time_back <= record_ledger.clock()
    )
    from record_ledger.pipeline as p
    where p.pipeline_id = %(name)s
"""
LONG = timedelta(days=40)


@dataclass
class Run:
    """A claim that will be completed; `planned` is its row of the plan, None for one that was there before."""

    ends_at: datetime
    token: int
    planned: dict[str, Any] | None = None


@dataclass
class Replay:
    """One pipeline and its plan; `ask` makes the whole cycle of a run, `can_build` says whether that fills a record."""

    ledger: Connection
    clock: Clock
    name: str
    ask: Callable[[], Answer]
    can_build: bool
    # Whether windows may be lost while the plan comes true: it then may say late that a backlog is drained.
    may_lose: bool
    claims: list[Run] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)
    is_drained: bool = False

    def comes_true(self, runs: int, workers: int, run_duration: str | None) -> list[dict[str, Any]]:
        """Plans and then lives through it; returns the plan."""
        plan = self.plan(runs=runs, workers=workers, run_duration=run_duration)
        stored = {start for (start,) in rows(self.ledger, STORED, [self.name])}
        start = self.clock.now()
        self.claims = self.claims_that_complete(run_duration)
        planned = [row for row in plan if row["run_no"] is not None]
        assert [row["run_no"] for row in planned] == list(range(1, len(planned) + 1))
        for row in planned:
            assert row["is_stored"] == (row["window_start_time"] in stored)
            assert row["is_backlog"] == (row["stable_at"] <= start)
            before = row["starts_at"] - MICROSECOND
            if before >= self.clock.now():
                self.move_to(before)
                if len(self.running) < workers:
                    assert self.ask().verdict != "READY", f"sooner than planned: {row}"
            self.move_to(row["starts_at"])
            answer = self.ask()
            if answer.verdict == "INCOMPLETE":
                # That call took back a lost claim; the next caller builds its record.
                answer = self.ask()
            assert answer.record is not None, (row, answer.reason)
            found = [answer.record[name] for name in ("generation", "attempt", "target_day")]
            assert answer.start == row["window_start_time"], row
            assert found == [row["generation"], row["attempt"], row["target_day"].isoformat()]
            end = datetime.fromisoformat(answer.record["window_end_time"])
            assert end == row["window_end_time"], row
            self.running.append(Run(row["ends_at"], answer.token, row))
        while self.running:
            self.move_to(self.running[0].ends_at)
        if len(planned) < runs:
            assert plan[-1]["run_no"] is None and len(plan) == len(planned) + 1
            self.move_to(self.clock.now() + LONG)
            for _ in range(3):
                assert self.ask().verdict != "READY", plan[-1]
        else:
            assert plan == planned
        return plan

    def plan(self, **arguments: Any) -> list[dict[str, Any]]:
        found = rows(self.ledger, PLAN, {"name": self.name, **arguments})
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    def claims_that_complete(self, run_duration: str | None) -> list[Run]:
        """The claims whose leases still run, with their ends; all others are lost."""
        now = self.clock.now()
        duration = one(
            self.ledger,
            "select coalesce(%s::interval, record_ledger.expected_duration(%s))",
            [run_duration, self.name],
        )
        found = []
        for token, lease_expires_at, passed_at in rows(self.ledger, CLAIMS, [self.name]):
            if lease_expires_at > now:
                ends_at = now if duration is None else passed_at + duration
                found.append(Run(ends_at if ends_at > now else lease_expires_at, token))
        return found

    def move_to(self, instant: datetime) -> None:
        """Sets the clock, and completes on the way what ends; all others send a heartbeat."""
        over = [run for run in self.claims + self.running if run.ends_at <= instant]
        # Planned ones last: what they leave behind is judged when all that ends with them has ended.
        for run in sorted(over, key=lambda run: (run.ends_at, run.planned is not None)):
            self.clock.set(run.ends_at)
            complete(self.ledger, run.token, self.name)
            (self.claims if run.planned is None else self.running).remove(run)
            if run.planned is not None:
                self.judge_end_of(run.planned)
        self.clock.set(instant)
        for run in self.claims + self.running:
            extend(self.ledger, run.token, self.name)

    def judge_end_of(self, planned: dict[str, Any]) -> None:
        left = len(self.running) + one(
            self.ledger,
            LEFT,
            {
                "name": self.name,
                "can_build": self.can_build,
                "alive": [run.token for run in self.claims],
            },
        )
        if self.may_lose:
            assert not (planned["drains_backlog"] and left), (planned, left)
            return
        assert planned["drains_backlog"] == (not left and not self.is_drained), (planned, left)
        self.is_drained = self.is_drained or not left
