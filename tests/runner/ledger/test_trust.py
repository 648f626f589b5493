"""What is at risk, late, changed and sealed, from Python and the command line."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import ClaimLost, InvalidArgument, RecordLedger, UnknownPipeline

DAY = dt.date(2026, 11, 21)


@pytest.fixture
def orders(runner, config, clock):
    """A day of twelve windows, each loaded with 10 rows; the first one has changed by 1 since."""
    given = config(
        "orders",
        source_retention="8d",
        x_time_back="1h",
        start_at="2026-11-21",
        recount_ages=["1h", "1d"],
    )
    clock.set("2026-11-22T09:00:00Z")  # 01:00 in Los Angeles
    for _ in range(12):
        record = runner.store_new_and_pass_valid_record(given).record
        for stage in ("source", "target"):
            runner.observe_record(
                "orders", record["window_start_time"], stage, 10,
                detail={"bytes": 4096}, claim_token=record["claim_token"],
            )  # fmt: skip
        runner.complete_record("orders", record["claim_token"])
    clock.advance("1h")
    runner.observe_record("orders", dt.datetime(2026, 11, 21), "source", 11)
    return given


# ---------------------------------------------------------------- Python
def test_each_method_reads_what_the_object_of_its_name_says(runner, clock, orders):
    due = runner.recount_due("orders")
    assert [row["window_start_time"].isoformat() for row in due][:2] == [
        "2026-11-21T02:00:00-08:00", "2026-11-21T04:00:00-08:00",
    ]  # fmt: skip
    assert due[0]["due_at"].isoformat() == "2026-11-22T02:00:00-08:00"
    assert (len(due), due[0]["recount_age"], due[0]["loaded_count"]) == (
        11,
        dt.timedelta(hours=1),
        10,
    )

    (changed,) = runner.changed_records("orders")
    assert (changed["loaded_count"], changed["source_count"], changed["changed_by"]) == (10, 11, 1)
    assert changed["observed_at"].timezone_name == "America/Los_Angeles"

    assert runner.is_day_sealed("orders", DAY) is True
    assert runner.is_day_sealed("orders", "2026-11-22") is False
    (day,) = runner.daily_coverage("orders", DAY, DAY)
    assert (day["local_date"], day["is_sealed"], day["window_count"]) == (DAY, True, 12)
    assert day["day_start_time"].isoformat() == "2026-11-21T00:00:00-08:00"
    assert day["counts"] == {stage: {"rows": 120, "windows": 12} for stage in ("source", "target")}
    assert len(runner.daily_coverage("orders")) == 1

    ages = runner.pipeline_lateness("orders")
    assert [row["recount_age"] for row in ages] == [
        dt.timedelta(0),
        dt.timedelta(hours=1),
        dt.timedelta(days=1),
    ]
    suggestion = runner.suggest_x_time_back("orders", 0.01)
    assert (suggestion["x_time_back"], suggestion["window_count"]) == (None, 0)
    assert "20 are needed" in suggestion["reason"]
    assert runner.suggest_x_time_back("orders", Decimal("0.5"))["missed_share"] is None

    clock.set("2026-11-29T08:00:00Z")
    rows = runner.records_at_risk("orders", limit=2)
    assert [row["status"] for row in rows] == [None, None]
    assert rows[0]["time_left"] == dt.timedelta(days=1, hours=2)
    assert rows[0]["source_kept_until"].isoformat() == "2026-11-30T02:00:00-08:00"
    assert len(runner.records_at_risk(only_at_risk=True)) < len(runner.records_at_risk())


STYLES = [
    "-c datestyle=German -c intervalstyle=iso_8601",
    "-c datestyle=SQL,DMY -c intervalstyle=postgres_verbose",
    "-c intervalstyle=sql_standard -c bytea_output=escape -c standard_conforming_strings=off",
]


@pytest.mark.parametrize("options", STYLES)
def test_answers_are_the_same_however_the_session_writes_times(runner, ledger_dsn, orders, options):
    def reported(asked):
        return [
            asked.recount_due("orders"),
            asked.changed_records(),
            asked.daily_coverage("orders"),
            asked.pipeline_lateness(),
            asked.suggest_x_time_back("orders", 0.5),
            asked.records_at_risk(),
            asked.record_observations("orders", asked.changed_records()[0]["window_start_time"]),
            asked.record_verdicts(),
            asked.pipeline_progress(),
            asked.pipelines(),
            asked.record_events("orders"),
            asked.plan_runs("orders", at=dt.datetime(2026, 11, 23), run_duration="20m"),
        ]

    with RecordLedger(make_conninfo(ledger_dsn, options=options)) as styled:
        assert reported(styled) == reported(runner)
        assert styled.reopen_changed_records("orders") == 1


def test_a_count_is_noted_as_it_was_made(runner, ledger, orders):
    found = ledger.execute(
        "select observation_no, stage, row_count, detail, is_evidence "
        "from record_ledger.record_observations "
        "where window_start_time = '2026-11-21 00:00-08' order by 1"
    ).fetchall()
    assert found == [
        (1, "source", 10, {"bytes": 4096}, True),
        (2, "target", 10, {"bytes": 4096}, True),
        (3, "source", 11, {}, False),
    ]
    start = dt.datetime(2026, 11, 21)
    assert runner.observe_record("orders", start, "source", 12) == 4
    with pytest.raises(ClaimLost):
        runner.observe_record("orders", start, "source", 12, claim_token=1)
    with pytest.raises(InvalidArgument, match="row_count: -1 is not a valid count"):
        runner.observe_record("orders", start, "source", -1)


def test_the_largest_counts_add_up(runner, clock, config):
    given = config("orders", x_time_back="1h", start_at="2026-11-21", recount_ages=["1s"])
    most = 2**63 - 1
    for now in ("2026-11-21T11:00:00Z", "2026-11-21T13:00:00Z"):
        clock.set(now)
        record = runner.store_new_and_pass_valid_record(given).record
        start, token = record["window_start_time"], record["claim_token"]
        runner.observe_record("orders", start, "source", most, claim_token=token)
        runner.complete_record("orders", token)
        clock.advance("1s")
        runner.observe_record("orders", start, "source", most)
    assert [row["row_count"] for row in runner.pipeline_lateness()] == [2 * most, 2 * most]
    (day,) = runner.daily_coverage("orders")
    assert day["counts"] == {"source": {"rows": 2 * most, "windows": 2}}


def test_what_has_changed_is_reopened_once(runner, orders):
    assert runner.reopen_changed_records("orders") == 1
    assert runner.reopen_changed_records("orders") == 0
    assert runner.is_day_sealed("orders", DAY) is False
    (reopened,) = [row for row in runner.pipeline_records("orders") if row["status"] == "PENDING"]
    assert (reopened["generation"], reopened["published_generation"]) == (2, 1)
    (day,) = runner.daily_coverage("orders", DAY)
    assert (day["is_published"], day["is_sealed"], day["open_count"]) == (True, False, 1)


def test_a_pipeline_or_a_share_that_is_none_is_an_error_of_its_own(runner, orders):
    for call in (runner.recount_due, runner.reopen_changed_records, runner.suggest_x_time_back):
        with pytest.raises(UnknownPipeline, match="order"):
            call("order")
    with pytest.raises(InvalidArgument, match=r"max_missed: 1\.5 is not a share"):
        runner.suggest_x_time_back("orders", 1.5)


@pytest.mark.parametrize(
    "day", ["tomorrow", "21/11/2026", "20261121", None, dt.datetime(2026, 11, 21, 9)]
)
def test_a_day_is_read_in_one_way_whatever_the_server_would_make_of_it(runner, orders, day):
    for call in (
        lambda: runner.is_day_sealed("orders", day),
        lambda: runner.daily_coverage("orders", day or "today"),
        lambda: runner.daily_coverage("orders", None, day or "today"),
    ):
        with pytest.raises(InvalidArgument, match="is not a valid day; give a date"):
            call()


# ---------------------------------------------------------------- the command line
def test_what_is_at_risk_is_shown_first_things_first(command, clock, orders):
    assert command("at-risk").out == "No window is at risk.\n"
    clock.set("2026-11-30T09:00:00Z")
    done = command("at-risk", "orders", "--limit", "2")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["PIPELINE", "WINDOW", "STATUS", "SOURCE", "KEPT", "UNTIL", "TIME", "LEFT", "AT", "RISK"],
        ["orders", "2026-11-22", "00:00", "not", "stored", "2026-11-30", "02:00", "1h", "yes"],
        ["orders", "2026-11-22", "02:00", "not", "stored", "2026-11-30", "04:00", "3h", "yes"],
        ["These", "are", "the", "first", "2;", "--limit", "0", "shows", "all."],
    ]
    everything = command("at-risk", "--all", "--limit", "0", "--json").json
    assert everything["left_out"] is False
    assert everything["records"][0]["time_left"] == 3600
    assert not everything["records"][-1]["is_at_risk"]
    status = command("status", "--fail-on", "at-risk")
    assert status.code == 1
    assert "pipeline orders has windows at risk: 24" in status.err
    assert "AT RISK  LOST" not in status.out and "AT RISK" in status.out


def test_a_lost_window_is_in_the_status(command, clock, runner, orders):
    clock.set("2026-11-30T10:30:00Z")
    runner.store_new_and_pass_valid_record(orders)
    lines = command("status").out.splitlines()
    assert lines[0].split()[7:10] == ["AT", "RISK", "LOST"]
    assert command("status", "--json").json["pipelines"][0]["lost_count"] == 1


def test_what_is_to_be_counted_again_and_what_has_changed(command, orders):
    due = command("recount-due", "orders")
    assert due.out.splitlines()[1].split() == [
        "2026-11-21", "02:00", "1", "10", "2026-11-22", "01:00", "1h", "2026-11-22", "02:00",
    ]  # fmt: skip
    assert len(command("recount-due", "orders", "--json").json["records"]) == 11
    changed = command("changed")
    assert changed.out.splitlines()[1].split() == [
        "orders", "2026-11-21", "00:00", "10", "11", "+1", "2026-11-22", "02:00", "exceeded",
    ]  # fmt: skip
    reopened = command("reopen-changed", "orders")
    assert reopened.out.splitlines()[0] == "orders: 1 record reopened"
    assert reopened.json == {"pipeline_id": "orders", "reopened_count": 1, "left_count": 0}
    assert command("changed", "orders").out == "No completed window has changed.\n"


def test_how_late_data_came_and_what_that_asks_for(command, orders):
    rows = command("lateness", "orders").out.splitlines()
    assert rows[1].split() == ["orders", "first", "0", "0", "-", "-", "-"]
    assert command("lateness", "--json").json["lateness"][1]["recount_age"] == 3600
    suggestion = command("suggest-x-time-back", "orders", "--max-missed", "0.001")
    assert suggestion.code == 0
    assert suggestion.out.startswith("orders: nothing can be suggested: 0 windows were counted")
    assert suggestion.json["x_time_back"] is None


def test_a_sealed_day_is_told_by_the_exit_code(command, orders):
    sealed = command("is-day-sealed", "orders", "2026-11-21")
    assert (sealed.code, sealed.json["is_sealed"]) == (0, True)
    assert command("is-day-sealed", "orders", "2026-11-22").code == 99
    assert command("coverage", "orders").out.splitlines()[1].split() == [
        "2026-11-21", "1d", "1d", "12", "12", "0", "0", "sealed", "source", "120,", "target", "120",
    ]  # fmt: skip
    command(
        "reopen", "orders", "--from", "2026-11-21", "--to", "2026-11-21T02:00", "--reason", "why"
    )
    assert command("is-day-sealed", "orders", "2026-11-21").code == 99
    assert "published" in command("coverage", "orders").out.splitlines()[1]
    assert command("coverage", "orders", "--from", "2026-11-22", "--json").json["days"] == []


@pytest.mark.parametrize(
    "name",
    [
        "recount-due", "reopen-changed", "suggest-x-time-back", "at-risk", "changed", "lateness",
        "coverage",
    ],
)  # fmt: skip
def test_an_unknown_pipeline_is_one_clear_error(command, orders, name):
    done = command(name, "order")
    assert done.code == 1
    assert "order" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["is-day-sealed", "orders"],
        ["is-day-sealed", "orders", "yesterday"],
        ["coverage", "orders", "--from", "2026-13-01"],
        ["suggest-x-time-back", "orders", "--max-missed", "2"],
        ["suggest-x-time-back", "orders", "--max-missed", "few"],
    ],
)
def test_wrong_usage_is_told_before_the_database_is_asked(command, arguments):
    assert command(*arguments).code == 2
