"""`dbt docs generate --static` gives an analyst one page that explains the ledger."""

from __future__ import annotations

import re

import pytest

from tests.dbt.support import MARTS, MODELS, PROJECT


def test_the_overview_tells_of_every_mart_and_every_verdict(ledger):
    overview = (PROJECT / "models" / "overview.md").read_text(encoding="utf-8")
    assert not [model for model in (*MARTS, "rule_violations") if f"| `{model}`" not in overview]
    said = ledger.execute(
        "select string_agg(col_description(v::regclass, a.attnum), ' ') from unnest(array["
        "'record_ledger.record_verdicts', 'record_ledger.pipeline_progress']) as v "
        "join pg_attribute as a on a.attrelid = v::regclass where a.attname = 'verdict'"
    ).fetchone()[0]
    verdicts = set(re.findall("[A-Z_]{4,}", said))
    assert {"LOST", "READY", "AT_CAPACITY"} <= verdicts
    assert not [verdict for verdict in verdicts if f"| {verdict} |" not in overview]


@pytest.mark.slow
def test_the_page_holds_the_overview_and_describes_every_model_and_column(dbt, ledger):
    dbt.run()

    assert dbt("docs", "generate", "--static").success

    page = (dbt.folder / "target" / "static_index.html").read_text(encoding="utf-8")
    overview = (PROJECT / "models" / "overview.md").read_text(encoding="utf-8")
    headings = [line.strip("# ") for line in overview.splitlines() if line.startswith("#")]
    assert len(headings) > 3
    assert not [heading for heading in headings if heading not in page]
    nodes = dbt.artifact("manifest")["nodes"].values()
    described = {node["name"]: node for node in nodes if node["resource_type"] == "model"}
    assert described.keys() == set(MODELS)
    for name, model in described.items():
        assert model["description"], name
        assert all(column["description"] for column in model["columns"].values()), name
