"""PostgreSQL as a target for several claims on a window: the newest decides, and seldom waits."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest

from record_ledger.errors import ClaimLost
from record_ledger.moving import Published
from tests.moving.support import (
    in_phase,
    loaded_tables,
    moved,
    passed,
    staged,
    target_at,
    target_on,
)

DOCUMENTS = [{"_id": str(n), "n": n} for n in range(25)]


@pytest.fixture
def target(empty_dsn):
    return target_at(empty_dsn)


def rows(empty_database):
    return empty_database.execute("select document from orders").fetchall()


@pytest.mark.parametrize("phase", ["begin", "load", "publish"])
def test_a_claim_that_is_not_the_newest_changes_nothing(target, local_stage, empty_database, phase):
    moved(target, local_stage, passed(1), DOCUMENTS[:3])
    stale = passed(2)
    manifest = staged(local_stage, stale, DOCUMENTS)
    target.begin(stale)
    target.load(stale, manifest, local_stage)
    before = loaded_tables(empty_database)

    target.begin(passed(3))

    with pytest.raises(ClaimLost, match="a later claim than 2"):
        in_phase(phase, target, stale, manifest, local_stage)
    assert len(rows(empty_database)) == 3
    assert loaded_tables(empty_database) == before


def test_a_later_claim_waits_for_one_that_is_publishing(
    target, local_stage, empty_database, empty_dsn, in_background, connect
):
    first, second = passed(1), passed(2)
    manifest = staged(local_stage, first, DOCUMENTS)
    target.begin(first)
    target.load(first, manifest, local_stage)
    holder = connect(dsn=empty_dsn, autocommit=False)
    holder.execute("lock table orders in access exclusive mode")
    one, other = connect(dsn=empty_dsn), connect(dsn=empty_dsn)

    publishing = in_background(one, partial(target_on(one).publish, first, manifest))
    publishing.wait_until_blocked()
    beginning = in_background(other, partial(target_on(other).begin, second))
    beginning.wait_until_blocked()
    holder.rollback()

    assert publishing.result() == 25
    assert beginning.result() == Published(1, 1, manifest.digest, 25)


class Meanwhile:
    """A stage that has something done once a file of it is read."""

    def __init__(self, stage, do):
        self.stage, self.do = stage, do

    @contextmanager
    def open(self, name):
        with self.stage.open(name) as file:
            self.do()
            yield file


def test_a_later_claim_does_not_wait_for_one_that_is_loading(
    target, empty_dsn, local_stage, empty_database
):
    """The earlier one may hang, or its machine be lost, without its connection being closed."""
    impatient = target_at(empty_dsn, statement_timeout="5s")
    first, second = passed(1), passed(2)
    manifest = staged(local_stage, first, DOCUMENTS)
    target.begin(first)

    with pytest.raises(ClaimLost, match="a later claim than 1"):
        target.load(
            first,
            manifest,
            Meanwhile(local_stage, lambda: moved(impatient, local_stage, second, [])),
        )

    assert loaded_tables(empty_database) == []
    assert target.begin(second).row_count == 0


def test_a_claim_that_is_lost_while_it_takes_over_a_table_leaves_it(
    target, empty_dsn, local_stage, empty_database, monkeypatch
):
    first, second, third = passed(1), passed(2), passed(3)
    manifest = staged(local_stage, first, DOCUMENTS)
    target.begin(first)
    target.load(first, manifest, local_stage)
    before = loaded_tables(empty_database)
    target.begin(second)
    # As late as it can be: the table is counted, and renamed next.
    monkeypatch.setattr(
        "record_ledger.moving.connectors.postgres.target.holds_content",
        lambda *_: target_at(empty_dsn).begin(third) is None,
    )

    with pytest.raises(ClaimLost, match="a later claim than 2"):
        target.load(second, manifest, local_stage)
    assert loaded_tables(empty_database) == before


def test_what_an_earlier_claim_has_loaded_is_taken_over(target, local_stage, empty_database):
    first, second = passed(1), passed(2)
    manifest = staged(local_stage, first, DOCUMENTS)
    target.begin(first)
    target.load(first, manifest, local_stage)
    for part in manifest.parts:
        local_stage.remove(part.name.rpartition("/")[0], lambda *_: False)

    target.begin(second)
    assert target.load(second, manifest, local_stage) == 25
    assert target.publish(second, manifest) == 25

    assert len(rows(empty_database)) == 25
    assert loaded_tables(empty_database) == []


@pytest.mark.parametrize("tables", [["orders"], [f"orders{n}" for n in range(8)]])
def test_many_first_runs_at_once_create_the_tables_once(empty_dsn, in_background, connect, tables):
    connections = [connect(dsn=empty_dsn) for _ in range(8)]
    started = [
        in_background(
            one, partial(target_on(one, tables[n % len(tables)]).begin, passed(n, window=n))
        )
        for n, one in enumerate(connections)
    ]

    assert [one.result() for one in started] == [None] * 8


def test_tables_in_use_by_a_lost_claim_do_not_stop_a_later_one(
    target, local_stage, empty_database, empty_dsn, connect
):
    stale = passed(1)
    target.begin(stale)
    target.load(stale, staged(local_stage, stale, DOCUMENTS[:5]), local_stage)
    (loaded,) = loaded_tables(empty_database)
    connect(dsn=empty_dsn, autocommit=False).execute(f"lock table {loaded}")

    moved(target, local_stage, passed(2), DOCUMENTS)

    assert len(rows(empty_database)) == 25
    assert loaded_tables(empty_database) == [loaded]
