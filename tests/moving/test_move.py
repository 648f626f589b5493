"""A window is moved whole and once, and goes on where it stopped, by what the ledger has noted."""

from __future__ import annotations

import os
from functools import partial

import pytest

from record_ledger import ClaimLost, RecordLedger
from record_ledger.connection import connect as open_database
from record_ledger.errors import CountsDisagree
from record_ledger.moving import Move, MoveFailed, PartSettings, StartAgain, document_line
from record_ledger.moving.databases import check_claim_in_ledger
from record_ledger.moving.sources.postgres import PostgresSource
from record_ledger.moving.stages.local import LocalStage
from record_ledger.moving.targets.postgres import PostgresTarget
from tests.moving.support import NOON, files_in

REQUIRED = ["source", "stage", "target"]


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


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set(NOON)
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def database(connect):
    """The test's database, with 250 sales in the first window and 50 in the second."""
    connection = connect()
    connection.execute(
        "create table sales as select n as id, repeat('x', n % 50) as text, n / 8.0 as amount, "
        "timestamptz '2026-11-21T08:00:00Z' + n * interval '28.8 s' as sold_at "
        "from generate_series(0, 299) as n"
    )
    return connection


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "stage"


@pytest.fixture
def move_of(ledger, ledger_dsn, database, folder):
    def make(**options):
        opened = partial(open_database, ledger_dsn)
        table = PostgresSource(opened, "sales", "sold_at", batch_rows=50)
        source = Watched(options.pop("source", table))
        target = Watched(PostgresTarget(opened, "sold", check_claim=check_claim_in_ledger))
        stage = LocalStage(folder)
        move = Move(ledger, source, stage, target, parts=PartSettings(1), **options)
        move.calls = lambda: source.calls + target.calls
        return move

    return make


@pytest.fixture
def passed(ledger, config):
    def one(run_id=None, **changes):
        changes = {"required_counts": REQUIRED, **changes}
        return ledger.store_new_and_pass_valid_record(config("orders", **changes), run_id).record

    return one


def ids(database):
    found = database.execute("select (document ->> 'id')::int from sold order by 1").fetchall()
    return [one for (one,) in found]


def complete(ledger, record):
    ledger.complete_record(record["pipeline_id"], record["claim_token"])


def lose(ledger, record):
    """Takes the record back from its claim; the next pass hands it out again."""
    ledger.fail_record(record["pipeline_id"], record["claim_token"], "lost")


def test_a_window_is_moved_and_its_counts_let_it_be_completed(ledger, database, move_of, passed):
    record = passed()

    assert move_of().run(record) == {"rows": 250, "published": "now"}

    complete(ledger, record)
    assert ids(database) == list(range(250))
    noted = [(one["stage"], one["row_count"]) for one in ledger.record_observations("orders")]
    assert noted == [("source", 250), ("stage", 250), ("load", 250), ("target", 250)]
    amounts = database.execute("select document ->> 'amount' from sold limit 2").fetchall()
    assert amounts == [("0.00000000000000000000",), ("0.12500000000000000000",)]


def test_windows_one_after_the_other_keep_each_others_rows(ledger, database, move_of, passed):
    for _ in range(2):
        record = passed()
        move_of().run(record)
        complete(ledger, record)

    assert ids(database) == list(range(300))


def test_a_record_is_not_completed_before_its_window_is_published(ledger, move_of, passed):
    record, move = passed(), move_of()
    for phase in (move.extract, move.load):
        phase(record)
        with pytest.raises(CountsDisagree, match="target"):
            complete(ledger, record)


def test_a_phase_without_the_one_before_it_is_refused(move_of, passed):
    record, move = passed(), move_of()

    for phase in (move.load, move.publish):
        with pytest.raises(MoveFailed, match="has staged nothing"):
            phase(record)
    move.extract(record)
    with pytest.raises(MoveFailed, match="has not loaded"):
        move.publish(record)


def test_each_phase_may_be_repeated(ledger, database, move_of, passed, folder):
    record = passed()
    for phase in ("extract", "extract", "load", "load", "publish", "publish", "load", "publish"):
        getattr(move_of(), phase)(record)

    assert move_of().run(record) == {"rows": 250, "published": "before"}
    complete(ledger, record)
    assert ids(database) == list(range(250))


@pytest.mark.parametrize(
    ("done", "again"),
    [
        ([], ["count", "read", "count", "begin", "begin", "load", "publish", "clean"]),
        (["extract"], ["count", "begin", "begin", "begin", "load", "publish", "clean"]),
        (["extract", "load"], ["count", "begin", "begin", "begin", "load", "publish", "clean"]),
        (["extract", "load", "publish"], ["count", "begin", "clean"]),
    ],
)
def test_a_later_claim_goes_on_after_the_last_phase(
    ledger, database, clock, move_of, passed, done, again
):
    first = passed()
    for phase in done:
        getattr(move_of(), phase)(first)
    lose(ledger, first)
    clock.advance("1h")
    second = passed()
    assert second["window_start_time"] == first["window_start_time"]

    move = move_of()
    move.run(second)

    if done:
        assert move.calls() == again
    complete(ledger, second)
    assert ids(database) == list(range(250))


def test_what_is_taken_over_stands_in_a_manifest_of_the_later_claim(
    ledger, clock, move_of, passed, folder
):
    first = passed()
    staged = move_of().extract(first)
    lose(ledger, first)
    clock.advance("1h")

    second = passed()
    adopted = move_of().extract(second)

    assert adopted.claim_token == second["claim_token"]
    assert adopted.parts == staged.parts
    assert [one for one in files_in(folder) if "manifest" in one] == [
        one for one in files_in(folder) if f"/c{second['claim_token']}/" in one
    ]


def damaged_part(folder, _database):
    next(folder.rglob("part-*")).write_bytes(b"?")


def damaged_manifest(folder, _database):
    path = next(folder.rglob("manifest-*"))
    path.write_bytes(path.read_bytes().replace(b'"generation": 1', b'"generation": 2'))


def missing_part(folder, _database):
    next(folder.rglob("part-*")).unlink()


def missing_manifest(folder, _database):
    next(folder.rglob("manifest-*")).unlink()


def another_count(_folder, database):
    database.execute("insert into sales values (1000, 'late', 1, '2026-11-21T08:30:00Z')")


@pytest.mark.parametrize(
    "change", [damaged_part, damaged_manifest, missing_part, missing_manifest, another_count]
)
@pytest.mark.parametrize("done", [["extract"], ["extract", "load"]])
def test_what_does_not_hold_any_more_is_done_again(
    ledger, database, clock, move_of, passed, folder, change, done
):
    first = passed()
    for phase in done:
        getattr(move_of(), phase)(first)
    lose(ledger, first)
    clock.advance("1h")
    change(folder, database)

    second, move = passed(), move_of()
    move.run(second)

    assert "read" in move.calls()
    complete(ledger, second)
    late = [1000] if change is another_count else []
    assert ids(database) == [*range(250), *late]


def test_published_rows_count_only_while_the_source_and_the_target_agree(
    ledger, database, clock, move_of, passed
):
    for change in (another_count, lambda *_: database.execute("delete from sold")):
        first = passed(max_attempts=9)
        move_of().run(first)
        lose(ledger, first)
        change(None, database)
        clock.advance("1h")

        second, move = passed(max_attempts=9), move_of()
        assert move.run(second)["published"] == "now"
        lose(ledger, second)
        clock.advance("1h")
    assert ids(database) == [*range(250), 1000]


def test_a_reopened_record_is_moved_anew(ledger, database, move_of, passed):
    record = passed()
    move_of().run(record)
    complete(ledger, record)
    database.execute("update sales set text = 'corrected'")
    start, end = record["window_start_time"], record["window_end_time"]
    ledger.reopen_records("orders", start, end, "corrected")

    again = passed()
    assert move_of().run(again)["published"] == "now"

    complete(ledger, again)
    assert ids(database) == list(range(250))
    texts = database.execute("select distinct document ->> 'text' from sold").fetchall()
    assert texts == [("corrected",)]


@pytest.mark.parametrize("phase", ["extract", "load", "publish"])
def test_a_claim_that_was_lost_can_do_nothing_more(ledger, database, clock, move_of, passed, phase):
    stale, move = passed(), move_of()
    for before in ("extract", "load", "publish"):
        if before == phase:
            break
        getattr(move, before)(stale)
    lose(ledger, stale)
    clock.advance("1h")
    passed()  # to somebody who has not begun at the target yet

    with pytest.raises(ClaimLost):
        getattr(move, phase)(stale)
    with pytest.raises(ClaimLost):
        complete(ledger, stale)
    if phase == "publish":
        assert ids(database) == []


def test_a_later_claim_that_has_begun_shuts_the_stale_one_out_without_the_ledger(
    ledger, ledger_dsn, database, clock, passed, folder
):
    """As at a target in another database, where nobody asks the ledger within the transaction."""
    opened = partial(open_database, ledger_dsn)
    move = Move(
        ledger,
        PostgresSource(opened, "sales", "sold_at"),
        LocalStage(folder),
        PostgresTarget(opened, "sold"),
    )
    stale = passed()
    move.extract(stale)
    move.load(stale)
    lose(ledger, stale)
    clock.advance("1h")

    assert move.published_rows(passed()) is None

    with pytest.raises(ClaimLost, match="a later claim"):
        move.publish(stale)
    assert ids(database) == []


def test_documents_that_come_while_the_window_is_read_stop_it(ledger, database, move_of, passed):
    record, batches = passed(), []

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


def test_a_source_that_starts_again_leaves_nothing_twice(database, move_of, passed, folder):
    record = passed()
    move_of(source=Restarting(2)).run(record)

    assert ids(database) == [0, 1, 2]
    assert len([one for one in files_in(folder) if "part-" in one]) == 2


def test_a_source_that_never_comes_through_fails(move_of, passed, folder):
    with pytest.raises(MoveFailed, match="could not be read through: lost its place"):
        move_of(source=Restarting(3)).run(passed())
    assert not [one for one in files_in(folder) if one.endswith("unfinished")]


def windows_in(folder):
    return sorted({name.split("/")[1] for name in files_in(folder)})


def test_staged_files_are_kept_or_removed_once_they_are_published_or_old(
    ledger, move_of, passed, folder
):
    def move(**options):
        record = passed()
        move_of(**options).run(record)
        complete(ledger, record)

    move()
    move()
    assert windows_in(folder) == ["20261121T080000Z", "20261121T100000Z"]

    for path in (folder / "orders" / "20261121T080000Z").rglob("*.*"):
        os.utime(path, (0, 0))
    passed_third = passed(x_time_back="1h")
    move_of(keep_days=1).run(passed_third)
    complete(ledger, passed_third)
    assert windows_in(folder) == ["20261121T100000Z", "20261121T120000Z"]

    fourth = passed(x_time_back="1h")
    move_of(keep_days=0).run(fourth)
    assert windows_in(folder) == ["20261121T100000Z", "20261121T120000Z"]
