"""One item through the ledger and through the queues that teams use in its place, in turns.

An item is enqueued, claimed and completed; its call is the first two. For the ledger that is store
+ pass, one commit, and complete, another; the queues take three. Each contender has a database of
its own on one server, and a driver (a process with one connection) for each of up to 16
connections. The contenders take turns of half a second; a ratio is the median over the rounds of
the ratio within a round.
"""

from __future__ import annotations

import statistics
from typing import Any

from tests.benchmarks.bench import BASELINES
from tests.benchmarks.contenders import LEVELS, Contender, Slice, contenders
from tests.benchmarks.environments import Environments
from tests.benchmarks.report import Report, Result
from tests.support.server import Server

ROUNDS = 8
SECONDS = 0.5


def measure(
    server: Server,
    environments: Environments,
    report: Report,
    levels: tuple[int, ...] = LEVELS,
    rounds: int = ROUNDS,
) -> None:
    """Measures everybody at every number of connections, round by round."""
    found = contenders(server, environments, report)
    try:
        for level in levels:
            for contender in found:
                if level in contender.levels:
                    contender.drivers(level)
            for _ in range(rounds):
                for contender in found:
                    if level in contender.levels:
                        contender.take_turn(level, SECONDS)
    finally:
        for contender in found:
            contender.end()
    report.series["speed"] = [
        {"name": contender.name, "connections": level, **_figures(slices)}
        for contender in found
        for level, slices in contender.slices.items()
    ]
    report.add("one item, one connection", _alone(found))
    report.add(f"items per second at {max(levels)} connections", _together(found, max(levels)))


def _named(found: list[Contender], name: str) -> Contender:
    return next(contender for contender in found if contender.name == name)


def _peers(found: list[Contender]) -> list[Contender]:
    return [each for each in found if each.config is None and each.name != "bare commit"]


def _figures(slices: list[Slice]) -> dict[str, Any]:
    items = sorted(spent for part in slices for spent in part.items)
    calls = [spent for part in slices for spent in part.calls]
    return {
        "items_per_second": round(statistics.median(part.rate for part in slices)),
        "call_median_us": round(statistics.median(calls)),
        "item_median_us": round(statistics.median(items)),
        "item_p99_us": items[min(len(items) - 1, len(items) * 99 // 100)],
    }


def _alone(found: list[Contender]) -> list[Result]:
    def slices(name: str) -> list[Slice]:
        return _named(found, name).slices[1]

    bare, ledger = slices("bare commit"), slices("record-ledger")
    plain, exits = slices("record-ledger, plain SQL"), slices("a call that exits")
    middle = statistics.median(statistics.median(part.items) for part in bare)
    of_bare = f"of a bare one-row insert commit ({middle:.0f} us)"

    def ratio(over: list[Slice], under: list[Slice], of: str = "items") -> float:
        return statistics.median(
            statistics.median(getattr(one, of)) / statistics.median(other.items)
            for one, other in zip(over, under, strict=True)
        )

    lines = [
        Result("store + pass", ratio(ledger, bare, "calls"), 1.8, of_bare),
        Result("store + pass, plain SQL", ratio(plain, bare, "calls"), 1.8, of_bare),
        Result("store + pass + complete", ratio(ledger, bare), 3.0, of_bare),
        Result("a call that exits", ratio(exits, bare), 0.5, of_bare),
    ]
    lines += [
        Result(f"{name}, called alike", ratio(slices(name), bare), None, of_bare)
        for name in BASELINES
    ]
    for peer in _peers(found):
        theirs = peer.slices[1]
        of = f"of its enqueue + claim + complete ({ratio(theirs, bare):.1f} commits)"
        lines.append(Result(f"an item beside {peer.name}", ratio(ledger, theirs), 0.5, of))
    return lines


def _together(found: list[Contender], level: int) -> list[Result]:
    """Compares throughput: as ratios of times, so that a smaller one is a faster ledger."""
    lines = []
    for name in ("record-ledger", "record-ledger, one pipeline"):
        mine = _named(found, name).slices[level]
        for peer in _peers(found):
            pairs = zip(peer.slices[level], mine, strict=True)
            lines.append(
                Result(
                    f"time per item, {name}",
                    statistics.median(theirs.rate / ours.rate for theirs, ours in pairs),
                    0.5,
                    f"of that of {peer.name} "
                    f"({statistics.median(part.rate for part in peer.slices[level]):.0f} items/s)",
                )
            )
    return lines
