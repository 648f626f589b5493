"""However large a window is, moving it takes no more memory."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest

from tests.support.repository import ROOT

# Reads, stages and loads a window of so many documents, and prints by how much that raised the
# most memory that the process ever had (Linux: in KiB), after a small window has warmed it up.
MOVE = """
import json, resource, sys, time
from functools import partial
from record_ledger.connection import connect
from record_ledger.moving import PartSettings
from record_ledger.moving.extraction import extract_parts
from record_ledger.moving.manifest import StagedNames
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.moving.memory_sources import source_of
from tests.moving.support import manifest_of, passed

folder, dsn, *sources = json.loads(sys.argv[1])
stage = LocalStage(folder)
target = PostgresTarget(partial(connect, dsn), "sold")
for token, name in enumerate(sources, start=1):
    record, source, started = passed(token), source_of(name), time.monotonic()
    parts = extract_parts(
        lambda: source.read(record), StagedNames(record), stage, PartSettings(4 << 20), int
    )
    seconds = time.monotonic() - started
    manifest = manifest_of(record, parts)
    target.begin(record)
    assert target.load(record, manifest, stage) == manifest.row_count
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([memory, manifest.row_count, manifest.row_count / seconds]))
"""


@pytest.fixture
def growth(tmp_path, empty_dsn):
    """Moves windows in a process of its own; returns the KiB that the second one added."""

    def measure(*sources):
        done = subprocess.run(
            [sys.executable, "-c", MOVE, json.dumps([str(tmp_path), empty_dsn, *sources])],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        small, large = map(json.loads, done.stdout.splitlines())
        print(f"{large[1]:,} documents, {large[2]:,.0f} per second, {large[0]:,} KiB at most")
        return large[0] - small[0], large[1]

    return measure


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is counted otherwise")
def test_a_window_of_200000_documents_takes_no_more_memory_than_one_of_20000(growth):
    added, count = growth("made:20000", "made:200000")

    assert count == 200_000
    assert added < 16 * 1024  # the documents are 60 MB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is counted otherwise")
def test_a_million_documents_of_elasticsearch_take_no_more_memory_than_20000(growth):
    serve = partial(
        subprocess.Popen, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    module = "tests.moving.fake_elasticsearch"
    with (
        serve([sys.executable, "-m", module, "20000"]) as small,
        serve([sys.executable, "-m", module, "1000000"]) as large,
    ):
        added, count = growth(*(one.stdout.readline().strip() for one in (small, large)))
        for one in (small, large):
            one.stdin.close()

    assert count == 1_000_000
    assert added < 16 * 1024
