"""The official client over HTTP against FakeElasticsearch: each document once, whatever fails."""

from __future__ import annotations

import json

import pytest
from elasticsearch import Elasticsearch

from record_ledger.connection import RetryPolicy
from record_ledger.moving import MoveFailed, StartAgain
from record_ledger.moving.connectors.elasticsearch import ElasticsearchSource
from tests.moving.fake_elasticsearch import FakeElasticsearch, made_documents
from tests.moving.support import passed

SOON = RetryPolicy(tries=4, within=30.0, first_wait=0.001, longest_wait=0.01)


@pytest.fixture
def fake():
    with FakeElasticsearch(made_documents(53)) as started:
        yield started


@pytest.fixture
def source_of(fake):
    clients = []

    def make(**options):
        clients.append(Elasticsearch(fake.url))
        options = {"tiebreaker": "event.id", "page_size": 10, "policy": SOON, **options}
        return ElasticsearchSource(clients[-1], "sales-*", **options)

    yield make
    for client in clients:
        client.close()


def ids_of(batches):
    return [json.loads(line)["event"]["id"] for batch in batches for line in batch]


def all_ids(fake):
    return sorted(one["event"]["id"] for one in fake.documents)


def at(endpoint, *numbers, fault):
    return lambda asked, nth: fault if asked == endpoint and nth in numbers else None


def test_a_window_is_counted_and_read_once_and_the_point_in_time_closed(fake, source_of):
    source = source_of()

    assert source.count(passed()) == 53
    assert ids_of(source.read(passed())) == all_ids(fake)
    assert fake.points == {}
    assert source.count(passed(window=1)) == 0
    assert list(source.read(passed(window=1))) == []


@pytest.mark.parametrize("tiebreaker", ["event.id", None])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20])
def test_any_number_of_documents_fits_the_pages(fake, source_of, count, tiebreaker):
    fake.documents = made_documents(count)

    assert sorted(ids_of(source_of(tiebreaker=tiebreaker).read(passed()))) == all_ids(fake)


def test_the_window_is_half_open(fake, source_of):
    record = passed()
    times = [record["window_start_time"], record["window_end_time"]]
    fake.documents = [
        {"@timestamp": time.isoformat(), "event": {"id": str(n)}} for n, time in enumerate(times)
    ]

    assert ids_of(source_of().read(record)) == ["0"]
    assert source_of().count(record) == 1


def test_a_document_is_its_source_with_its_id_and_index(fake, source_of):
    fake.documents = [{**made_documents(1)[0], "_id": "a1", "text": 'é☃ "q" \n \ud83d'}]

    ((line,),) = source_of().read(passed())

    assert b"\n" not in line
    assert json.loads(line) == {**fake.documents[0], "_index": "sales-*"}


@pytest.mark.parametrize(
    "value", [None, "null", 10**30, -(2**63), 1e300, 0.1, "\x00\u2028", {}, []]
)
def test_a_value_of_a_document_stays_what_it_is(fake, source_of, value):
    fake.documents = [{**made_documents(1)[0], "value": value, "name": "of null"}]

    ((line,),) = source_of().read(passed())

    assert json.loads(line)["value"] == value


def test_a_document_that_is_no_json_is_named(fake, source_of):
    fake.documents[7]["amount"] = float("nan")

    with pytest.raises(MoveFailed, match=r"document id-7 of sales-.* is no JSON: Out of range"):
        list(source_of().read(passed()))


def test_a_teams_own_filter_joins_the_window(fake, source_of):
    fake.documents[7]["event"]["kind"] = "return"
    source = source_of(query={"term": {"event.kind": "return"}})

    assert source.count(passed()) == 1
    assert ids_of(source.read(passed())) == [fake.documents[7]["event"]["id"]]


@pytest.mark.parametrize("endpoint", ["_count", "_pit", "_search"])
@pytest.mark.parametrize(
    "fault", [429, 502, 503, 504, (429, {"Retry-After": "0"}), "drop", "cut", "shards"]
)
def test_what_fails_for_a_moment_is_tried_again(fake, source_of, endpoint, fault):
    if (endpoint, fault) == ("_pit", "shards"):
        pytest.skip("opening one says nothing of shards")
    fake.fault = at(endpoint, 0, 1, fault=fault)
    source = source_of()

    assert source.count(passed()) == 53
    assert ids_of(source.read(passed())) == all_ids(fake)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(fake):
    fake.fault = lambda _, nth: "hang" if nth == 0 else None
    with Elasticsearch(fake.url, request_timeout=0.2) as client:
        source = ElasticsearchSource(client, "sales", tiebreaker="event.id", policy=SOON)

        assert source.count(passed()) == 53
        assert ids_of(source.read(passed())) == all_ids(fake)


def test_a_pattern_that_matches_no_index_is_no_empty_window(fake):
    with Elasticsearch(fake.url) as client, pytest.raises(MoveFailed, match="no such index"):
        ElasticsearchSource(client, "nothing-*", policy=SOON).count(passed())


def test_a_server_that_asks_to_be_left_alone_is(fake, source_of):
    fake.fault = at("_count", 0, fault=(429, {"Retry-After": "40"}))

    with pytest.raises(MoveFailed, match="429"):
        source_of().count(passed())  # 40 s is more than the 30 s that all tries may take
    assert [one[0] for one in fake.requests].count("_count") == 1


def test_a_server_that_stays_busy_is_given_up(fake, source_of):
    fake.fault = lambda endpoint, _: 503 if endpoint == "_search" else None

    with pytest.raises(MoveFailed, match=r"sales-\*: search: .*503"):
        list(source_of().read(passed()))
    assert [one[0] for one in fake.requests] == ["_pit", *["_search"] * 4, "_pit"]


def test_an_error_for_good_is_not_tried_again(fake, source_of):
    fake.fault = at("_count", 0, fault=400)

    with pytest.raises(MoveFailed, match="400"):
        source_of().count(passed())
    assert [one[0] for one in fake.requests].count("_count") == 1


@pytest.mark.parametrize("expired_at", [[0], [1], [5], [1, 3, 4], [2, 3, 4]])
def test_an_expired_point_in_time_is_renewed_behind_the_last_document(fake, source_of, expired_at):
    fake.fault = at("_search", *expired_at, fault="expire")

    assert ids_of(source_of().read(passed())) == all_ids(fake)


def test_a_point_in_time_that_always_expires_is_given_up(fake, source_of):
    fake.fault = lambda endpoint, _: "expire" if endpoint == "_search" else None

    with pytest.raises(MoveFailed, match="expires before a page is read"):
        list(source_of().read(passed()))


def test_without_a_tiebreaker_an_expired_point_in_time_starts_the_window_again(fake, source_of):
    fake.fault = at("_search", 2, fault="expire")

    with pytest.raises(StartAgain, match="No search context found"):
        list(source_of(tiebreaker=None).read(passed()))


def test_a_document_without_the_tiebreaker_is_named(fake, source_of):
    del fake.documents[7]["event"]

    with pytest.raises(MoveFailed, match=r"document id-7 has no event\.id"):
        list(source_of().read(passed()))


def test_documents_that_come_while_the_window_is_read_are_not_seen(fake, source_of):
    before = all_ids(fake)

    def more(endpoint, nth):
        if (endpoint, nth) == ("_search", 2):
            fake.documents.append({**fake.documents[0], "event": {"id": "000000-late"}})

    fake.fault = more

    assert ids_of(source_of().read(passed())) == before
    assert source_of().count(passed()) == 54


def test_the_client_is_asked_for_all_shards_and_sends_no_retries_of_its_own(fake, source_of):
    list(source_of().read(passed()))

    query = next(query for endpoint, query, _ in fake.requests if endpoint == "_search")
    assert "allow_partial_search_results=false" in query


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ({"keyword": None}, "@timestamp is of type keyword"),
        ({"long": None}, "@timestamp is of type long"),
        ({"date": "sales-2", "text": "sales-1"}, "@timestamp is of type text in sales-1"),
        ({}, "no index has a field @timestamp"),
    ],
)
def test_a_time_field_that_is_no_date_is_refused(fake, source_of, kinds, says):
    """A range over a keyword compares texts, and one over a field that is not mapped is empty."""
    fake.kinds = kinds

    for call in (lambda one: one.check("orders"), lambda one: one.count(passed())):
        with pytest.raises(MoveFailed, match=says):
            call(source_of())


@pytest.mark.parametrize("kinds", [{"date": None}, {"date": "sales-1", "date_nanos": "sales-2"}])
def test_a_time_field_that_is_a_date_is_looked_at_once(fake, source_of, kinds):
    fake.kinds = kinds
    source = source_of()
    source.check("orders")

    assert [source.count(passed()) for _ in range(2)] == [53, 53]
    assert [endpoint for endpoint, *_ in fake.requests].count("_field_caps") == 1


def test_an_index_that_is_missing_is_refused_by_the_check(fake):
    client = Elasticsearch(fake.url)
    with pytest.raises(MoveFailed, match="there is no such index"):
        ElasticsearchSource(client, "nothing-*", policy=SOON).check("orders")
    client.close()
