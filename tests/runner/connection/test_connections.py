"""What a connection is opened with: options that are wrong, and encodings."""

from __future__ import annotations

import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import LedgerUnavailable, RecordLedger


@pytest.mark.parametrize(
    "wrong",
    [
        {"service": "no_such_service"},
        {"port": "99999999"},
        {"port": "many"},
        {"sslmode": "safe"},
        {"options": "-c timezone=nowhere"},
    ],
)
def test_a_connection_option_that_is_wrong_is_not_tried_again(ledger_dsn, wrong, caplog):
    with (
        pytest.raises(LedgerUnavailable, match=r"invalid|not found"),
        RecordLedger(make_conninfo(ledger_dsn, **wrong)) as opened,
    ):
        opened.pipelines()

    assert "event=retry" not in caplog.text


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_encoding_that_the_session_would_have_does_not_garble_or_lose_a_record(
    ledger_dsn, ledger, config, clock, monkeypatch, encoding
):
    clock.set("2026-11-22T20:00:00Z")
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    named = config("größen", default_record={"pipeline_id": "größen", "name": "大"})

    with RecordLedger(ledger_dsn) as opened:
        record = opened.store_new_and_pass_valid_record(named, "läuft").record
        opened.complete_record("größen", record["claim_token"])
        (row,) = opened.pipeline_records("größen", limit=1)

    assert (record["name"], record["run_id"]) == ("大", "läuft")
    assert (row["status"], row["fields"]["name"]) == ("COMPLETED", "大")
