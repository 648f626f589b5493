"""`dbt build` is green on a sound ledger, changes nothing in it, and keeps what others built."""

from __future__ import annotations

import psycopg
import pytest

from tests.dbt.states import EVENTS, STATUSES, live_through_everything
from tests.dbt.support import (
    MODELS,
    RULES,
    SCHEMA,
    catalog_of_the_ledger,
    rows_of,
    rows_of_the_ledger,
)

pytestmark = pytest.mark.slow

COLUMNS = "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"


def test_a_freshly_deployed_ledger_is_green(dbt, ledger):
    before = catalog_of_the_ledger(ledger), rows_of_the_ledger(ledger)

    outcome = dbt.build()

    assert outcome.named("success") == set(MODELS)
    resources = {node.split(".")[0] for node in dbt.artifact("manifest")["nodes"]}
    assert resources == {"model", "test"}
    assert dbt.artifact("manifest")["unit_tests"].keys() == {
        node["unique_id"]
        for node in dbt.artifact("run_results")["results"]
        if node["unique_id"].startswith("unit_test.")
    }
    assert all(rows_of(ledger, model) == [] for model in MODELS)
    assert (catalog_of_the_ledger(ledger), rows_of_the_ledger(ledger)) == before


def test_a_ledger_in_which_everything_has_happened_is_green_and_left_as_it_was(
    dbt, ledger, routines
):
    live_through_everything(routines)
    assert {e for (e,) in ledger.execute("select event from record_ledger.record_events")} == EVENTS
    statuses = ledger.execute("select status from record_ledger.pipeline_records")
    assert {status for (status,) in statuses} == STATUSES
    before = catalog_of_the_ledger(ledger), rows_of_the_ledger(ledger)

    dbt.build_and_check()
    assert dbt("docs", "generate").success

    assert (catalog_of_the_ledger(ledger), rows_of_the_ledger(ledger)) == before
    described = dbt.artifact("catalog")
    assert {name.split(".")[-1] for name in described["nodes"]} == set(MODELS)
    assert len(described["sources"]) == 15


def test_an_archived_ledger_is_green_and_stands_where_it_stood(dbt, ledger, routines):
    live_through_everything(routines)
    progress = "select * from record_ledger.pipeline_progress order by pipeline_id"
    before = ledger.execute(progress).fetchall()
    moved = ledger.execute(
        "select sum(record_ledger.archive_records(pipeline_id, '2100-01-01T00:00:00Z')) "
        "from record_ledger.pipelines"
    ).fetchone()
    assert moved is not None and moved[0] > 10

    dbt.build_and_check()

    assert all(rows_of(ledger, model) == [] for model in RULES)
    assert ledger.execute(progress).fetchall() == before


def test_every_verdict_occurs_in_the_status_of_a_ledger_in_which_everything_has_happened(lived_in):
    status = {row["pipeline_id"]: row for row in rows_of(lived_in, "pipeline_status")}
    # A record's verdict LEASE_EXPIRED is never a pipeline's: a pass takes such a record back first.
    assert {row["verdict"] for row in status.values()} == {
        "AT_CAPACITY", "BACKOFF", "BLOCKED", "FAILED", "INCOMPLETE", "LEASED", "NO_RECORDS",
        "PAUSED", "READY", "UNSTABLE",
    }  # fmt: skip
    failing = {name for name, row in status.items() if row["is_failing"]}
    assert failing == {"failed", "lapsed", "lively"}
    assert (status["lapsed"]["failed_count"], status["lapsed"]["in_progress_count"]) == (0, 1)
    assert all(rows_of(lived_in, model) == [] for model in RULES)


def test_a_reader_who_may_create_a_schema_can_build(dbt, ledger, role_dsn):
    dsn = role_dsn("reader")
    name = psycopg.conninfo.conninfo_to_dict(dsn)["user"]
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    ledger.execute(f'grant create on database "{database}" to "{name}"')
    before = catalog_of_the_ledger(ledger)

    dbt.dsn = dsn
    dbt.build("--select", "pipeline_status", "run_conflicts", "window_gaps")

    assert catalog_of_the_ledger(ledger) == before
    (owner,) = ledger.execute(
        "select distinct viewowner from pg_views where schemaname = %s", [SCHEMA]
    ).fetchone()
    assert owner == name


def test_a_rebuild_keeps_grants_and_the_views_that_others_built(dbt, ledger, connect):
    dbt.run()
    reader = connect(role="reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"select * from {SCHEMA}.pipeline_status")
    ledger.execute(f"grant usage on schema {SCHEMA} to record_ledger_reader")
    ledger.execute(f"grant select on {SCHEMA}.pipeline_status to record_ledger_reader")
    ledger.execute(f"create view public.board as select pipeline_id from {SCHEMA}.pipeline_status")
    views = "select oid, relacl::text from pg_class where relnamespace = %s::regnamespace"
    before = sorted(ledger.execute(views, [SCHEMA]).fetchall())

    dbt.run()

    assert sorted(ledger.execute(views, [SCHEMA]).fetchall()) == before
    assert ledger.execute("select * from public.board").fetchall() == []
    assert reader.execute(f"select * from {SCHEMA}.pipeline_status").fetchall() == []


def test_descriptions_reach_the_database(lived_in):
    undescribed = lived_in.execute(
        "select c.relname, a.attname from pg_class as c "
        "join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 "
        "where c.relnamespace = %s::regnamespace "
        "and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)",
        [SCHEMA],
    ).fetchall()
    assert not undescribed


def test_a_view_that_cannot_be_replaced_is_dropped_only_when_nothing_is_lost(dbt, ledger):
    select = ("--select", "window_gaps", "run_conflicts")
    ledger.execute(f"create schema {SCHEMA}")
    ledger.execute(f"create view {SCHEMA}.window_gaps as select 1 as pipeline_id, 2 as other")
    ledger.execute(f"create table {SCHEMA}.run_conflicts as select 1 as old")
    dbt.run(*select)
    assert ledger.execute(COLUMNS, [f"{SCHEMA}.window_gaps"]).fetchone() == ("pipeline_id",)
    assert rows_of(ledger, "run_conflicts") == []

    ledger.execute(f"drop view {SCHEMA}.window_gaps")
    ledger.execute(f"create view {SCHEMA}.window_gaps as select 1 as pipeline_id, 2 as other")
    ledger.execute(f"create view public.board as select other from {SCHEMA}.window_gaps")
    outcome = dbt("run", *select)
    assert outcome.named("error") == {"window_gaps"}
    assert "view board depends on view" in outcome.messages["window_gaps"]
    assert ledger.execute("select * from public.board").fetchall() == [(2,)]

    dbt.run(*select, "--full-refresh")
    assert ledger.execute("select to_regclass('public.board')").fetchone() == (None,)
