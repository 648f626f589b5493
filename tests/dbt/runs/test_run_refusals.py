"""What a run that the ledger drives refuses: whatever would leave other rows than a window's."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.dbt.shop import CONFIG
from tests.dbt.support import rows_of_the_ledger

WINDOW = (
    "select * from {{ source('raw', 'orders') }} "
    "where ordered_at >= {{ record_ledger.window_start() }}"
)
UNSAFE = {
    "models/as_view.sql": WINDOW,
    "models/as_table.sql": "{{ config(materialized='table') }}" + WINDOW,
    "models/within.sql": "{{ config(materialized='ephemeral') }}" + WINDOW,
    "models/around.sql": "{{ config(materialized='table') }} select * from {{ ref('within') }}",
    "models/refreshed.sql": "{{ config(materialized='incremental', full_refresh=true) }}" + WINDOW,
    "snapshots/as_snapshot.sql": "{% snapshot as_snapshot %}{{ config(unique_key='order_id', "
    "strategy='check', check_cols='all', invalidate_hard_deletes=true) }}"
    f"{WINDOW}{{% endsnapshot %}}",
}


@pytest.fixture
def open_shop(shop):
    shop.open()
    shop.clock.set("2026-03-31T12:00:00Z")
    return shop


@pytest.mark.slow
def test_options_that_load_more_or_less_than_a_window_are_refused_before_anything_is_passed(
    open_shop, ledger
):
    before = rows_of_the_ledger(ledger)
    outcome = open_shop("build", "--full-refresh", "--empty", "--sample=3 hours")
    assert not outcome.success
    assert outcome.results == {}
    for says in (
        "--full-refresh would replace whole tables",
        "--empty would load nothing",
        "--sample would load a part",
    ):
        assert says in outcome.error
    # Its range is none of a record's: dbt would make one up.
    outcome = open_shop.dbt("build")
    assert not outcome.success
    assert "_orders is microbatch" in outcome.error
    assert rows_of_the_ledger(ledger) == before


def write_unsafe_nodes(shop, ask="record_ledger.window_start"):
    project = shop.own_project()
    (project / "snapshots").mkdir()
    for name, sql in UNSAFE.items():
        (project / name).write_text(sql.replace("record_ledger.window_start", ask))
    return project


@pytest.mark.slow
def test_a_model_of_another_kind_that_names_the_window_is_refused_before_anything_is_passed(
    open_shop, ledger
):
    write_unsafe_nodes(open_shop)
    before = rows_of_the_ledger(ledger)
    for name, says in (
        ("as_table", "as_table is materialized as table"),
        ("refreshed", "refreshed has full_refresh"),
        ("as_snapshot", "as_snapshot is materialized as snapshot"),
    ):
        outcome = open_shop.dbt("build", "--select", name, "orders")
        assert not outcome.success
        assert says in outcome.error
        assert outcome.results == {}
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_only_incremental_models_may_use_the_window(open_shop, ledger):
    project = write_unsafe_nodes(open_shop, ask="since")
    (project / "macros").mkdir()
    (project / "macros" / "since.sql").write_text(
        "{% macro since() %}{{ return(record_ledger.window_start()) }}{% endmacro %}"
    )

    names = ["as_view", "as_table", "around", "refreshed", "as_snapshot"]
    outcome = open_shop.dbt("build", "--select", *names)

    assert outcome.named("error") == set(names)
    for name, says in (
        ("as_view", "as_view is materialized as view"),
        ("as_table", "as_table is materialized as table"),
        ("around", "within is materialized as ephemeral"),
        ("refreshed", "refreshed has full_refresh"),
        ("as_snapshot", "as_snapshot is materialized as snapshot"),
    ):
        assert says in outcome.messages[name]
    assert "as_view (error): Compilation Error" in open_shop.last_detail()["error"]
    built = "select relname from pg_class where relnamespace = to_regnamespace('analytics')"
    assert ledger.execute(built).fetchall() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"pipeline_id": None}, "give either pipeline_id, of a registered pipeline, or config"),
        ({"config": CONFIG}, "give either pipeline_id, of a registered pipeline, or config"),
        ({"pipeline_id": "order"}, "unknown pipeline"),
        ({"pipeline_id": "files"}, 'default_record.path is "{{ target_day }}"'),
        (
            {"pipeline_id": None, "config": {"default_record": {"a": "{{ b }}"}}},
            'default_record.a is "{{ b }}"',
        ),
    ],
)
def test_what_cannot_be_passed_is_refused_before_anything_is_written(
    open_shop, ledger, variables, says
):
    files = {**CONFIG, "default_record": {"pipeline_id": "files", "path": "{{ target_day }}"}}
    ledger.execute("select record_ledger.register_pipeline(%s)", [json.dumps(files)])
    before = rows_of_the_ledger(ledger)
    outcome = open_shop("run", "--vars", json.dumps(variables))
    assert not outcome.success
    assert says in outcome.error
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_a_window_without_a_run_that_asked_for_one_is_an_error(open_shop, ledger):
    project = open_shop.own_project()
    settings = yaml.safe_load((project / "dbt_project.yml").read_text())
    del settings["on-run-start"]
    (project / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    before = rows_of_the_ledger(ledger)
    outcome = open_shop("run")
    assert outcome.named("error") == {"orders"}
    assert "Put it into on-run-start" in outcome.messages["orders"]
    assert rows_of_the_ledger(ledger) == before


@pytest.mark.slow
def test_a_record_of_a_run_that_never_began_to_build_is_given_back(open_shop):
    project = open_shop.own_project()
    settings = yaml.safe_load((project / "dbt_project.yml").read_text())
    settings["on-run-start"] = [settings["on-run-start"], "select 1 / 0"]
    settings["flags"] = {"skip_nodes_if_on_run_start_fails": True}
    (project / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    outcome = open_shop("run", run_id="a")
    assert not outcome.success
    assert open_shop.records() == [("2026-03-28", "PENDING", 0, None)]
