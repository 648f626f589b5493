"""Moving in PostgreSQL uses the catalogue's names, despite traps beside its tables."""

from __future__ import annotations

import json

import pytest

from record_ledger.cli import main
from tests.support.traps import FOREIGN_REFERENCES, plant, sprung

WAYS = {
    "documents in a table of their own": {},
    "columns of a table of the team's": {
        "table": "mine",
        "columns": {"id": "id", "name": "who.name", "paid": "paid"},
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_windows_are_moved_among_traps(
    ledger_dsn, connect, clock, config, tmp_path, monkeypatch, capfd, way
):
    database = connect()
    clock.set("2026-11-22T12:30:00Z")
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)
    database.execute(
        "create table sales (id int, sold_at timestamptz, who jsonb, paid numeric);"
        "insert into sales select n, timestamptz '2026-11-21T08:00Z' + n * interval '30 minutes', "
        "jsonb_build_object('name', 'x'), 1.5 from generate_series(1, 10) as n;"
        # The team's own types, which no operator of the catalogue takes exactly.
        "create table mine (pipeline_id varchar, window_start_time timestamptz, id smallint, "
        "name varchar(20), paid double precision)"
    )
    plant(database)
    path = tmp_path / "orders.json"
    tables = {
        "source": {"kind": "postgres", "table": "sales", "time_column": "sold_at"},
        "stage": {"kind": "local", "folder": str(tmp_path / "staged")},
        "target": {"kind": "postgres", "table": "sold", **WAYS[way]},
    }
    path.write_text(json.dumps({**config("orders", start_at="2026-11-21"), **tables}))

    for run_id in ("1", "2", "2"):
        code = main(["pipeline", "run", "--config", str(path), "--run-id", run_id])
        printed = capfd.readouterr()
        assert sprung(database) is None, (sprung(database), printed.err)
        assert code in (0, 99), printed.err
    assert database.execute(FOREIGN_REFERENCES).fetchall() == []
