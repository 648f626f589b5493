"""The same against real services, for those who have them; each is skipped without its variable.

RECORD_LEDGER_TEST_ELASTICSEARCH='{"hosts": ["https://..."], "api_key": "..."}'
RECORD_LEDGER_TEST_S3='{"bucket": "...", "client": {"region_name": "..."}}'
RECORD_LEDGER_TEST_SNOWFLAKE='{"connection": {"account": ...}, "external_stage": null}'

They make an index, a prefix and tables of their own, and remove them. With an `external_stage`, it
must be over the bucket of RECORD_LEDGER_TEST_S3.
"""

from __future__ import annotations

import json
import os
import uuid
from functools import partial

import boto3
import pytest
from elasticsearch import Elasticsearch, helpers

from record_ledger.moving import StartAgain
from record_ledger.moving.connectors.elasticsearch import ElasticsearchSource
from record_ledger.moving.connectors.s3 import CHUNK, S3Stage
from tests.moving.fake_elasticsearch import made_documents
from tests.moving.support import moved, passed

NAME = f"record_ledger_test_{uuid.uuid4().hex[:8]}"


def options(service):
    variable = f"RECORD_LEDGER_TEST_{service}"
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    return json.loads(os.environ[variable])


@pytest.fixture
def elasticsearch():
    """A client, and an index with 2,500 documents in the first window."""
    with Elasticsearch(**options("ELASTICSEARCH")) as client:
        keyword = {"properties": {"id": {"type": "keyword"}}}
        mappings = {"properties": {"@timestamp": {"type": "date"}, "event": keyword}}
        client.indices.create(
            index=NAME, mappings=mappings, settings={"number_of_shards": 3}, timeout="60s"
        )
        try:
            actions = ({"_index": NAME, "_source": one} for one in made_documents(2500))
            helpers.bulk(client, actions, refresh="wait_for")
            yield client
        finally:
            client.indices.delete(index=NAME)


@pytest.fixture
def remote_stage():
    given = options("S3")
    stage = S3Stage(boto3.client("s3", **given.get("client", {})), given["bucket"], NAME)
    yield stage
    stage.remove("", lambda *_: False)


def read(source, after_page=lambda _: None):
    found = []
    for number, batch in enumerate(source.read(passed())):
        found += [json.loads(line)["event"]["id"] for line in batch]
        after_page(number)
    return sorted(found)


@pytest.mark.parametrize("tiebreaker", ["event.id", None])
def test_elasticsearch_gives_each_document_once(elasticsearch, tiebreaker):
    source = ElasticsearchSource(elasticsearch, NAME, tiebreaker=tiebreaker, page_size=200)

    assert source.count(passed()) == 2500
    assert read(source) == sorted(one["event"]["id"] for one in made_documents(2500))


@pytest.mark.parametrize("tiebreaker", ["event.id", None])
def test_elasticsearch_forgets_a_point_in_time(elasticsearch, tiebreaker, monkeypatch):
    source = ElasticsearchSource(elasticsearch, NAME, tiebreaker=tiebreaker, page_size=200)
    points, opened = [], source._open
    monkeypatch.setattr(source, "_open", lambda: points.append(opened()) or points[-1])

    def forget(number):
        if number in (2, 5):
            elasticsearch.close_point_in_time(id=points[-1])

    if tiebreaker is None:
        with pytest.raises(StartAgain):
            read(source, forget)
        return
    assert read(source, forget) == sorted(one["event"]["id"] for one in made_documents(2500))
    assert len(points) == 3


def test_s3_keeps_what_was_committed(remote_stage):
    data = os.urandom(2 * CHUNK + 5)
    file = remote_stage.create("a/large")
    file.write(data)
    checksum = file.commit()

    with remote_stage.open("a/large") as opened:
        assert b"".join(iter(lambda: opened.read(1 << 20), b"")) == data
    assert remote_stage.checksum("a/large") == checksum
    assert not checksum.endswith(" -")  # it keeps a SHA-256
    assert remote_stage.write_once("a/manifest", b"1")
    assert not remote_stage.write_once("a/manifest", b"2")
    assert remote_stage.remove("a/", lambda *_: False) == 2


@pytest.mark.parametrize("external", [False, True])
def test_snowflake_publishes_a_window(request, tmp_path, external):
    given = options("SNOWFLAKE")
    connector = pytest.importorskip("snowflake.connector")
    from record_ledger.moving.connectors.local import LocalStage
    from record_ledger.moving.connectors.snowflake.target import SnowflakeTarget

    if external and not given.get("external_stage"):
        pytest.skip("no external_stage is given")
    stage = request.getfixturevalue("remote_stage") if external else LocalStage(tmp_path)
    connect = partial(connector.connect, **given["connection"])
    target = SnowflakeTarget(
        connect, NAME, external_stage=f"{given['external_stage']}/{NAME}" if external else None
    )
    try:
        for token, count in ((1, 25), (2, 7)):
            moved(target, stage, passed(token), made_documents(count))
        assert target.begin(passed(3)).row_count == 7
    finally:
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"drop table if exists {NAME}")
            cursor.execute(
                "delete from record_ledger_published where pipeline_id = %s "
                "and window_start_time = %s::timestamp_tz",
                ["orders", passed()["window_start_time"].isoformat()],
            )
