"""A row that Python cannot read costs that row alone, and the log says which."""

from __future__ import annotations

import json
import logging

import pytest

from record_ledger import RecordLedger
from record_ledger.cli import main


def deepest_brackets():
    """Returns arrays within arrays, no deeper than it takes for this Python not to read them."""
    text = "[" * 3000 + "]" * 3000
    while True:
        try:
            json.loads(text)
        except RecursionError:
            return text
        text = "[" * 1000 + text + "]" * 1000


POISON = {
    "an instant after the year 9999": "start_at = '12026-01-01T00:00:00Z'",
    "an instant before the year 1": "start_at = '0044-03-15 BC'",
    "a number of 5,000 digits": "config = jsonb_set(config, '{default_record,x}', '1e5000')",
    "arrays within arrays": "config = jsonb_set(config, '{default_record,x}', "
    f"'{deepest_brackets()}'::jsonb)",
}


@pytest.fixture
def ledger(ledger_dsn, config, connect):
    with RecordLedger(ledger_dsn) as opened:
        for name in ("good", "poisoned", "well"):
            opened.register_pipeline(config(name))
        yield opened


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_other_rows_are_read_and_the_log_names_the_pipeline(ledger, connect, caplog, poison):
    connect().execute(f"update record_ledger.pipeline set {poison} where pipeline_id = 'poisoned'")

    with caplog.at_level(logging.WARNING, "record_ledger"):
        found = [row["pipeline_id"] for row in ledger.pipelines()]

    assert found == ["good", "well"]
    (warning,) = [one.getMessage() for one in caplog.records]
    assert "event=row_not_readable" in warning
    assert "pipeline_id=poisoned" in warning


def test_status_shows_the_others(ledger, ledger_dsn, connect, clock, capsys):
    ledger.new_windows("good")
    connect().execute(
        "update record_ledger.pipeline set paused_at = '12026-01-01T00:00:00Z', paused_by = 'me', "
        "pause_reason = 'why' where pipeline_id = 'poisoned'"
    )

    assert main(["status", "--dsn", ledger_dsn, "--json"]) == 0

    printed = capsys.readouterr()
    shown = [one["pipeline_id"] for one in json.loads(printed.out)["pipelines"]]
    assert {"good", "well"} <= set(shown)
    assert "Traceback" not in printed.err
