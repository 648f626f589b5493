"""FakeElasticsearch: speaks the part of Elasticsearch's HTTP interface that the source uses.

A fake: it shows how the official client is used, and nothing about Elasticsearch itself. It knows
range filters, one sort field, points in time with search_after, and faults on demand. Run as

    python -m tests.moving.fake_elasticsearch 1000000

it serves so many documents from another process and prints its address.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sys
import threading
from bisect import bisect_right
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from tests.moving.support import START

EXPIRED = {
    "error": {
        "root_cause": [
            {"type": "search_context_missing_exception", "reason": "No search context found"}
        ],
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
    },
    "status": 404,
}


def made_documents(count):
    """Returns documents of the first window, not ordered by their ids."""
    seconds = 7200 / max(count, 1)
    return [
        {
            "@timestamp": (START + dt.timedelta(seconds=n * seconds)).isoformat(),
            "event": {"id": f"{n * 7919 % 999983:06d}-{n}", "kind": "sale"},
            "customer": f"customer {n % 1000}, 12 Long Street, Springfield",
            "amount": n / 4,
            "tags": ["new", "paid", "é☃"],
        }
        for n in range(count)
    ]


def field(document, path):
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


class FakeElasticsearch:
    """A server on a port of its own; a context manager.

    `documents` may change while it runs. `fault(endpoint, nth)` is asked before each answer, with
    the endpoint's name (_count, _pit, _search, _field_caps) and how many requests of it came
    before, and returns None or one of: a status, (status, headers), "drop", "cut", "expire",
    "shards", "hang" (until the server ends).
    """

    def __init__(self, documents, fault=lambda _endpoint, _nth: None):
        self.documents = documents
        self.fault = fault
        self.requests = []
        self.points = {}
        # How its indices map a field: kind and index; None when they do not.
        self.kinds = {"date": None}
        self._ended = threading.Event()
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def give_no_answer(self, fault):
        if fault == "hang":
            self._ended.wait()

    def answer(self, method, path, body):
        """Returns the answer: a status and an object, or a text that is JSON already."""
        *index, endpoint = path.strip("/").split("/")
        if endpoint == "_field_caps":
            return 200, self._capabilities(index[0], body)
        if endpoint == "_count":
            # The answer to a pattern that no index matches, or none that the user may read.
            is_there = "nothing-" not in index[0]
            count = len(self._matching(body["query"])) if is_there else 0
            return 200, {"count": count, "_shards": {"total": int(is_there), "failed": 0}}
        if endpoint == "_pit" and method == "POST":
            name = f"pit-{next(self._numbers)}"
            self.points[name] = self._point(index[0])
            return 200, {"id": name, "_shards": {"total": 1, "failed": 0}}
        if endpoint == "_pit":
            return 200, {"succeeded": True, "num_freed": int(bool(self.points.pop(body["id"], 0)))}
        point = self.points.get(body["pit"]["id"])
        if point is None:
            return 404, EXPIRED
        # Real servers may rename a point in time with each answer.
        self.points[name := f"pit-{next(self._numbers)}"] = self.points.pop(body["pit"]["id"])
        hits = point.page(body)
        return 200, (
            f'{{"pit_id":"{name}","timed_out":false,"_shards":{{"total":1,"failed":0}},'
            f'"hits":{{"hits":[{",".join(hits)}]}}}}'
        )

    def _capabilities(self, index, body):
        # Clients of different releases put it in different places.
        asked = body.get("fields") or parse_qs(self.requests[-1][1])["fields"][0]
        kinds = {
            kind: {"type": kind, **({"indices": [name]} if name else {})}
            for kind, name in self.kinds.items()
        }
        indices = [] if "nothing-" in index else ["sales-1"]
        return {"indices": indices, "fields": {str(asked): kinds} if kinds else {}}

    def _point(self, index):
        return Point(list(self.documents), index)

    def _matching(self, query):
        return [one for one in self.documents if matches(one, query)]


class Point:
    """A point in time: the documents that existed then, sorted and serialized once."""

    def __init__(self, documents, index):
        self._documents = documents
        self._index = index
        self._sorted = None

    def page(self, body):
        (sort,) = body["sort"]
        (path,) = sort
        key = json.dumps([path, body["query"]])
        if self._sorted is None or self._sorted[0] != key:
            self._sorted = (key, *self._sort(path, body["query"]))
        _, keys, hits = self._sorted
        after = body.get("search_after")
        at = 0 if after is None else bisect_right(keys, tuple(after))
        return hits[at : at + body["size"]]

    def _sort(self, path, query):
        """Sorts by the field, then by a document's position, as a point in time does."""
        found = [
            ((number,) if path == "_shard_doc" else (field(one, path), number), one)
            for number, one in enumerate(self._documents)
            if matches(one, query)
        ]
        found.sort(key=lambda one: tuple((value is None, value) for value in one[0]))
        hits = [
            json.dumps(
                {
                    "_index": self._index,
                    "_id": one.get("_id") or f"id-{key[-1]}",
                    "_source": {name: value for name, value in one.items() if name != "_id"},
                    "sort": list(key),
                }
            )
            for key, one in found
        ]
        return [key for key, _ in found], hits


def matches(document, query):
    """Returns whether a document matches a bool filter of ranges and terms."""
    for one in query["bool"]["filter"]:
        ((kind, clause),) = one.items()
        ((path, wanted),) = clause.items()
        value = field(document, path)
        if kind == "term":
            if value != wanted:
                return False
            continue
        if "format" in wanted:
            value = dt.datetime.fromisoformat(value)
            wanted = {
                name: dt.datetime.fromisoformat(text)
                for name, text in wanted.items()
                if name != "format"
            }
        tests = {"gte": value.__ge__, "gt": value.__gt__, "lt": value.__lt__}
        if not all(tests[name](limit) for name, limit in wanted.items()):
            return False
    return True


def _handler_of(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise two small writes of an answer would wait for each other.
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self):
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            path, _, query = self.path.partition("?")
            endpoint = path.rpartition("/")[2]
            nth = sum(one[0] == endpoint for one in fake.requests)
            fake.requests.append((endpoint, query, body))
            fault = fake.fault(endpoint, nth)
            if fault == "expire":
                fake.points.clear()
            elif fault in ("drop", "hang"):
                fake.give_no_answer(fault)
                self.close_connection = True
                return
            headers = {}
            if isinstance(fault, tuple):
                fault, headers = fault
            if isinstance(fault, int):
                status, answer = fault, {"error": {"type": "busy", "reason": "busy"}}
            else:
                status, answer = fake.answer(self.command, path, body)
            if fault == "shards":
                answer = {**json.loads(json.dumps(answer)), "_shards": {"total": 2, "failed": 1}}
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if fault == "cut":
                data = data[: len(data) // 2]
                self.close_connection = True
            self.wfile.write(data)
            self.wfile.flush()

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the server's names

        def log_message(self, *_):
            pass

    return Handler


class StillElasticsearch(FakeElasticsearch):
    """A fake whose documents never change: it sorts and counts them once, as an index does."""

    def __init__(self, documents):
        super().__init__(documents)
        self._one = Point(list(documents), "sales")
        self._counts = {}

    def _point(self, _index):
        return self._one

    def _matching(self, query):
        key = json.dumps(query)
        if key not in self._counts:
            self._counts[key] = super()._matching(query)
        return self._counts[key]


if __name__ == "__main__":
    with StillElasticsearch(made_documents(int(sys.argv[1]))) as served:
        print(served.url, flush=True)
        sys.stdin.read()
