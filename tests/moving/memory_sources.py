"""Sources for a process that is measured: made documents, or those of a fake's address."""

from __future__ import annotations

from elasticsearch import Elasticsearch

from record_ledger.moving import document_line
from record_ledger.moving.connectors.elasticsearch import ElasticsearchSource


class Made:
    """Makes documents as they are read."""

    def __init__(self, count):
        self._count = count

    def read(self, _record):
        for start in range(0, self._count, 2000):
            yield [
                document_line({"n": n, "text": f"{n * 7919 % 999983} " * 40})
                for n in range(start, min(start + 2000, self._count))
            ]


def source_of(name):
    if name.startswith("made:"):
        return Made(int(name.removeprefix("made:")))
    return ElasticsearchSource(
        Elasticsearch(name, request_timeout=300), "sales", tiebreaker="event.id"
    )
