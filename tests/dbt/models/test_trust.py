"""Sealed days and late data in dbt: the marts on a real ledger, and the tests for a team."""

from __future__ import annotations

import shutil

import pytest
import yaml

from tests.dbt.support import PROJECT, Dbt
from tests.sql.counts.counting import observe, waive_counts
from tests.sql.support import operate

TESTS = {
    "sealed": ("sealed_through", {"pipeline_id": "orders", "date": "2026-11-01"}),
    "sealed_but_today": ("sealed_through", {"pipeline_id": "orders", "days_ago": 1}),
    "sealed_today": ("sealed_through", {"pipeline_id": "orders", "days_ago": 0}),
    "sealed_later": ("sealed_through", {"pipeline_id": "orders", "date": "2026-11-30"}),
    "sealed_from_later_on": (
        "sealed_through",
        {"pipeline_id": "orders", "date": "2026-11-01", "from_date": "2026-11-01"},
    ),
    "sealed_first_day": ("sealed_through", {"pipeline_id": "orders", "date": "2026-10-31"}),
    "agree": ("counts_agree", {"pipeline_id": "orders"}),
    "agree_nearly": ("counts_agree", {"pipeline_id": "orders", "tolerance": "1 row"}),
    "agree_alone": ("counts_agree", {"pipeline_id": "orders", "stages": ["source"]}),
    "agree_from_later_on": ("counts_agree", {"pipeline_id": "orders", "from_date": "2026-11-02"}),
    "sealed_unknown": ("sealed_through", {"pipeline_id": "order's", "date": "2026-11-01"}),
    "agree_unknown": ("counts_agree", {"pipeline_id": "order's"}),
    "agree_by_nothing": ("counts_agree", {"pipeline_id": "orders", "tolerance": "lots"}),
}  # fmt: skip


@pytest.fixture
def project(ledger_dsn, tmp_path):
    """The package with a team's own model, and data tests on it: `project(tests)`."""

    def make(tests):
        folder = tmp_path / "project"
        shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
        (folder / "models" / "mine.sql").write_text("select 1 as one")
        model = {
            "name": "mine",
            "config": {
                "contract": {"enforced": False},
                "persist_docs": {"relation": False, "columns": False},
            },
            "data_tests": [
                {kind: {"name": name, "arguments": arguments}}
                for name, (kind, arguments) in tests.items()
            ],
        }
        (folder / "models" / "mine.yml").write_text(yaml.safe_dump({"models": [model]}))
        return Dbt(ledger_dsn, tmp_path, project=folder)

    return make


@pytest.fixture
def on_pipelines(project):
    """Runs all of the tests above, and gives those that failed."""
    dbt = project(TESTS)
    dbt.run("--select", "mine daily_coverage lateness")

    def failing():
        outcome = dbt("test", "--select", "mine")
        assert set(outcome.results) == set(TESTS), outcome.error
        assert set(outcome.results.values()) <= {"pass", "fail"}, outcome.messages
        return outcome.named("fail")

    return failing


ALWAYS = {"sealed_unknown", "agree_unknown", "agree_by_nothing"}


def load(ledger, routines, config, target=7):
    record = routines.cycle(config)
    for stage, count in (("source", 7), ("target", target)):
        observe(ledger, record["window_start_time"], stage, count, record["claim_token"])
    routines.end("complete", record)
    return record


@pytest.mark.slow
def test_the_marts_and_the_tests_tell_what_the_days_of_a_pipeline_are_worth(
    on_pipelines, ledger, routines
):
    # A day of 25 hours in Los Angeles, which the pipeline begins in the evening before.
    routines.clock.set("2026-11-02T20:00:00Z")
    config = routines.register(
        "orders", start_at="2026-10-31T20:00", granularity="5h", x_time_back="1h"
    )
    assert on_pipelines() == ALWAYS | {
        "sealed",
        "sealed_but_today",
        "sealed_today",
        "sealed_later",
        "sealed_from_later_on",
        "sealed_first_day",
    }
    records = [load(ledger, routines, config) for _ in range(6)]
    assert on_pipelines() == ALWAYS | {"sealed_today", "sealed_later"}
    days = ledger.execute(
        "select local_date::text, state, day_hours, uncovered_hours, source_rows, "
        "is_target_counted "
        "from analytics.daily_coverage order by 1"
    ).fetchall()
    assert days == [
        ("2026-10-31", "incomplete", 24, 20, 7, True),
        ("2026-11-01", "sealed", 25, 0, 35, True),
        ("2026-11-02", "open", 24, 24, None, False),
    ]
    assert ledger.execute(
        "select recount_age_hours, has_enough_windows from analytics.lateness order by 1"
    ).fetchall() == [(0, False), (1, False), (24, False), (168, False)]

    # Opened again, a day is published still; loaded anew, its counts are off by one.
    for record in (records[0], records[2]):
        operate(ledger, "reopen", record["window_start_time"], record["window_end_time"])
    assert on_pipelines() == ALWAYS | {
        "sealed",
        "sealed_but_today",
        "sealed_today",
        "sealed_later",
        "sealed_from_later_on",
        "sealed_first_day",
    }
    assert ledger.execute(
        "select state from analytics.daily_coverage where day_hours = 25"
    ).fetchall() == [("published",)]
    for target in (7, 8):
        load(ledger, routines, config, target)
    assert on_pipelines() == ALWAYS | {"sealed_today", "sealed_later", "agree"}


@pytest.mark.slow
def test_waived_counts_stay_waived_while_the_window_is_loaded_anew(project, ledger, routines):
    routines.clock.set("2026-11-02T20:00:00Z")
    config = routines.register(
        "orders",
        start_at="2026-11-01",
        granularity="1d",
        x_time_back="1h",
        required_counts=["source", "target"],
    )
    record = routines.cycle(config)
    waive_counts(ledger, record["window_start_time"])
    routines.end("complete", record)
    operate(ledger, "reopen", record["window_start_time"], record["window_end_time"])
    dbt = project({"agree": TESTS["agree"]})
    dbt.run("--select", "mine")
    assert dbt("test", "--select", "mine").results == {"agree": "pass"}


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("sealed_through", {}, "give date"),
        pytest.param(
            "sealed_through", {"days_ago": "one"}, "days_ago is one", marks=pytest.mark.slow
        ),
        pytest.param(
            "sealed_through", {"date": "yesterday"}, "date is yesterday", marks=pytest.mark.slow
        ),
        pytest.param(
            "counts_agree", {"from_date": "1/2/26"}, "from_date is 1/2/26", marks=pytest.mark.slow
        ),
        ("counts_agree", {"stages": []}, "stages is []"),
        pytest.param(
            "counts_agree", {"stages": "source"}, 'stages is "source"', marks=pytest.mark.slow
        ),
    ],
)
def test_a_test_that_is_asked_nonsense_says_so(project, kind, arguments, says):
    outcome = project({"wrong": (kind, {"pipeline_id": "orders", **arguments})})("parse")
    assert not outcome.success
    assert f"record_ledger.{kind}: {says}" in outcome.error


@pytest.mark.slow
def test_a_build_of_empty_models_can_ask_each_of_the_tests(project):
    outcome = project(TESTS)("build", "--empty", "--select", "mine")
    # Of an empty ledger they fail, but are no errors: dbt names what it limits by itself.
    assert outcome.named("fail") == set(TESTS), outcome.messages
