"""What a run found: counts by scenario, and what must be none, violations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.journal import Entry

TOLD = (
    "passed", "completed", "failed", "released", "lost", "feared lost", "refused", "unavailable",
    "no space", "extended", "observed", "stale token refused",
)  # fmt: skip


@dataclass
class Result:
    """One scenario: what was done to it, what it did meanwhile, and which rules were broken."""

    scenario: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    skipped: str | None = None
    seconds: float = 0.0

    def count(self, entries: list[Entry]) -> None:
        """Adds what processes were told, by kind."""
        self.counts.update(entry["what"] for entry in entries if entry["what"] in TOLD)

    @contextmanager
    def timed(self) -> Iterator[Result]:
        """Adds the seconds of the block; an error of the harness's own is a violation as well."""
        began = time.monotonic()
        try:
            yield self
        except Exception as error:  # noqa: BLE001 - the report tells of it, and the run goes on
            self.violations.append(f"the scenario ended with {type(error).__name__}: {error}")
        finally:
            self.seconds = round(time.monotonic() - began, 1)


def as_json(seed: int, results: list[Result]) -> dict[str, Any]:
    """Returns all of it, with sums of what all scenarios count."""
    return {
        "seed": seed,
        "seconds": round(sum(result.seconds for result in results), 1),
        "counts": dict(sum((result.counts for result in results), Counter[str]())),
        "faults": dict(sum((result.faults for result in results), Counter[str]())),
        "violations": sum(len(result.violations) for result in results),
        "scenarios": [vars(result) for result in results],
    }


def print_line(name: str, result: Result, seconds: float) -> None:
    """Says at once what a scenario did, for those who watch."""
    if result.skipped:
        print(f"{name}: skipped: {result.skipped}", flush=True)
        return
    faults = ", ".join(f"{number} x {fault}" for fault, number in result.faults.most_common())
    # The scenario against the model counts lives instead of passes.
    what = "lives" if result.counts["lives"] else "passed"
    print(
        f"{name}: {result.counts[what]:,} {what}, {faults or 'no faults'}; "
        f"{len(result.violations)} violations, {result.seconds:.0f} s of about {seconds:.0f}",
        flush=True,
    )


def print_table(seed: int, results: list[Result]) -> None:
    """Prints a line for each count, scenario by scenario, and the violations last."""
    for result in results:
        state = f"skipped: {result.skipped}" if result.skipped else f"{result.seconds:.0f} s"
        print(f"\n{result.scenario} ({state})")
        for title, numbers in (("", result.counts), ("survived: ", result.faults)):
            for name, number in numbers.most_common():
                print(f"  {title + name:<44}{number:>10,}")
    total = as_json(seed, results)
    print(
        f"\nseed {seed}: {total['counts'].get('passed', 0):,} passes, "
        f"{sum(total['faults'].values()):,} faults survived, "
        f"{total['violations']} violations, {total['seconds']:.0f} s"
    )
    for result in results:
        for violation in result.violations:
            print(f"VIOLATION in {result.scenario}: {violation}")
