"""A manifest is believed where it is the record's own, not because the ledger names it.

Any run may note a count with a detail of its own, so a runner with no right on source or target
could lead the owner's next run to documents that it has made.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from dataclasses import replace
from functools import partial

import pytest

from record_ledger.connection import connect as open_database
from record_ledger.moving import Move, MoveFailed, PartSettings, document_line
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.source import PostgresSource
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from record_ledger.moving.extraction import extract_parts
from record_ledger.moving.manifest import Manifest, StagedNames
from tests.moving.support import complete, files_in, ids, lose, manifest_of

FORGED = [document_line({"id": 7000 + n}) for n in range(250)]
KEY = "a secret of the workers"


def forged_parts(stage, record):
    return extract_parts(
        lambda: [FORGED], StagedNames(record), stage, PartSettings(1 << 20), lambda _: None
    )


def note(ledger, record, name, data, **detail):
    """What the attacker does in the ledger: a count of the stage, with a manifest of their own."""
    ledger.observe_record(
        record["pipeline_id"],
        record["window_start_time"],
        "stage",
        len(FORGED),
        {"manifest": name, "sha256": hashlib.sha256(data).hexdigest(), **detail},
        record["claim_token"],
    )


def written(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def outside_the_stage(folder, record):
    """Manifest and parts beside the stage, reached by `..`."""
    stage = LocalStage(folder.parent / "theirs")
    parts = tuple(
        replace(part, name=f"../theirs/{part.name}") for part in forged_parts(stage, record)
    )
    return "../theirs/manifest.json", manifest_of(record, parts)


def by_an_absolute_name(folder, record):
    elsewhere = folder.parent / "theirs"
    parts = tuple(
        replace(part, name=str(elsewhere / part.name))
        for part in forged_parts(LocalStage(elsewhere), record)
    )
    return str(elsewhere / "manifest.json"), manifest_of(record, parts)


def of_another_window(folder, record):
    """A file of the stage, but another window's: a worker of one pipeline may stage its own."""
    length = dt.timedelta(hours=2)
    other = {
        **record,
        **{key: record[key] + length for key in ("window_start_time", "window_end_time")},
    }
    return StagedNames(other).manifest, manifest_of(other, forged_parts(LocalStage(folder), other))


def of_another_generation(folder, record):
    other = {**record, "generation": record["generation"] + 1}
    return StagedNames(other).manifest, manifest_of(other, forged_parts(LocalStage(folder), other))


def with_parts_of_another_pipeline(folder, record):
    other = {**record, "pipeline_id": "theirs"}
    return StagedNames(record).manifest, manifest_of(
        record, forged_parts(LocalStage(folder), other)
    )


def that_names_another_pipeline(folder, record):
    manifest = manifest_of(record, forged_parts(LocalStage(folder), record))
    return StagedNames(record).manifest, replace(manifest, pipeline_id="theirs")


def that_names_another_window(folder, record):
    manifest = manifest_of(record, forged_parts(LocalStage(folder), record))
    return StagedNames(record).manifest, replace(
        manifest, window_start_time=record["window_end_time"].isoformat()
    )


FORGERIES = [
    outside_the_stage, by_an_absolute_name, of_another_window, of_another_generation,
    with_parts_of_another_pipeline, that_names_another_pipeline, that_names_another_window,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_manifest_is_not_published(
    ledger, database, clock, move_of, pass_record, folder, forge
):
    attacker = pass_record()
    name, manifest = forge(folder, attacker)
    written(folder, name, manifest.to_bytes())
    note(ledger, attacker, name, manifest.to_bytes())
    lose(ledger, attacker)
    clock.advance("1h")

    record = pass_record()
    assert move_of().run(record) == {"rows": 250, "published": "now"}

    complete(ledger, record)
    assert ids(database) == list(range(250))


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_manifest_under_the_current_claim_is_refused(
    ledger, database, move_of, pass_record, folder, forge
):
    record, move = pass_record(), move_of()
    move.extract(record)
    name, manifest = forge(folder, record)
    written(folder, name, manifest.to_bytes())
    note(ledger, record, name, manifest.to_bytes())

    with pytest.raises(MoveFailed, match=r"own folder|not the manifest of this record"):
        move.load(record)

    with pytest.raises(MoveFailed):
        move.publish(record)
    assert ids(database) == []


@pytest.mark.parametrize(
    "detail", [{"manifest": 7}, {"manifest": None}, {"manifest": ["a"]}, {"sha256": None}]
)
def test_a_detail_of_the_wrong_shape_is_read_as_no_manifest(
    ledger, database, clock, move_of, pass_record, folder, detail
):
    attacker = pass_record()
    name, manifest = StagedNames(attacker).manifest, manifest_of(attacker, ())
    written(folder, name, manifest.to_bytes())
    note(ledger, attacker, name, manifest.to_bytes(), **detail)
    lose(ledger, attacker)
    clock.advance("1h")

    assert move_of().run(pass_record())["rows"] == 250
    assert ids(database) == list(range(250))


# ---------------------------------------------------------------- signed manifests
@pytest.fixture
def signing_move(ledger, ledger_dsn, database, folder):
    """Moves whose manifests are signed with a key."""
    opened = partial(open_database, ledger_dsn)

    def make(signing_key):
        return Move(
            ledger,
            PostgresSource(opened, "sales", "sold_at"),
            LocalStage(folder),
            PostgresTarget(opened, "sold"),
            signing_key=signing_key,
        )

    return make


@pytest.mark.parametrize("key", [None, "another secret altogether"])
def test_with_a_key_a_manifest_signed_otherwise_is_not_published(
    ledger, database, clock, signing_move, pass_record, folder, key
):
    attacker = pass_record()
    manifest = manifest_of(attacker, forged_parts(LocalStage(folder), attacker))
    name, data = StagedNames(attacker).manifest, manifest.to_bytes(key)
    written(folder, name, data)
    note(ledger, attacker, name, data)
    lose(ledger, attacker)
    clock.advance("1h")

    assert signing_move(KEY).run(pass_record()) == {"rows": 250, "published": "now"}
    assert ids(database) == list(range(250))


def test_with_a_key_a_later_claim_goes_on_with_what_was_signed(
    ledger, clock, signing_move, pass_record, folder
):
    first = pass_record()
    parts = signing_move(KEY).extract(first).parts
    lose(ledger, first)
    clock.advance("1h")

    assert signing_move(KEY).extract(pass_record()).parts == parts


def test_a_changed_signed_manifest_is_refused():
    manifest = Manifest(
        "orders", "2026-11-21T08:00:00+00:00", "2026-11-21T10:00:00+00:00", 1, 1, ()
    )
    content = json.loads(manifest.to_bytes(KEY))
    assert Manifest.from_bytes(json.dumps(content).encode(), "m.json", KEY) == manifest
    assert Manifest.from_bytes(manifest.to_bytes(KEY), "m.json") == manifest

    content["generation"] = 2
    with pytest.raises(MoveFailed, match="not signed with the signing_key"):
        Manifest.from_bytes(json.dumps(content).encode(), "m.json", KEY)
    with pytest.raises(MoveFailed, match="not signed with the signing_key"):
        Manifest.from_bytes(manifest.to_bytes(), "m.json", KEY)


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_not_a_manifest_is_one_error(data):
    with pytest.raises(MoveFailed, match="not a manifest that this release reads"):
        Manifest.from_bytes(data, "m.json")


# ---------------------------------------------------------------- the local stage
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/hostname", "..", "", "a/.."])
def test_a_local_stage_refuses_names_that_lead_out_of_it(local_stage, tmp_path, name):
    (tmp_path / "x").write_text("outside", encoding="utf-8")

    for call in (local_stage.open, local_stage.checksum, local_stage.create, local_stage.path_of):
        with pytest.raises(MoveFailed, match="leads out of the stage"):
            call(name)
    with pytest.raises(MoveFailed, match="leads out of the stage"):
        local_stage.remove(name, lambda *_: False)

    assert (tmp_path / "x").exists()


def test_a_local_stage_follows_no_link_out_of_it(local_stage, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("theirs", encoding="utf-8")
    local_stage.write_once("mine/file", b"x")
    (tmp_path / "stage" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(MoveFailed, match="leads out of the stage"):
        local_stage.open("link/secret")
    with pytest.raises(MoveFailed, match="leads out of the stage"):
        local_stage.remove("link", lambda *_: False)

    assert files_in(tmp_path / "elsewhere") == ["secret"]


def test_a_stage_may_itself_be_reached_by_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "stage").symlink_to(tmp_path / "disk")

    stage = LocalStage(tmp_path / "stage")

    assert stage.write_once("a/b", b"x")
    with stage.open("a/b") as file:
        assert file.read() == b"x"


@pytest.mark.skipif(os.name != "posix", reason="modes")
@pytest.mark.parametrize(
    ("mode", "folders"), [(0o600, 0o700), (0o640, 0o750), (0o660, 0o770), (0o644, 0o755)]
)
def test_staged_files_and_folders_have_the_mode_of_the_stage_whatever_the_umask(
    tmp_path, mode, folders
):
    before = os.umask(0o077 if mode != 0o600 else 0)
    try:
        stage = LocalStage(tmp_path / "deep" / "stage", mode)
        stage.write_once("pipeline/window/file", b"x")
        file = stage.create("pipeline/window/another")
        file.write(b"x")
        file.commit()
    finally:
        os.umask(before)

    made = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {mode}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {folders}
