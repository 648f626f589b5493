"""PostgreSQL as a target: exactly one window, exactly once, and only by the newest claim."""

from __future__ import annotations

import gzip

import pytest

from record_ledger.errors import CountsDisagree
from record_ledger.moving import MoveFailed, Published, StagedDataDamaged
from tests.moving.support import loaded_tables, moved, passed, staged, target_at

DOCUMENTS = [{"_id": str(n), "text": 'a "quoted", \\ back\nslash\t☃', "n": n} for n in range(25)]


@pytest.fixture
def target(empty_dsn):
    return target_at(empty_dsn)


def rows(empty_database, table="orders"):
    return empty_database.execute(
        f"select window_start_time, document from {table} order by 1, document -> 'n'"
    ).fetchall()


def test_documents_arrive_as_they_were_staged(target, local_stage, empty_database):
    record = passed()

    moved(target, local_stage, record, DOCUMENTS)

    assert rows(empty_database) == [(record["window_start_time"], one) for one in DOCUMENTS]
    assert loaded_tables(empty_database) == []


def test_a_window_without_documents_is_published_too(target, local_stage, empty_database):
    moved(target, local_stage, passed(1), DOCUMENTS)

    moved(target, local_stage, passed(2), [])

    assert rows(empty_database) == []
    assert target.begin(passed(3)).row_count == 0


def test_publishing_replaces_its_window_and_no_other(target, local_stage, empty_database):
    for window in range(3):
        moved(target, local_stage, passed(window + 1, window=window), DOCUMENTS[:2])
    moved(target, local_stage, passed(9, pipeline_id="other", window=1), DOCUMENTS[:3])

    moved(target, local_stage, passed(10, window=1), DOCUMENTS[:1])

    counts = empty_database.execute(
        "select pipeline_id, count(*) from orders group by pipeline_id, window_start_time "
        "order by pipeline_id, window_start_time"
    ).fetchall()
    assert counts == [("orders", 2), ("orders", 1), ("orders", 2), ("other", 3)]


def test_what_is_published_is_known(target, local_stage, empty_database):
    assert target.begin(passed(1)) is None

    manifest = moved(target, local_stage, passed(2, generation=3), DOCUMENTS)
    assert target.begin(passed(4, generation=5)) == Published(3, 2, manifest.digest, 25)

    empty_database.execute("delete from orders where document ->> '_id' = '7'")
    assert target.begin(passed(4)).row_count == 24


def test_repeating_any_phase_changes_nothing(target, local_stage, empty_database):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS)
    for _ in range(2):
        target.begin(record)
        target.load(record, manifest, local_stage)
        target.load(record, manifest, local_stage)
        target.publish(record, manifest)
        target.publish(record, manifest)
        target.clean(record)
        target.clean(record)

    assert len(rows(empty_database)) == 25
    assert loaded_tables(empty_database) == []


def test_a_loaded_table_that_a_crash_has_emptied_is_loaded_again(
    target, local_stage, empty_database
):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS)
    target.begin(record)
    target.load(record, manifest, local_stage)
    (loaded,) = loaded_tables(empty_database)
    empty_database.execute(f"truncate {loaded}")  # as recovery does to an unlogged table

    with pytest.raises(CountsDisagree, match="0 rows, but 25 are staged"):
        target.publish(record, manifest)
    assert target.load(record, manifest, local_stage) == 25
    assert target.publish(record, manifest) == 25


def test_publishing_what_was_not_loaded_is_refused(target, local_stage, empty_database):
    moved(target, local_stage, passed(1), DOCUMENTS[:3])
    record = passed(2)
    target.begin(record)

    with pytest.raises(MoveFailed, match="has not loaded the 25 staged rows"):
        target.publish(record, staged(local_stage, record, DOCUMENTS))
    assert len(rows(empty_database)) == 3


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda path: path.write_bytes(gzip.compress(b'{"n": 1}\n')), StagedDataDamaged),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), StagedDataDamaged),
        (lambda path: path.write_bytes(b"no gzip"), StagedDataDamaged),
        (lambda path: path.unlink(), StagedDataDamaged),
    ],
    ids=["other content", "cut off", "no gzip", "gone"],
)
def test_damaged_parts_are_not_loaded(target, local_stage, empty_database, damage, error):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS, part_bytes=1)
    assert len(manifest.parts) > 1
    damage(local_stage.path_of(manifest.parts[1].name))
    target.begin(record)

    with pytest.raises(error, match=manifest.parts[1].name):
        target.load(record, manifest, local_stage)
    assert loaded_tables(empty_database) == []


def test_a_document_that_the_database_cannot_hold_is_named(target, local_stage):
    record = passed(1)
    manifest = staged(local_stage, record, [{"ok": 1}, {"text": "nul \x00"}])
    target.begin(record)

    with pytest.raises(MoveFailed, match=r"part-.*, line 2 holds .*unsupported Unicode escape"):
        target.load(record, manifest, local_stage)


def test_a_constraint_of_the_table_keeps_the_old_data(target, local_stage, empty_database):
    moved(target, local_stage, passed(1), DOCUMENTS[:3])
    empty_database.execute("alter table orders add check ((document ->> 'n')::int < 20)")
    record = passed(2)
    manifest = staged(local_stage, record, DOCUMENTS)
    target.begin(record)
    target.load(record, manifest, local_stage)

    with pytest.raises(MoveFailed, match="violates check constraint"):
        target.publish(record, manifest)
    assert len(rows(empty_database)) == 3


def test_a_statement_that_takes_too_long_is_cancelled(
    empty_dsn, local_stage, empty_database, connect
):
    target = target_at(empty_dsn, statement_timeout="50ms")
    target.begin(passed(1))
    holder = connect(dsn=empty_dsn, autocommit=False)
    holder.execute("lock table orders")

    with pytest.raises(MoveFailed, match="statement timeout"):
        moved(target, local_stage, passed(1), [])
