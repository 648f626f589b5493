"""Names as long as the ledger takes them: they fit, or no record is taken."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from record_ledger.cli import main
from record_ledger.moving import MoveFailed
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from record_ledger.moving.connectors.s3 import S3Stage
from record_ledger.moving.connectors.targets import loaded_name
from record_ledger.moving.manifest import StagedNames
from tests.moving.support import (
    documents_in,
    files_in,
    loaded_tables,
    moved,
    passed,
    staged,
    target_at,
)

LONG = ["ä" * 127, "ä" * 126 + "ü", "a" * 255, "." * 255]
DOCUMENTS = [{"n": n} for n in range(25)]


@pytest.mark.parametrize("pipeline_id", LONG)
def test_a_pipeline_of_any_name_is_staged(stage, pipeline_id):
    record = passed(pipeline_id=pipeline_id)
    stage.check(StagedNames.longest(pipeline_id))

    manifest = staged(stage, record, DOCUMENTS, part_bytes=1)

    assert documents_in(stage, manifest) == DOCUMENTS
    names = StagedNames(record)
    assert all(part.name.startswith(names.window_folder) for part in manifest.parts)
    seen = []
    stage.remove(names.pipeline_folder, lambda name, _: seen.append(name) or True)
    assert sorted(seen) == sorted(part.name for part in manifest.parts)
    assert stage.remove(names.window_folder, lambda name, _: names.is_later(name)) == len(seen)


def test_pipelines_of_names_that_begin_alike_have_folders_of_their_own(tmp_path):
    stage = LocalStage(tmp_path)
    for pipeline_id in LONG:
        staged(stage, passed(pipeline_id=pipeline_id), DOCUMENTS)
    # A pipeline that has the name of another one's folder.
    shortened = next(path.name for path in tmp_path.iterdir() if "=" in path.name)
    staged(stage, passed(pipeline_id=shortened), DOCUMENTS)

    found = [os.fsencode(path.name) for path in tmp_path.iterdir()]
    assert len(found) == len(LONG) + 1
    assert max(map(len, found)) == 255


@pytest.mark.parametrize("pipeline_id", ["orders", "a" * 255, "ä" * 42])
def test_what_an_earlier_release_has_staged_is_where_it_was(tmp_path, pipeline_id):
    """Its names were those of the stage as they are."""
    stage, record = LocalStage(tmp_path), passed(pipeline_id=pipeline_id)

    manifest = staged(stage, record, DOCUMENTS)

    assert files_in(tmp_path) == [part.name for part in manifest.parts]


def test_the_longest_name_is_longer_than_any(tmp_path):
    record = {**passed(2**53, generation=99), "pipeline_id": "ä" * 127}
    manifest = staged(LocalStage(tmp_path), record, DOCUMENTS, part_bytes=1)

    longest = len(StagedNames.longest(record["pipeline_id"]))
    assert all(len(part.name) <= longest for part in manifest.parts)


def test_a_prefix_that_leaves_no_room_for_the_keys_is_refused():
    name = StagedNames.longest("ä" * 127)
    S3Stage(None, "bucket", "p" * 100).check(name)

    with pytest.raises(MoveFailed, match="a key may have 1024 bytes, and those of the pipeline"):
        S3Stage(None, "bucket", "p" * 1000).check("orders/20261121T080000Z/g1/c1/part")
    with pytest.raises(MoveFailed, match="shorter prefix"):
        S3Stage(None, "bucket", "ä" * 200).check(name)


def test_a_folder_that_cannot_keep_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(MoveFailed, match=r"stage folder .*file/stage: Not a directory"):
        LocalStage(tmp_path / "file" / "stage").check("orders/a")
    # As some encrypted file systems have it.
    monkeypatch.setattr(os, "pathconf", lambda *_: 143)
    LocalStage(tmp_path).check("orders/a")
    with pytest.raises(MoveFailed, match="keeps names of 143 bytes, and 255 are needed"):
        LocalStage(tmp_path).check(StagedNames.longest("a" * 255))


def test_a_check_leaves_no_file(tmp_path):
    LocalStage(tmp_path / "stage").check("orders/a")

    assert files_in(tmp_path) == []


def test_a_pipeline_of_any_name_is_published(empty_dsn, empty_database, local_stage):
    target = target_at(empty_dsn)
    for pipeline_id in LONG:
        target.check(pipeline_id)
        moved(target, local_stage, passed(pipeline_id=pipeline_id), DOCUMENTS)

    found = empty_database.execute("select pipeline_id, count(*) from orders group by 1").fetchall()
    assert dict(found) == dict.fromkeys(LONG, 25)
    assert loaded_tables(empty_database) == []


def test_what_is_loaded_into_has_a_name_that_postgresql_keeps(local_stage):
    record = passed(2**63 - 1)
    manifest = staged(local_stage, record, DOCUMENTS)

    assert len(loaded_name(record, manifest)) <= 63


@pytest.mark.parametrize("key", ["table", "columns"])
def test_a_name_that_postgresql_would_cut_is_refused(key):
    options = {"table": "orders", "columns": None}
    options[key] = "s" * 64 if key == "table" else {"ä" * 32: "a"}

    with pytest.raises(ValueError, match="longer than 63 bytes"):
        target_of(**options)


def target_of(table, columns):
    return PostgresTarget(lambda: None, table, columns=columns)


def test_a_long_name_is_moved_by_the_command(
    ledger_dsn, clock, config, connect, tmp_path, monkeypatch, capsys
):
    clock.set("2026-11-22T12:30:00Z")
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)
    connect().execute("create table sales as select 1 as id, timestamptz '2026-11-21T08:00Z' as at")
    path = Path(tmp_path / "orders.json")
    tables = {
        "source": {"kind": "postgres", "table": "sales", "time_column": "at"},
        "stage": {"kind": "local", "folder": str(tmp_path / "staged"), "keep_days": 0},
        "target": {"kind": "postgres", "table": "sold"},
    }
    path.write_text(json.dumps({**config("ä" * 127, start_at="2026-11-21"), **tables}))

    assert main(["pipeline", "run", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
    assert files_in(tmp_path / "staged") == []
