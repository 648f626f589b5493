"""How fast a window of Elasticsearch is extracted and staged, against a bare loop of its client."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from elasticsearch import Elasticsearch

from record_ledger.moving import PartSettings
from record_ledger.moving.connectors.elasticsearch import ElasticsearchSource
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.extraction import extract_parts
from record_ledger.moving.manifest import StagedNames
from tests.benchmarks.bench import median, timed
from tests.benchmarks.report import Report, Result
from tests.moving.support import passed
from tests.support.repository import ROOT

ROUNDS = 5
DOCUMENTS = 200_000
PAGE = 2000


def measure(report: Report, rounds: int = ROUNDS, documents: int = DOCUMENTS) -> None:
    """Reads the same window from FakeElasticsearch in another process, in turns."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.moving.fake_elasticsearch", str(documents)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        client = Elasticsearch(server.stdout.readline().strip(), request_timeout=300)
        bare(client)  # the server sorts its documents once
        times: dict[str, list[float]] = {"bare": [], "staged": []}
        for _ in range(rounds):
            for name, work in (("bare", bare), ("staged", staged)):
                spent, count = timed(partial(work, client))
                assert count == documents
                times[name].append(spent)
        client.close()
        server.stdin.close()
    base = median(times["bare"])
    rate = documents / median(times["staged"]) * 1e6
    found = Result(
        f"extract and stage {documents:,} documents",
        median(times["staged"]) / base,
        2.0,
        f"of the bare client loop ({documents / base * 1e6:,.0f}/s; this {rate:,.0f}/s)",
    )
    report.add("moving", [found])


def bare(client: Elasticsearch) -> int:
    """Pages through the window and throws the documents away."""
    record = passed()
    bounds = {
        "gte": record["window_start_time"].isoformat(),
        "lt": record["window_end_time"].isoformat(),
        "format": "strict_date_optional_time",
    }
    query = {"bool": {"filter": [{"range": {"@timestamp": bounds}}]}}
    pit = client.open_point_in_time(index="sales", keep_alive="5m")["id"]
    count, after = 0, None
    while True:
        answer: Any = client.search(
            pit={"id": pit, "keep_alive": "5m"},
            query=query,
            sort=[{"event.id": "asc"}],
            search_after=after,
            size=PAGE,
            track_total_hits=False,
        )
        hits = answer["hits"]["hits"]
        count += len(hits)
        if len(hits) < PAGE:
            return count
        pit, after = answer["pit_id"], hits[-1]["sort"]


def staged(client: Elasticsearch) -> int:
    """Extracts the window into parts in a folder."""
    record = passed()
    source = ElasticsearchSource(client, "sales", tiebreaker="event.id", page_size=PAGE)
    with tempfile.TemporaryDirectory() as folder:
        parts = extract_parts(
            lambda: source.read(record),
            StagedNames(record),
            LocalStage(folder),
            PartSettings(),
            lambda _: None,
        )
    return sum(part.row_count for part in parts)
