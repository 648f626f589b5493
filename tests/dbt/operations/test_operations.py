"""The macros for `dbt run-operation`: each does what its routine does, and commits once."""

from __future__ import annotations

import datetime as dt
import json
import shutil

import pytest
import yaml

from tests.dbt.support import PROJECT, Dbt

# Each start of dbt takes seconds, so one operation does the work of many.
ALL_OF_THEM = """
{% macro all_of_them(texts, start, token) %}
    {% set day = ['orders', '2026-11-02', '2026-11-03'] %}
    {% do waive_records(*day, reason='not needed') %}
    {% do expire_leases(*day, reason='the host is gone') %}
    {% do reopen_records(*day, reason='needed after all') %}
    {% do backfill_records('orders', '2026-11-01') %}
    {% do reopen_changed_records('orders') %}
    {% do pause_pipeline('orders', 'the source moves') %}
    {% do retire_pipeline('orders', reason='no team reads it') %}
    {% do resume_pipeline('orders') %}
    {% do resume_pipeline('orders', 'again') %}
    {% do observe_record('counted', start, 'source', 7, claim_token=token) %}
    {% do observe_record('counted', start, texts[0], 0, {'text': texts[0]}) %}
    {% do adopt_observations('counted', token) %}
    {% do adopt_observations('counted', token, 'source') %}
    {% do set_pipeline_owner('counted', 'pg_monitor') %}
    {% do waive_counts('counted', '2026-11-02', 'known') %}
    {% for text in texts %}
        {% do pause_pipeline(text, text) %}
        {% do record_ledger.expire_leases(text, '2026-11-02', '2026-11-03T00:00:00Z', text) %}
    {% endfor %}
{% endmacro %}
"""
NASTY = (
    "it's \\'; drop schema record_ledger cascade; -- %s %(x)s $$ \"q\" \\",
    "'",
    "\\",
    "\\' || chr(65) || '",
    "E'\\n\n\tü'",
)


@pytest.fixture
def operations(ledger_dsn, tmp_path):
    """The package with one more macro, which calls all others."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "macros" / "all_of_them.sql").write_text(ALL_OF_THEM)
    return Dbt(ledger_dsn, tmp_path, project=project)


@pytest.fixture
def orders(routines):
    routines.clock.set("2026-11-03T20:00:00Z")
    config = routines.register("orders", start_at="2026-11-02", granularity="6h", max_attempts=1)
    routines.end("fail", routines.cycle(config, "a"), "boom")
    routines.cycle(config, "b")
    return "orders"


def histories(ledger):
    return ledger.execute(
        "select r.status, array_agg(e.event order by e.event_no), "
        "array_remove(array_agg(e.detail ->> 'reason' order by e.event_no), null) "
        "from record_ledger.pipeline_records as r "
        "join record_ledger.record_events as e using (pipeline_id, window_start_time) "
        "where pipeline_id = 'orders' "
        "group by r.window_start_time, r.status order by r.window_start_time"
    ).fetchall()


def test_every_macro_does_what_its_routine_does_commits_once_and_takes_any_text(
    operations, orders, routines, ledger
):
    assert [events for _, events, _ in histories(ledger)] == [["passed", "failed"], ["passed"]]
    for text in NASTY:
        routines.register(text)
    counted = routines.register(
        "counted", start_at="2026-11-02", required_counts=["source", "target"]
    )
    held = routines.cycle(counted)
    arguments = {"texts": NASTY, "start": held["window_start_time"], "token": held["claim_token"]}

    outcome = operations("run-operation", "all_of_them", "--args", json.dumps(arguments))

    assert outcome.success, outcome.error
    assert histories(ledger) == [
        (
            "PENDING",
            ["passed", "failed", "waived", "reopened"],
            ["not needed", "needed after all"],
        ),
        (
            "PENDING",
            ["passed", "lease_expired", "reopened"],
            ["the host is gone", "needed after all"],
        ),
    ]
    # Los Angeles had 25 hours that day: four windows of six hours and one of one hour.
    count = "select count(*) from record_ledger.pipeline_records where pipeline_id = 'orders'"
    assert ledger.execute(count).fetchone() == (2 + 5,)
    events = ledger.execute(
        "select event, detail ->> 'reason' from record_ledger.pipeline_events "
        "where pipeline_id = 'orders' order by event_no"
    ).fetchall()
    assert events == [
        ("registered", None),
        ("backfilled", None),
        ("paused", "the source moves"),
        ("retired", "no team reads it"),
        ("resumed", None),
    ]
    assert ledger.execute(
        "select stage, row_count, detail, is_evidence "
        "from record_ledger.record_observations order by observation_no"
    ).fetchall() == [("source", 7, {}, True), (NASTY[0], 0, {"text": NASTY[0]}, False)]
    waived = "select counts_waived from record_ledger.pipeline_records where claim_token = %s"
    assert ledger.execute(waived, [held["claim_token"]]).fetchone() == (True,)
    owned = "select owner_role from record_ledger.pipelines where pipeline_id = 'counted'"
    assert ledger.execute(owned).fetchone() == ("pg_monitor",)
    paused = ledger.execute(
        "select pipeline_id, pause_reason from record_ledger.pipelines where paused_at is not null"
    ).fetchall()
    assert sorted(paused) == sorted((text, text) for text in NASTY)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"from_time": "yesterday", "pipeline_id": "orders"},
            'time_text: "yesterday" is not a valid time',
        ),
        pytest.param({"reason": None}, "reason: must not be blank", marks=pytest.mark.slow),
        pytest.param(
            {"to_time": dt.date(2026, 11, 2)}, "the range is empty", marks=pytest.mark.slow
        ),
        pytest.param({"pipeline_id": NASTY[0]}, "unknown pipeline", marks=pytest.mark.slow),
        pytest.param({"from_time": NASTY[0]}, "is not a valid time", marks=pytest.mark.slow),
    ],
)
def test_what_the_ledger_refuses_fails_the_operation_and_changes_nothing(
    dbt, orders, ledger, changes, says
):
    before = histories(ledger)
    # Without quotes YAML reads these as a date and an instant, and passes them so to the macro.
    day = {
        "pipeline_id": orders,
        "from_time": dt.date(2026, 11, 2),
        "to_time": dt.datetime(2026, 11, 3, 8, tzinfo=dt.timezone.utc),
    }
    arguments = yaml.safe_dump({**day, "reason": "why", **changes})

    outcome = dbt("run-operation", "waive_records", "--args", arguments)

    assert not outcome.success
    assert says in outcome.error
    assert histories(ledger) == before


@pytest.mark.slow
def test_a_macro_is_refused_where_a_build_would_repeat_it(dbt, orders, ledger):
    before = histories(ledger)
    call = "{{ record_ledger.pause_pipeline('orders', 'x') }}"
    outcome = dbt("show", "--inline", call)
    assert not outcome.success
    assert "dbt run-operation pause_pipeline" in outcome.error
    assert histories(ledger) == before


@pytest.mark.slow
def test_many_records_are_changed_in_steps(dbt, routines, ledger):
    routines.clock.set("2026-11-03T00:01:00Z")
    minutes = {"granularity": "1m", "x_time_back": "0s", "timezone": "UTC"}
    routines.register("minutes", start_at="2026-11-03", **minutes)
    ledger.execute("call record_ledger.store_new_records('minutes')")
    arguments = {"pipeline_id": "minutes", "from_time": "2026-10-31", "reason": "a new report"}

    assert dbt("run-operation", "backfill_records", "--args", json.dumps(arguments)).success
    arguments["to_time"] = "2026-11-04"
    outcome = dbt("run-operation", "waive_records", "--args", json.dumps(arguments))

    assert outcome.success
    assert f"waive_records of pipeline minutes: {3 * 24 * 60 + 1}" in outcome.log
    found = ledger.execute(
        "select r.status, count(*), count(distinct e.xmin::text) > 2 "
        "from record_ledger.record as r "
        "join record_ledger.record_event as e using (pipeline_id, window_start_time) "
        "where r.pipeline_id = 'minutes' group by 1"
    ).fetchall()
    assert found == [("WAIVED", 3 * 24 * 60 + 1, True)]
