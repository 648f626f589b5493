"""The package in somebody else's project, and where it refuses to build."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta

import pytest
import yaml

from tests.dbt.support import (
    MODELS,
    ON_MODELS,
    PROJECT,
    WITHOUT_UNIT_TESTS,
    Dbt,
    catalog_of_the_ledger,
)
from tests.support.documents import read_blocks


@pytest.mark.slow
def test_a_project_that_includes_the_package_decides_its_schema_and_its_thresholds(
    consumer, ledger, routines
):
    routines.clock.set("2026-11-03T20:00:00Z")
    routines.register("orders", start_at="2026-11-01T12:00:00-08:00")
    before = catalog_of_the_ledger(ledger)
    dbt = consumer(
        models={"+schema": "ops"},
        vars={
            "behind_after_hours": 24.5,
            "warn_stale_after_hours": 1,
            "error_stale_after_hours": 7,
        },
    )

    # The package's unit tests run there as well: they hold whatever the project's variables are.
    outcome = dbt.build(RECORD_LEDGER_DBT_SCHEMA="shop")

    assert outcome.named("success") == {*MODELS, "late"}
    views = ledger.execute(
        "select schemaname, viewname from pg_views where schemaname in ('shop', 'ops', 'analytics')"
    )
    assert set(views) == {("shop", "late"), *(("ops", model) for model in MODELS)}
    # Its first window ended 46 hours ago and became stable 22 hours ago.
    late = "select lag, is_behind from ops.pipeline_status"
    assert ledger.execute(late).fetchall() == [(timedelta(hours=22), False)]
    routines.clock.advance("2h30m")
    assert ledger.execute(late).fetchall() == [(timedelta(hours=24.5), False)]
    assert ledger.execute("select * from shop.late").fetchall() == []
    routines.clock.advance("1us")
    assert ledger.execute("select * from shop.late").fetchall() == [("orders",)]
    freshness = [
        source["freshness"]
        for source in dbt.artifact("manifest")["sources"].values()
        if source["loaded_at_query"]
    ]
    assert [(f["warn_after"]["count"], f["error_after"]["count"]) for f in freshness] == [
        (1, 7)
    ] * 2
    assert catalog_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_the_package_is_installed_from_git_without_a_warning_as_the_readme_says(tmp_path):
    (packages,) = [
        yaml.safe_load(block.text)
        for block in read_blocks(PROJECT / "README.md")
        if block.language == "yaml" and "git:" in block.text
    ]
    (package,) = packages["packages"]
    repository = tmp_path / "repository"
    built = shutil.ignore_patterns("target", "logs", "dbt_packages")
    shutil.copytree(PROJECT, repository / package["subdirectory"], ignore=built)
    name = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"], ["add", "."],
        [*name, "commit", "--quiet", "--message=all"], ["tag", "--force", package["revision"]],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)
    project = tmp_path / "shop"
    project.mkdir()
    shutil.copy(PROJECT / "profiles.yml", project)
    settings = {"name": "shop", "version": "1.0", "profile": "record_ledger"}
    (project / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    package["git"] = repository.as_uri()
    (project / "packages.yml").write_text(yaml.safe_dump(packages))

    dbt = Dbt("dbname=none", tmp_path, project)

    for command in ("deps", "parse"):
        outcome = dbt(command)
        assert outcome.success, outcome.error


@pytest.mark.slow
def test_a_project_that_includes_the_package_may_build_tables_and_nothing_at_all(consumer, ledger):
    dbt = consumer(models={"+materialized": "table"})
    dbt.run("--empty")
    kinds = ledger.execute(
        "select distinct relkind::text from pg_class "
        "where relnamespace = 'analytics'::regnamespace and relname = any(%s)",
        [list(MODELS)],
    ).fetchall()
    assert kinds == [("r",)]


@pytest.mark.slow
def test_no_project_can_build_the_models_in_the_schema_of_the_ledger(consumer, ledger):
    before = catalog_of_the_ledger(ledger)
    dbt = consumer(models={"+schema": "record_ledger", "+materialized": "table"})

    outcome = dbt("build", *WITHOUT_UNIT_TESTS)
    by_themselves = dbt("run", "--select", *ON_MODELS)

    assert outcome.named("error") == set(MODELS) - set(ON_MODELS)
    assert by_themselves.named("error") == set(ON_MODELS)
    messages = {**outcome.messages, **by_themselves.messages}
    for model in MODELS:
        assert "belongs to the ledger. Choose another schema" in messages[model]
    assert catalog_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_the_package_by_itself_does_not_build_in_the_schema_of_the_ledger(dbt, ledger):
    before = catalog_of_the_ledger(ledger)
    outcome = dbt("build", *WITHOUT_UNIT_TESTS, RECORD_LEDGER_DBT_SCHEMA="record_ledger")
    assert outcome.named("error") == set(MODELS) - set(ON_MODELS)
    assert catalog_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_the_package_by_itself_does_not_create_the_schema_of_the_ledger(
    empty_dsn, tmp_path, connect
):
    outcome = Dbt(empty_dsn, tmp_path)("run", RECORD_LEDGER_DBT_SCHEMA="record_ledger")
    assert not outcome.success
    assert "deploy the ledger first" in outcome.error
    found = connect(dsn=empty_dsn).execute("select to_regnamespace('record_ledger')").fetchone()
    assert found == (None,)
