"""Stages: what is committed is whole, what is not is nothing, and nothing else is removed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest

from record_ledger.moving import MoveFailed, StagedDataDamaged
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.s3 import CHUNK
from tests.moving.support import files_in


def put(stage, name, data=b"data"):
    file = stage.create(name)
    file.write(data)
    return file.commit()


def content(stage, name):
    with stage.open(name) as file:
        return b"".join(iter(lambda: file.read(1000), b""))


def names(stage, folder):
    seen = []
    stage.remove(folder, lambda name, _: seen.append(name) or True)
    return sorted(seen)


def test_a_committed_file_is_read_as_it_was_written(stage):
    file = stage.create("a/b/one")
    for piece in (b"12", b"", b"345"):
        file.write(piece)
    checksum = file.commit()

    assert content(stage, "a/b/one") == b"12345"
    assert stage.checksum("a/b/one") == checksum
    assert names(stage, "a/") == ["a/b/one"]


def test_an_empty_file_is_a_file(stage):
    checksum = put(stage, "a/empty", b"")

    assert content(stage, "a/empty") == b""
    assert stage.checksum("a/empty") == checksum


def test_a_file_is_replaced_when_another_is_committed(stage):
    first = put(stage, "a/one", b"old")
    file = stage.create("a/one")
    file.write(b"new")
    assert content(stage, "a/one") == b"old"

    second = file.commit()

    assert content(stage, "a/one") == b"new"
    assert stage.checksum("a/one") == second != first


def test_an_aborted_file_leaves_nothing(stage):
    file = stage.create("a/one")
    file.write(b"data")
    file.abort()
    file.abort()

    assert names(stage, "a/") == []
    assert stage.checksum("a/one") is None


def test_a_file_that_is_not_there_says_so(stage):
    assert stage.checksum("a/one") is None
    with pytest.raises(FileNotFoundError), stage.open("a/one"):
        pass


def test_of_two_that_write_once_the_first_one_does(stage):
    assert stage.write_once("a/manifest", b"first") is True
    assert stage.write_once("a/manifest", b"second") is False

    assert content(stage, "a/manifest") == b"first"
    assert names(stage, "a/") == ["a/manifest"]


def test_only_what_may_go_is_removed_and_only_below_the_folder(stage):
    for name in ("a/1/x", "a/1/y", "a/2/x", "a10/x", "b/x"):
        put(stage, name)

    assert stage.remove("a/", lambda name, _: name.endswith("y")) == 2

    assert [*names(stage, "a/"), *names(stage, "a10/"), *names(stage, "b/")] == [
        "a/1/y",
        "a10/x",
        "b/x",
    ]
    assert stage.remove("nothing/", lambda *_: False) == 0


def test_the_age_of_a_file_is_told(stage):
    put(stage, "a/one")
    ages = []
    stage.remove("a/", lambda _, age: ages.append(age) or True)

    assert -2 < ages[0] < 60  # S3 tells whole seconds


def test_what_was_never_committed_is_removed_too(tmp_path, s3):
    local, remote = LocalStage(tmp_path), s3.stage("p")
    files = [stage.create("a/one") for stage in (local, remote)]
    for file in files:
        file.write(b"x" * (CHUNK + 1))
    assert len(files_in(tmp_path)) == len(s3.uploads()) == 1

    for stage in (local, remote):
        assert stage.remove("a/", lambda *_: True) == 0
        assert stage.remove("a/", lambda *_: False) == 1
    assert files_in(tmp_path) == s3.uploads() == []
    for file in files:
        file.abort()


def test_a_file_that_a_later_claim_removes_while_it_is_written_is_reported(tmp_path):
    stage = LocalStage(tmp_path)
    file = stage.create("a/one")
    file.write(b"data")
    stage.remove("a/", lambda *_: False)

    with pytest.raises(StagedDataDamaged, match="a later claim has begun"):
        file.commit()
    file.abort()

    assert files_in(tmp_path) == []


# A fake: what S3 answers about an upload that was ended. The server of these tests breaks instead.
FAKE_NO_SUCH_UPLOAD = SimpleNamespace(
    headers={"content-type": "application/xml"},
    status_code=404,
    content=b"<Error><Code>NoSuchUpload</Code><Message>It does not exist.</Message></Error>",
)


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1, 2 * CHUNK])
def test_an_upload_that_a_later_claim_ends_is_reported(s3, size):
    stage = s3.stage("p")
    file = stage.create("a/one")
    file.write(b"x" * CHUNK)
    stage.remove("a/", lambda *_: False)
    s3.client.meta.events.register("before-send.s3", lambda **_: FAKE_NO_SUCH_UPLOAD)

    def finish():
        file.write(b"x" * (size - CHUNK))
        file.commit()

    with pytest.raises(StagedDataDamaged, match="a later claim has begun"):
        finish()
    file.abort()


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_file_to_be_written_once_that_a_later_claim_removes_is_reported(
    tmp_path, monkeypatch, when
):
    stage = LocalStage(tmp_path)
    link = os.link

    def linked(source, target):
        if when == "between":
            link(source, target)
        stage.remove("a/", lambda *_: False)
        if when == "before":
            link(source, target)

    monkeypatch.setattr(os, "link", linked)
    with pytest.raises(StagedDataDamaged, match="a later claim has begun"):
        stage.write_once("a/manifest", b"first")

    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_a_large_file_goes_to_s3_in_pieces_with_a_checksum_each(s3, size):
    headers = []
    s3.client.meta.events.register(
        "before-send.s3",
        lambda request, **_: headers.append(
            (request.method, request.headers.get("x-amz-checksum-sha256"))
        ),
    )
    stage, data = s3.stage(), os.urandom(size)
    file = stage.create("a/large")
    for at in range(0, size, 1_000_001):
        file.write(data[at : at + 1_000_001])
    checksum = file.commit()

    assert content(stage, "a/large") == data
    assert stage.checksum("a/large") == checksum
    assert s3.uploads() == []
    etag = s3.client.head_object(Bucket=s3.name, Key="a/large")["ETag"]
    assert ("-" in etag) is (size >= CHUNK)
    sent = [one for one in headers if one[0] == "PUT"]
    assert len(sent) == -(-size // CHUNK)
    assert all(checksum for _, checksum in sent)


def test_an_aborted_upload_leaves_no_pieces(s3):
    file = s3.stage().create("a/large")
    file.write(os.urandom(CHUNK + 1))
    assert s3.uploads() == ["a/large"]

    file.abort()

    assert s3.uploads() == s3.keys() == []


@pytest.mark.slow
def test_more_files_than_s3_lists_or_deletes_at_once_are_removed(s3):
    with ThreadPoolExecutor(8) as pool:
        put_one = partial(s3.client.put_object, Bucket=s3.name, Body=b"")
        list(pool.map(lambda number: put_one(Key=f"a/{number}"), range(1003)))

    assert s3.stage().remove("a/", lambda *_: False) == 1003
    assert s3.keys() == []


def test_what_s3_refuses_is_one_error(s3):
    stage = s3.stage()
    s3.client.delete_bucket(Bucket=s3.name)

    for call in (
        lambda: put(stage, "a"),
        lambda: stage.write_once("a", b""),
        lambda: stage.remove("a/", lambda *_: False),
    ):
        with pytest.raises(MoveFailed, match=rf"s3://{s3.name}/a.*NoSuchBucket"):
            call()


def test_a_folder_that_is_cleaned_while_a_file_is_begun_is_made_again(tmp_path):
    stage = LocalStage(tmp_path)
    for _ in range(50):
        stage.remove("a/", lambda *_: False)
        put(stage, "a/b/c")
    assert files_in(tmp_path) == ["a/b/c"]
