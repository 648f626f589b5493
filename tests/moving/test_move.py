"""A window is moved whole and once, and goes on where it stopped, by what the ledger has noted."""

from __future__ import annotations

import os
from functools import partial

import pytest

from record_ledger import ClaimLost
from record_ledger.connection import connect as open_database
from record_ledger.errors import CountsDisagree
from record_ledger.moving import Move, MoveFailed, StartAgain, document_line
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.source import PostgresSource
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.moving.support import another_count, complete, files_in, ids, lose


def test_a_window_is_moved_and_its_counts_let_it_be_completed(
    ledger, database, move_of, pass_record
):
    record = pass_record()

    assert move_of().run(record) == {"rows": 250, "published": "now"}

    complete(ledger, record)
    assert ids(database) == list(range(250))
    noted = [(one["stage"], one["row_count"]) for one in ledger.record_observations("orders")]
    assert noted == [("source", 250), ("stage", 250), ("load", 250), ("target", 250)]
    amounts = database.execute("select document ->> 'amount' from sold limit 2").fetchall()
    assert amounts == [("0.00000000000000000000",), ("0.12500000000000000000",)]


def test_windows_one_after_the_other_keep_each_others_rows(ledger, database, move_of, pass_record):
    for _ in range(2):
        record = pass_record()
        move_of().run(record)
        complete(ledger, record)

    assert ids(database) == list(range(300))


def test_a_record_is_not_completed_before_its_window_is_published(ledger, move_of, pass_record):
    record, move = pass_record(), move_of()
    for phase in (move.extract, move.load):
        phase(record)
        with pytest.raises(CountsDisagree, match="target"):
            complete(ledger, record)


def test_a_phase_without_the_one_before_it_is_refused(move_of, pass_record):
    record, move = pass_record(), move_of()

    for phase in (move.load, move.publish):
        with pytest.raises(MoveFailed, match="has staged nothing"):
            phase(record)
    move.extract(record)
    with pytest.raises(MoveFailed, match="has not loaded"):
        move.publish(record)


def test_each_phase_may_be_repeated(ledger, database, move_of, pass_record, folder):
    record = pass_record()
    for phase in ("extract", "extract", "load", "load", "publish", "publish", "load", "publish"):
        getattr(move_of(), phase)(record)

    assert move_of().run(record) == {"rows": 250, "published": "before"}
    complete(ledger, record)
    assert ids(database) == list(range(250))


def test_a_reopened_record_is_moved_anew(ledger, database, move_of, pass_record):
    record = pass_record()
    move_of().run(record)
    complete(ledger, record)
    database.execute("update sales set text = 'corrected'")
    start, end = record["window_start_time"], record["window_end_time"]
    ledger.reopen_records("orders", start, end, "corrected")

    again = pass_record()
    assert move_of().run(again)["published"] == "now"

    complete(ledger, again)
    assert ids(database) == list(range(250))
    texts = database.execute("select distinct document ->> 'text' from sold").fetchall()
    assert texts == [("corrected",)]


@pytest.mark.parametrize("phase", ["extract", "load", "publish"])
def test_a_claim_that_was_lost_can_do_nothing_more(
    ledger, database, clock, move_of, pass_record, phase
):
    stale, move = pass_record(), move_of()
    for before in ("extract", "load", "publish"):
        if before == phase:
            break
        getattr(move, before)(stale)
    lose(ledger, stale)
    clock.advance("1h")
    pass_record()  # to somebody who has not begun at the target yet

    with pytest.raises(ClaimLost):
        getattr(move, phase)(stale)
    with pytest.raises(ClaimLost):
        complete(ledger, stale)
    if phase == "publish":
        assert ids(database) == []


def test_a_later_claim_that_has_begun_shuts_the_stale_one_out_without_the_ledger(
    ledger, ledger_dsn, database, clock, pass_record, folder
):
    """As at a target in another database, where nobody asks the ledger within the transaction."""
    opened = partial(open_database, ledger_dsn)
    move = Move(
        ledger,
        PostgresSource(opened, "sales", "sold_at"),
        LocalStage(folder),
        PostgresTarget(opened, "sold"),
    )
    stale = pass_record()
    move.extract(stale)
    move.load(stale)
    lose(ledger, stale)
    clock.advance("1h")

    assert move.published_rows(pass_record()) is None

    with pytest.raises(ClaimLost, match="a later claim"):
        move.publish(stale)
    assert ids(database) == []


def test_documents_that_come_while_the_window_is_read_stop_it(
    ledger, database, move_of, pass_record
):
    record, batches = pass_record(), []

    def progress(rows):
        batches.append(rows)
        if len(batches) == 1:
            another_count(None, database)

    with pytest.raises(CountsDisagree, match=r"250 documents were read .* the source has 251"):
        move_of(progress=progress).run(record)

    assert batches == [50] * 5
    assert ids(database) == []


class Restarting:
    """A source that loses its place some times."""

    def __init__(self, times):
        self.times = times

    def count(self, _record):
        return 3

    def read(self, _record):
        yield [document_line({"id": 0})]
        if self.times:
            self.times -= 1
            raise StartAgain("lost its place")
        yield [document_line({"id": n}) for n in (1, 2)]


def test_a_source_that_starts_again_leaves_nothing_twice(database, move_of, pass_record, folder):
    record = pass_record()
    move_of(source=Restarting(2)).run(record)

    assert ids(database) == [0, 1, 2]
    assert len([one for one in files_in(folder) if "part-" in one]) == 2


def test_a_source_that_never_comes_through_fails(move_of, pass_record, folder):
    with pytest.raises(MoveFailed, match="could not be read through: lost its place"):
        move_of(source=Restarting(3)).run(pass_record())
    assert not [one for one in files_in(folder) if one.endswith("unfinished")]


def windows_in(folder):
    return sorted({name.split("/")[1] for name in files_in(folder)})


def test_staged_files_are_kept_or_removed_once_they_are_published_or_old(
    ledger, move_of, pass_record, folder
):
    def move(**options):
        record = pass_record()
        move_of(**options).run(record)
        complete(ledger, record)

    move()
    move()
    assert windows_in(folder) == ["20261121T080000Z", "20261121T100000Z"]

    for path in (folder / "orders" / "20261121T080000Z").rglob("*.*"):
        os.utime(path, (0, 0))
    third = pass_record(x_time_back="1h")
    move_of(keep_days=1).run(third)
    complete(ledger, third)
    assert windows_in(folder) == ["20261121T100000Z", "20261121T120000Z"]

    fourth = pass_record(x_time_back="1h")
    move_of(keep_days=0).run(fourth)
    assert windows_in(folder) == ["20261121T100000Z", "20261121T120000Z"]


def test_a_window_that_is_published_can_be_completed_whatever_counts_are_asked_for(
    ledger, database, clock, move_of, pass_record
):
    stages = {"required_counts": ["source", "stage", "load", "target"]}
    first = pass_record(**stages)
    move_of().run(first)
    lose(ledger, first)
    clock.advance("1h")

    second = pass_record(**stages)
    assert move_of().run(second)["published"] == "before"
    complete(ledger, second)
    assert ids(database) == list(range(250))


def test_what_was_staged_anew_after_the_publication_is_published_too(
    ledger, database, clock, move_of, pass_record, folder
):
    first = pass_record()
    move_of().run(first)
    database.execute("update sales set text = 'corrected'")
    # The same number of documents is read again, because a part of the first ones is damaged.
    next(folder.rglob("part-*")).write_bytes(b"?")
    move_of().extract(first)
    lose(ledger, first)
    clock.advance("1h")

    second = pass_record()
    assert move_of().run(second)["published"] == "now"
    complete(ledger, second)
    texts = database.execute("select distinct document ->> 'text' from sold").fetchall()
    assert texts == [("corrected",)]


def test_a_count_that_somebody_else_noted_is_nothing_staged(
    ledger, database, clock, move_of, pass_record
):
    first = pass_record()
    start = first["window_start_time"]
    ledger.observe_record("orders", start, "stage", 250, None, first["claim_token"])
    with pytest.raises(MoveFailed, match="was not noted by a move"):
        move_of().load(first)
    lose(ledger, first)
    clock.advance("1h")

    second = pass_record()
    assert move_of().run(second) == {"rows": 250, "published": "now"}
    complete(ledger, second)
    assert ids(database) == list(range(250))


def test_a_ledger_that_was_set_back_is_told_how_to_go_on(
    ledger, database, clock, move_of, pass_record
):
    first = pass_record()
    move_of().run(first)
    # As if a claim of half an hour later had begun.
    database.execute(
        "update record_ledger_published set claim_token = claim_token + 1800000::bigint * 4096"
    )
    with pytest.raises(ClaimLost, match="a later claim") as refused:
        move_of().run(first)
    assert "once that clock has caught up" in refused.value.hint
    lose(ledger, first)

    # The server's clock catches up: nothing has to be set.
    clock.advance("1h")
    second = pass_record()
    assert move_of().run(second)["rows"] == 250
    complete(ledger, second)
