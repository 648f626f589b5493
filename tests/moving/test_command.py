"""`record-ledger pipeline run`: one file moves windows from end to end."""

from __future__ import annotations

import json

import pytest

from record_ledger.cli import main
from tests.moving.fake_elasticsearch import FakeElasticsearch, made_documents
from tests.moving.support import files_in


@pytest.fixture
def run(ledger_dsn, clock, config, tmp_path, monkeypatch, capsys):
    """Runs the command on a definition; returns its exit code, its last line and its errors."""
    clock.set("2026-11-22T12:30:00Z")  # two windows are stable
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)
    path = tmp_path / "orders.json"

    def one(*arguments, **tables):
        path.write_text(json.dumps({**config("orders", start_at="2026-11-21"), **tables}))
        code = main(["pipeline", "run", "--config", str(path), *arguments])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if out else None, err

    return one


@pytest.fixture
def tables(tmp_path):
    return {
        "source": {"kind": "postgres", "table": "sales", "time_column": "sold_at"},
        "stage": {"kind": "local", "folder": str(tmp_path / "staged")},
        "target": {"kind": "postgres", "table": "sold"},
    }


@pytest.fixture
def database(connect):
    connection = connect()
    connection.execute("create table sales (id int, sold_at timestamptz)")
    return connection


def test_it_moves_window_after_window_until_there_is_nothing_to_do(run, tables, database):
    database.execute("insert into sales values (1, '2026-11-21T08:00Z'), (2, '2026-11-21T10:00Z')")

    outcomes = [run("--run-id", str(n), **tables) for n in range(3)]

    assert [code for code, _, _ in outcomes] == [0, 0, 99]
    assert [one["outcome"] for _, one, _ in outcomes] == ["completed", "completed", "nothing"]
    assert outcomes[0][1]["rows"] == 1
    assert outcomes[2][1]["verdict"] == "UNSTABLE"
    found = database.execute(
        "select document ->> 'id', status from sold "
        "join record_ledger.pipeline_records using (pipeline_id, window_start_time) order by 1"
    ).fetchall()
    assert found == [("1", "COMPLETED"), ("2", "COMPLETED")]


def test_a_move_that_fails_fails_the_record_with_its_error(run, tables, database):
    database.execute("create view broken as select 1 / (id - id) as one, sold_at from sales")
    database.execute("insert into sales values (1, '2026-11-21T08:00Z')")
    tables["source"]["table"] = "broken"

    code, printed, err = run(**tables)

    assert (code, printed) == (1, None)
    assert err == "record-ledger: source table broken: division by zero\n"
    (detail,) = database.execute(
        "select last_detail ->> 'error' from record_ledger.pipeline_records "
        "where last_detail ? 'error'"
    ).fetchone()
    assert "division by zero" in detail


@pytest.mark.parametrize(
    ("create", "change", "message"),
    [
        ("drop table sales", {}, 'source table sales: relation "public.sales" does not exist'),
        ("alter table sales alter sold_at type timestamp", {}, "Give time_zone beside time_column"),
        ("alter table sales alter sold_at type text", {}, "it must be timestamptz"),
        ("", {"source": {"time_zone": "UTC"}}, "Remove time_zone"),
        ("", {"source": {"time_column": "sold"}}, "has no column sold"),
        ("", {"source": {"dsn": "host=127.0.0.1 port=1"}}, "source table sales: connection failed"),
        ("", {"target": {"dsn": "host=127.0.0.1 port=1"}}, "table public.sold: connection failed"),
        ("create table sold (pipeline_id text, window_start_time timestamp, document jsonb)", {},
         "table public.sold, column window_start_time: it is of type timestamp without time zone"),
    ],
)  # fmt: skip
def test_what_cannot_be_moved_takes_no_record(run, tables, database, create, change, message):
    if create:
        database.execute(create)
    for table, keys in change.items():
        tables[table].update(keys)

    code, printed, err = run(**tables)

    assert (code, printed) == (1, None)
    assert message in err
    assert database.execute("select from record_ledger.pipelines").fetchall() == []
    found = database.execute("select to_regclass('record_ledger_published')").fetchone()
    assert found == (None,)


def test_local_times_are_moved_by_their_zone(run, tables, database):
    database.execute("alter table sales alter sold_at type timestamp")
    database.execute("insert into sales values (1, '2026-11-21 00:00'), (2, '2026-11-21 02:00')")
    tables["source"]["time_zone"] = "America/Los_Angeles"

    assert [run(**tables)[1]["rows"] for _ in range(2)] == [1, 1]


def test_a_wrong_definition_takes_no_record(run, tables, database):
    code, printed, err = run(**{**tables, "stage": {"kind": "tape"}})

    assert (code, printed) == (1, None)
    assert "stage.kind: 'tape' is not valid" in err
    assert database.execute("select from record_ledger.pipelines").fetchall() == []


def test_a_folder_that_cannot_be_written_is_one_error(run, tables, database, tmp_path):
    (tmp_path / "file").touch()

    code, _, err = run(**{**tables, "stage": {"kind": "local", "folder": str(tmp_path / "file")}})

    assert code == 1
    assert "Not a directory" in err
    assert "Traceback" not in err


def test_from_elasticsearch_by_s3_to_postgresql(run, database, s3):
    """The handoff's pipeline, with faults on the way, except for Snowflake at its end."""
    documents = made_documents(2000)
    faults = {3: "drop", 4: 503, 7: "expire", 9: (429, {"Retry-After": "0"})}

    with FakeElasticsearch(
        documents, lambda endpoint, nth: faults.get(nth) if endpoint == "_search" else None
    ) as fake:
        code, printed, _ = run(
            source={
                "kind": "elasticsearch", "index": "sales", "tiebreaker": "event.id",
                "page_size": 150, "client": {"hosts": [fake.url]},
            },
            stage={"kind": "s3", "bucket": s3.name, "prefix": "landing", "client": s3.options},
            target={"kind": "postgres", "table": "sold"},
        )  # fmt: skip

    assert (code, printed["rows"]) == (0, 2000)
    found = database.execute("select document #>> '{event,id}' from sold").fetchall()
    assert sorted(one for (one,) in found) == sorted(one["event"]["id"] for one in documents)
    part, _ = sorted(s3.keys(), key=lambda key: "manifest" in key)
    assert part.startswith("landing/orders/20261121T080000Z/g1/c")
    assert s3.uploads() == []


def test_what_is_staged_names_its_claim(run, tables, database, tmp_path):
    _, printed, _ = run(**tables)

    (manifest,) = files_in(tmp_path / "staged")
    assert manifest.startswith(f"orders/20261121T080000Z/g1/c{printed['claim_token']}/manifest-")


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("source", {"time_column": "id"}, "source table sales, column id: the time_column is of"),
        ("source", {"dsn": "host=127.0.0.1 port=1"}, "source table sales: connection failed"),
        ("target", {"table": "nowhere.sold"}, 'table nowhere.sold: schema "nowhere" does not'),
        ("target", {"dsn": "host=127.0.0.1 port=1"}, "table public.sold: connection failed"),
        ("target", {"dsn": "hots=x"}, "target.dsn: the connection string cannot be read"),
        ("target", {"table": ""}, "target.table: '' is not valid"),
        ("target", {"columns": {"id": 3}}, "target.columns: id: 3 is not valid"),
    ],
)
def test_what_is_wrong_with_a_database_says_which_and_nothing_of_the_ledger(
    run, tables, database, table, change, message
):
    code, _, err = run(**{**tables, table: {**tables[table], **change}})

    assert code == 1
    assert message in err
    assert "record-ledger deploy" not in err
    assert "Traceback" not in err
