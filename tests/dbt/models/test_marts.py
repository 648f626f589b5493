"""The marts on a real ledger, whose history their unit tests only imitate."""

from __future__ import annotations

import re

import yaml

from tests.dbt.support import PROJECT, rows_of
from tests.support.repository import ROOT, files, text

# record_timeline's counts, by what each counts.
COUNTED = {
    "pass_count": "passed",
    "repeat_count": "passed_again",
    "failure_count": "failed",
    "expiry_count": "lease_expired",
    "release_count": "released",
}


def test_the_timeline_has_every_record_with_all_of_its_events(lived_in):
    counts = ", ".join(
        f"count(*) filter (where e.event = '{event}') as {column}"
        for column, event in COUNTED.items()
    )
    expected = lived_in.execute(
        f"select r.pipeline_id, r.window_start_time, r.status, {counts} "
        "from record_ledger.pipeline_records as r "
        "left join record_ledger.record_events as e using (pipeline_id, window_start_time) "
        "group by r.pipeline_id, r.window_start_time, r.status"
    ).fetchall()
    columns = ("pipeline_id", "window_start_time", "status", *COUNTED)
    timeline = rows_of(lived_in, "record_timeline")
    assert sorted(tuple(row[column] for column in columns) for row in timeline) == sorted(expected)
    assert all(max(row[index] for row in expected) > 0 for index in range(3, len(columns)))
    assert all(
        len(row["attempts"]) == row["pass_count"]
        and (row["status"] == "IN_PROGRESS")
        is (row["attempts"] != [] and row["attempts"][-1]["ended_by"] is None)
        for row in timeline
    )


def test_a_timeline_tells_each_attempt_and_stays_the_same_in_the_archive(dbt, ledger, routines):
    routines.clock.set("2026-11-03T20:00:00Z")
    config = routines.register(
        "orders", start_at="2026-11-02", granularity="6h", retry_delay="1m", lease="30m"
    )
    for run_id in ("a", "b"):
        record = routines.cycle(config, run_id)
        routines.clock.advance("90s")
        if run_id == "a":
            routines.end("fail", record, "boom")
            routines.clock.advance("2m")
    routines.clock.advance("1h")
    routines.end("complete", routines.cycle(config, "b"))  # its lease had expired: a new attempt
    dbt.run("--select", "record_timeline", "unstored_windows", "pipeline_slo")

    (before,) = (row for row in rows_of(ledger, "record_timeline") if row["completed_at"])
    attempts = [
        (attempt["attempt"], attempt["run_id"], attempt["ended_by"])
        for attempt in before["attempts"]
    ]
    assert attempts == [(1, "a", "failed"), (2, "b", "lease_expired"), (3, "b", "completed")]
    assert before["run_seconds"] == 90  # nobody knows how long the second ran; the third took none
    assert (before["pass_count"], before["failure_count"], before["expiry_count"]) == (3, 1, 1)

    ledger.execute("select record_ledger.archive_records('orders', '2100-01-01T00:00:00Z')")
    (after,) = (row for row in rows_of(ledger, "record_timeline") if row["completed_at"])
    assert after == {**before, "is_archived": True}


def test_windows_that_nobody_comes_for_are_late_until_they_are_stored_and_then_still(
    dbt, ledger, routines
):
    routines.clock.set("2026-11-01T12:00:00Z")
    config = routines.register("orders", start_at="2026-11-01", granularity="1d")
    dbt.run("--select", "+pipeline_slo")

    def judged():
        return [
            (row["week_start_day"].isoformat(), row["late_count"], row["not_judged_count"])
            for row in rows_of(ledger, "pipeline_slo")
        ]

    # Sunday, 1 November, has 25 hours, is stable a day after its end, and judged a day after that.
    routines.clock.set("2026-11-04T00:00:00-08:00")
    assert judged() == [("2026-10-26", 0, 1), ("2026-11-02", 0, 1)]
    routines.clock.advance("1us")
    assert judged()[0] == ("2026-10-26", 1, 0)
    unstored = [row["target_day"].day for row in rows_of(ledger, "unstored_windows")]

    assert unstored == [1, 2, 3]
    before = judged()
    routines.cycle(config)
    assert rows_of(ledger, "unstored_windows") == []
    assert judged() == before


def test_the_exposures_are_commands_and_depend_on_what_those_read():
    commands = PROJECT / "models" / "exposures.yml"
    exposures = yaml.safe_load(commands.read_text(encoding="utf-8"))["exposures"]
    (readme,) = (path for path in files() if path.parts == ("sql", "README.md"))
    for exposure in exposures:
        command = exposure["label"]
        views = {re.findall(r"'(\w+)'", source)[1] for source in exposure["depends_on"]}
        readers = [
            line
            for line in text(ROOT / readme).splitlines()
            if line.startswith("| view") and f"`{command}`" in line
        ]
        told = {view for line in readers for view in re.findall(r"view `(\w+)`", line)}
        assert told and told <= views, command
