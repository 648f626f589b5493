"""What the tests of moving share: records as they are passed, and documents in staged files."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from functools import partial
from pathlib import Path

from record_ledger.connection import connect as open_database
from record_ledger.moving import PartSettings, document_line
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from record_ledger.moving.extraction import extract_parts
from record_ledger.moving.manifest import Manifest, StagedNames

START = dt.datetime(2026, 11, 21, 8, tzinfo=dt.timezone.utc)
NOON = "2026-11-22T20:00:00Z"  # in Los Angeles: windows up to 2026-11-21 12:00 have settled


def passed(claim_token=1, *, generation=1, pipeline_id="orders", window=0):
    """Returns what moving reads of a record that was passed."""
    start = START + dt.timedelta(hours=2 * window)
    return {
        "pipeline_id": pipeline_id,
        "window_start_time": start,
        "window_end_time": start + dt.timedelta(hours=2),
        "generation": generation,
        "claim_token": claim_token,
    }


def staged(stage, record, documents, *, part_bytes=1 << 20, batch=10):
    """Stages documents for a record and returns their manifest."""
    lines = [document_line(one) for one in documents]
    batches = [lines[at : at + batch] for at in range(0, len(lines), batch)]
    parts = extract_parts(
        lambda: batches,
        StagedNames(record),
        stage,
        PartSettings(part_bytes),
        lambda _: None,
    )
    return manifest_of(record, parts)


def manifest_of(record, parts):
    """Returns the manifest of a record's parts."""
    return Manifest(
        record["pipeline_id"],
        record["window_start_time"].isoformat(),
        record["window_end_time"].isoformat(),
        record["generation"],
        record["claim_token"],
        parts,
    )


def documents_in(stage, manifest):
    """Returns what the parts of a manifest hold."""
    found = []
    for part in manifest.parts:
        with stage.open(part.name) as file:
            data = b"".join(iter(lambda: file.read(1 << 20), b""))
        found += [json.loads(line) for line in gzip.decompress(data).splitlines()]
    return found


def files_in(folder):
    """Returns the names of all files below a folder."""
    folder = Path(folder)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def moved(target, stage, record, documents):
    """Stages, loads and publishes documents; returns their manifest."""
    manifest = staged(stage, record, documents, part_bytes=1)
    target.begin(record)
    assert target.load(record, manifest, stage) == len(documents)
    assert target.publish(record, manifest) == len(documents)
    target.clean(record)
    return manifest


def in_phase(phase, target, record, manifest, stage):
    """Has a target do one of its phases for a record."""
    return {
        "begin": lambda: target.begin(record),
        "load": lambda: target.load(record, manifest, stage),
        "publish": lambda: target.publish(record, manifest),
    }[phase]()


class Watched:
    """A component that notes which of its methods are called."""

    def __init__(self, watched):
        self.watched, self.calls = watched, []

    def __getattr__(self, name):
        method = getattr(self.watched, name)

        def call(*arguments):
            self.calls.append(name)
            return method(*arguments)

        return call


def ids(database):
    found = database.execute("select (document ->> 'id')::int from sold order by 1").fetchall()
    return [one for (one,) in found]


def complete(ledger, record):
    ledger.complete_record(record["pipeline_id"], record["claim_token"])


def lose(ledger, record):
    """Takes the record back from its claim; the next pass hands it out again."""
    ledger.fail_record(record["pipeline_id"], record["claim_token"], "lost")


def another_count(_folder, database):
    database.execute("insert into sales values (1000, 'late', 1, '2026-11-21T08:30:00Z')")


def target_at(dsn, **options):
    return PostgresTarget(partial(open_database, dsn), "orders", **options)


def target_on(connection, table="orders"):
    return PostgresTarget(lambda: connection, table)


def loaded_tables(database):
    found = database.execute("select relname from pg_class where relname like 'load%'").fetchall()
    return [name for (name,) in found]
