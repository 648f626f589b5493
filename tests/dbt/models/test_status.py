"""pipeline_status on a real ledger, at the instants at which it changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.dbt.support import rows_of

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


def test_the_lag_grows_from_the_instant_a_window_is_stable_whether_anybody_comes_or_not(
    dbt, routines
):
    # The local day of 1 November 2026 has 25 hours in Los Angeles.
    routines.clock.set("2026-11-01T12:00:00Z")
    config = routines.register("daily", granularity="1d", start_at="2026-11-01")
    dbt.run("--select", "pipeline_status")
    starts_at = datetime.fromisoformat("2026-11-01T00:00:00-07:00")
    stable_at = datetime.fromisoformat("2026-11-03T00:00:00-08:00")
    assert stable_at - starts_at == timedelta(hours=25 + 24)

    def at(instant):
        routines.clock.set(instant)
        return routines.status("daily")

    # Nobody comes: the window is not even stored.
    for instant, lag in [
        (stable_at - MICROSECOND, timedelta(0)),
        (stable_at, timedelta(0)),
        (stable_at + MICROSECOND, MICROSECOND),
        (stable_at + 2 * HOUR, 2 * HOUR),
        (stable_at + 2 * HOUR + MICROSECOND, 2 * HOUR + MICROSECOND),
        (stable_at + 24 * HOUR, 24 * HOUR),
    ]:
        status = at(instant)
        assert (status["verdict"], status["backlog_count"]) == ("NO_RECORDS", 0)
        assert status["oldest_valid_window"] is None
        assert status["done_until"] == starts_at
        assert status["lag"] == lag
        assert status["lag_hours"] == lag / HOUR
        assert status["is_behind"] is (lag > 2 * HOUR)

    # Somebody comes. Until the window is done it keeps the pipeline behind, and is no backlog.
    record = routines.cycle(config)
    status = routines.status("daily")
    assert (status["in_progress_count"], status["lag"]) == (1, 24 * HOUR)
    assert status["backlog_count"] == 1

    # The window of the next day is stable in this very instant: the pipeline is on time.
    routines.end("complete", record)
    status = routines.status("daily")
    assert (status["verdict"], status["lag"], status["is_behind"]) == ("READY", timedelta(0), False)
    assert status["oldest_valid_window"] == starts_at + 25 * HOUR
    assert status["done_until"] == starts_at + 25 * HOUR


def test_a_failed_record_and_a_pause_are_told_beside_the_verdict(lived_in):
    status = {row["pipeline_id"]: row for row in rows_of(lived_in, "pipeline_status")}
    lively, paused = status["lively"], status["paused"]
    assert (lively["verdict"], lively["failed_count"], lively["is_failing"]) == ("READY", 1, True)
    assert (lively["is_paused"], lively["paused_by"]) == (False, None)
    assert (paused["verdict"], paused["is_paused"], paused["is_failing"]) == ("PAUSED", True, False)
    (me,) = lived_in.execute("select session_user::text").fetchone()
    assert (paused["paused_by"], paused["pause_reason"]) == (me, "the source moves")
    assert paused["paused_at"] is not None
    assert paused["oldest_valid_window"] is None
    assert "retired" not in status


@pytest.mark.slow
def test_whoever_asks_for_one_pipeline_does_not_wait_until_all_are_judged(dbt, routines, ledger):
    for name in ("a", "b", "c"):
        routines.register(name)
    dbt.run("--select", "pipeline_status")
    ask = "explain (analyze, format json) select * from analytics.pipeline_status"
    for asked, judged in (("", 3), ("where pipeline_id = 'b'", 1)):
        (((plan,),),) = ledger.execute(f"{ask} {asked}").fetchall()
        assert judgements(plan["Plan"]) == judged


def judgements(node):
    own = node["Actual Loops"] if node.get("Function Name") == "pipeline_answer" else 0
    return own + sum(judgements(part) for part in node.get("Plans", []))
