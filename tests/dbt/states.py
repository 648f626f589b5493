"""A ledger in which every status, every event and every kind of pipeline occurs.

Made through the public routines.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from tests.support.clock import Clock
from tests.support.configs import make_config
from tests.support.databases import Connection

# The first of November has 25 hours in Los Angeles, which is 8 hours behind UTC when it ends.
START = "2026-11-03T20:00:00Z"


@dataclass
class Ledger:
    """The public routines of one ledger as calls."""

    connection: Connection
    clock: Clock

    def register(self, pipeline_id: str, **changes: Any) -> dict[str, Any]:
        config = make_config(pipeline_id, **changes)
        self.connection.execute("select record_ledger.register_pipeline(%s)", [Jsonb(config)])
        return config

    def cycle(self, config: dict[str, Any], run_id: str | None = None, built: Any = ()) -> Any:
        """Stores and passes; returns the record, or the verdict when no record is valid."""
        row = self.connection.execute(
            "select verdict, record from record_ledger.store_new_and_pass_valid_record(%s, %s, %s)",
            [Jsonb(config), run_id, Jsonb(list(built))],
        ).fetchone()
        assert row is not None
        return row[1] or row[0]

    def end(self, how: str, record: dict[str, Any], *more: Any) -> None:
        arguments = [record["pipeline_id"], record["claim_token"], *more]
        marks = ", ".join(["%s"] * len(arguments))
        self.connection.execute(f"select record_ledger.{how}_record({marks})", arguments)

    def status(self, pipeline_id: str) -> dict[str, Any]:
        """Returns a pipeline's row of the mart."""
        cursor = self.connection.execute(
            "select * from analytics.pipeline_status where pipeline_id = %s", [pipeline_id]
        )
        assert cursor.description is not None
        (row,) = cursor.fetchall()
        return dict(zip([column.name for column in cursor.description], row, strict=True))

    def waive(self, pipeline_id: str, *, oldest: str) -> None:
        """Waives the oldest record of that status."""
        self._change("waive_records", pipeline_id, oldest)

    def reopen(self, pipeline_id: str, *, oldest: str) -> None:
        """Reopens the oldest record of that status."""
        self._change("reopen_records", pipeline_id, oldest)

    def waive_counts(self, record: dict[str, Any]) -> None:
        self.connection.execute(
            "select record_ledger.waive_counts(%s, %s, 'x')",
            [record["pipeline_id"], record["window_start_time"]],
        )

    def backfill(self, pipeline_id: str, from_time: str) -> None:
        self.connection.execute(
            "select record_ledger.backfill_records(%s, record_ledger.pipeline_time(%s, %s))",
            [pipeline_id, pipeline_id, from_time],
        )

    def pause(self, pipeline_id: str, verb: str = "pause") -> None:
        """Pauses, retires or resumes."""
        self.connection.execute(
            f"select record_ledger.{verb}_pipeline(%s, 'the source moves')", [pipeline_id]
        )

    def _change(self, routine: str, pipeline_id: str, status: str) -> None:
        changed = self.connection.execute(
            f"select record_ledger.{routine}(pipeline_id, window_start_time, window_end_time, 'x') "
            "from record_ledger.pipeline_records where pipeline_id = %s and status = %s "
            "order by window_start_time limit 1",
            [pipeline_id, status],
        ).fetchone()
        assert changed == (1,)


def live_through_everything(ledger: Ledger) -> None:
    """Leaves pipelines of every verdict, records of every status, and a stopped clock."""
    ledger.clock.set(START)
    _lively(ledger)
    _special(ledger)
    # A lease of an hour runs out and the next pass takes the record back.
    config = ledger.register("expired", start_at="2026-11-01", retry_delay="10m", max_attempts=2)
    ledger.cycle(config, "a")
    ledger.clock.advance("2h")
    assert ledger.cycle(config, "b")["attempt"] == 2
    ledger.cycle(_just_stable(ledger, "lapsed", lease="5m", max_attempts=1), "a")
    ledger.clock.advance("10m")
    ledger.cycle(_just_stable(ledger, "held"), "a")
    ledger.end("fail", ledger.cycle(_just_stable(ledger, "failed"), "a"), "boom", False)
    ledger.end("fail", ledger.cycle(_just_stable(ledger, "in_backoff"), "a"), "boom")
    ledger.end("complete", ledger.cycle(_just_stable(ledger, "done")))
    settling = ledger.register("settling", start_at="2026-11-02T12:10:00-08:00", granularity="6h")
    assert ledger.cycle(settling) == "UNSTABLE"


def _just_stable(ledger: Ledger, pipeline_id: str, **changes: Any) -> dict[str, Any]:
    """Registers a pipeline with one window to store, stable at exactly this instant."""
    start_at = ledger.clock.now() - timedelta(hours=26)
    return ledger.register(pipeline_id, start_at=start_at.isoformat(), **changes)


def _lively(ledger: Ledger) -> None:
    """One pipeline whose few records have every event, across the 25-hour day."""
    config = ledger.register(
        "lively", start_at="2026-10-31", granularity="6h", max_attempts=2, retry_delay="1m"
    )
    ledger.end("complete", ledger.cycle(config, "a"), Jsonb({"rows": 1}))
    ledger.end("release", ledger.cycle(config, "b"))
    ledger.end("fail", ledger.cycle(config, "b"), "boom")
    ledger.clock.advance("1m")
    ledger.end("fail", ledger.cycle(config, "c"), "boom")  # failed for good
    ledger.cycle(config, "d")
    ledger.end("complete", ledger.cycle(config, "d"))  # passed again
    ledger.reopen("lively", oldest="COMPLETED")
    ledger.end("complete", ledger.cycle(config, "e"))
    ledger.waive("lively", oldest="FAILED")
    ledger.reopen("lively", oldest="WAIVED")
    ledger.end("fail", ledger.cycle(config), "once more", False)
    ledger.waive("lively", oldest="PENDING")
    ledger.cycle(config, "f")
    ledger.end("fail", ledger.cycle(config, "g"), "later")  # in backoff


def _special(ledger: Ledger) -> None:
    ledger.register("new")

    paused = ledger.register("paused", start_at="2026-11-02")
    ledger.pause("paused")
    assert ledger.cycle(paused) == "PAUSED"

    retired = ledger.register("retired", start_at="2026-11-02")
    ledger.cycle(retired)
    ledger.pause("retired", "retire")

    # A history that was extended across the 25-hour day, and whose first record is claimed.
    backfilled = ledger.register("backfilled", start_at="2026-11-02T12:00", granularity="5h")
    ledger.cycle(backfilled)
    ledger.backfill("backfilled", "2026-10-30T17:00")
    ledger.end("complete", ledger.cycle(backfilled))

    capped = ledger.register("capped", start_at="2026-11-02", max_active_records=1, lease="1d")
    ledger.cycle(capped)
    blocked = ledger.register("blocked", start_at="2026-11-02", depends_on_past=True, lease="1d")
    ledger.cycle(blocked)
    assert (ledger.cycle(capped), ledger.cycle(blocked)) == ("AT_CAPACITY", "BLOCKED")

    # Incomplete when stored, then rebuilt when the config fills the missing field.
    plain = {"start_at": "2026-11-02", "check_fields": ["key_x"]}
    for pipeline_id in ("rebuilt", "incomplete"):
        config = ledger.register(pipeline_id, **plain, fields={"key_x": ""})
        assert ledger.cycle(config) == "INCOMPLETE"
    config = ledger.register("rebuilt", **plain, fields={"key_x": "x"})
    ledger.end("complete", ledger.cycle(config))

    # Missing counts are waived: of a record that is then completed, and of one that a run holds.
    counted = ledger.register(
        "counted", start_at="2026-11-02", required_counts=["source", "target"]
    )
    for run_id in ("first", "second"):
        record = ledger.cycle(counted, run_id)
        ledger.waive_counts(record)
        if run_id == "first":
            ledger.end("complete", record)

    # Days without midnight and days of 23 and 25 hours.
    config = ledger.register(
        "days", timezone="America/Santiago", granularity="1d", start_at="2026-03-30"
    )
    for _ in range(10):
        ledger.end("complete", ledger.cycle(config))


EVENTS = {
    "passed", "passed_again", "completed", "failed", "released", "lease_expired", "waived",
    "reopened", "rebuilt", "counts_waived",
}  # fmt: skip
STATUSES = {"PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "WAIVED"}
