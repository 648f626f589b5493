"""Cycles of one pipeline while an old snapshot is held open: no call may slow down.

An index keeps an entry for each version of a row that the snapshot may still see, so whatever looks
through a lane from its beginning steps over all that was drained since. The cycles drain what was
backfilled, what was given back, and live windows, a third each. Costs are the backend's CPU time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from record_ledger import queries
from tests.benchmarks.bench import START, STEP, Ledger, create_ledger, make_config, undisturbed
from tests.benchmarks.lanes import Backend, require_cpu_times
from tests.benchmarks.report import Report, Result
from tests.support.databases import open_connection
from tests.support.server import Server

CYCLES = 20_000
LONG_CYCLES = 200_000
GOAL = 1.2
# So many calls at the beginning, and at the end, are held against each other.
SAMPLE = 200
_WARM_UP = 50

_LIVE = {"a pass": "a live pass", "an exit": "an exit", "complete_record": "complete_record"}


class Drain:
    """A pipeline that is drained, one cycle after the other."""

    def __init__(self, ledger: Ledger, backfilled: int) -> None:
        """Leaves room for so many windows to be backfilled, from the beginning of a day on."""
        self._ledger = ledger
        first = datetime.fromisoformat(START) + timedelta(seconds=backfilled * STEP)
        self.backend = Backend(ledger, make_config("p", start_at=first.isoformat()))
        self._step = backfilled + 1

    def live(self, passing: str = "a live pass", completing: str = "completes a live one") -> None:
        """Stores the window of the next step, passes the one before it and completes that."""
        self._step += 1
        self._ledger.go_to_step(self._step)
        self.backend.item(passing, completing)

    def returned(self) -> None:
        """Passes a live window, gives it back, passes it once more and completes it."""
        self._step += 1
        self._ledger.go_to_step(self._step)
        record = self.backend.cycle("gives back")["record"]
        self._ledger.connection.execute(
            queries.RELEASE_RECORD.encode(),
            ["p", record["claim_token"], None, record["window_start_time"]],
        )
        self.backend.item("a returned pass", "completes a returned one")

    def backfill(self) -> None:
        """Adds the windows before the first one."""
        self._ledger.connection.execute("select record_ledger.backfill_records('p', %s)", [START])

    def historical(self) -> None:
        """Passes a backfilled record and completes it."""
        # The clock goes on a little whenever it is read: no window may become due by that.
        self._ledger.go_to_step(self._step)
        self.backend.item("a historical pass", "completes a historical one")

    def sample(self, when: str) -> dict[str, float]:
        """Measures live cycles, each with an exit, and returns what each call costs."""
        for number in range(_WARM_UP + SAMPLE):
            # The first ones fill caches.
            kept = when if number >= _WARM_UP else "warm up"
            self.live(f"{kept}: a pass", f"{kept}: complete_record")
            self.backend.exit(f"{kept}: an exit")
        return {what: undisturbed(self.backend.costs[f"{when}: {what}"]) for what in _LIVE}


def measure(server: Server, report: Report, cycles: int = CYCLES) -> None:
    """Measures calls before and after so many cycles, and passes of each kind meanwhile.

    :raises lanes.Unavailable: where the system does not say what CPU time a process takes.
    """
    require_cpu_times("held_snapshot")
    ledger = create_ledger(server, "bench_snapshot")
    # Commits that wait for no disk: what is measured computes.
    ledger.connection.execute("set synchronous_commit = off")
    each = cycles // 3
    drain = Drain(ledger, each)
    with open_connection(ledger.dsn, autocommit=False) as analyst:
        drain.live()
        analyst.execute("set transaction isolation level repeatable read")
        analyst.execute("select count(*) from record_ledger.pipeline_records")
        before = drain.sample("before")
        drain.backfill()
        for _ in range(each):
            drain.historical()
        for _ in range(each):
            drain.returned()
        for _ in range(each):
            drain.live()
        after = drain.sample("after")
    costs = drain.backend.costs
    ledger.connection.close()
    report.series["held_snapshot"] = _curve(
        costs["a historical pass"] + costs["a returned pass"] + costs["a live pass"]
    )
    lines = [
        Result(
            f"{name} after {cycles:,} cycles",
            after[what] / before[what],
            GOAL,
            f"of {before[what]:.0f} us before them, of which a third each drained "
            "backfilled, returned and live records",
        )
        for what, name in _LIVE.items()
    ]
    sample = min(SAMPLE, each // 3)
    for kind in ("a historical pass", "a returned pass", "a live pass"):
        first, last = undisturbed(costs[kind][:sample]), undisturbed(costs[kind][-sample:])
        note = f"the last {sample} of {each:,} of the first ({first:.0f} us)"
        lines.append(Result(f"{kind} while they are drained", last / first, GOAL, note))
    report.add("held snapshot", lines)


def _curve(passes: list[float]) -> list[dict[str, int]]:
    """Returns what a pass cost after so many cycles, in 50 parts."""
    part = max(1, len(passes) // 50)
    return [
        {"cycles": end, "pass_us": round(undisturbed(passes[end - part : end]))}
        for end in range(part, len(passes) + 1, part)
    ]
