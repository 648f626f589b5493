"""The ledger as a dbt source: it says what the database says, and tells when nothing happens."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.dbt.support import PROJECT

FOLDER = PROJECT / "models" / "ledger"
COMMENTS = """
select c.relname, obj_description(c.oid, 'pg_class'), a.attname, col_description(c.oid, a.attnum)
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'record_ledger'::regnamespace and c.relkind = 'v'
order by c.relname, a.attnum
"""


def as_yaml(table, description, columns):
    """The entry as it would have to be written; JSON strings are YAML strings."""
    lines = [f"      - name: {table}", f"        description: {json.dumps(description)}"]
    lines.append("        columns:")
    for name, text in columns.items():
        lines.append(f"          - name: {name}")
        lines.append(f"            description: {json.dumps(text)}")
    return "\n".join(lines)


def test_the_sources_are_the_public_views_described_word_for_word(ledger):
    expected = {}
    for table, description, column, text in ledger.execute(COMMENTS):
        expected.setdefault(table, (description, {}))[1][column] = text
    sources = [
        source
        for path in sorted(FOLDER.glob("*.yml"))
        for source in yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    ]
    assert {source["name"] for source in sources} == {"record_ledger"}
    written = {
        table["name"]: (
            table["description"],
            {column["name"]: column["description"] for column in table["columns"]},
        )
        for source in sources
        for table in source["tables"]
    }
    assert written.keys() == expected.keys()
    for table, entry in expected.items():
        same = written[table] == entry and [*written[table][1]] == [*entry[1]]
        assert same, f"{FOLDER.name}/*.yml must say:\n{as_yaml(table, *entry)}"


@pytest.mark.slow
def test_a_ledger_in_which_nothing_has_happened_is_stale_when_a_pipeline_has_waited_too_long(
    dbt, routines
):
    fresh = {"pipeline_records": "pass", "record_events": "pass"}
    assert dbt("source", "freshness").results == fresh
    routines.clock.set("2026-01-02T03:04:05Z")
    routines.register("orders")
    assert set(dbt("source", "freshness").results.values()) == {"error"}
    routines.clock.free()
    routines.register("customers")
    assert dbt("source", "freshness").results == fresh


@pytest.mark.slow
def test_a_ledger_in_which_nothing_happens_any_more_is_stale(dbt, routines):
    # dbt asks the server's own clock.
    routines.clock.set("2026-01-02T03:04:05Z")
    config = routines.register("orders", start_at="2025-12-01", granularity="1d")
    routines.cycle(config)
    outcome = dbt("source", "freshness")
    assert outcome.results == {"pipeline_records": "error", "record_events": "error"}

    routines.clock.free()
    routines.cycle(config)
    outcome = dbt("source", "freshness")
    assert outcome.results == {"pipeline_records": "pass", "record_events": "pass"}
