"""A later claim resumes after the last recorded phase, when that phase is still valid."""

from __future__ import annotations

import pytest

from tests.moving.support import another_count, complete, files_in, ids, lose


@pytest.mark.parametrize(
    ("done", "again"),
    [
        ([], ["count", "read", "count", "begin", "begin", "load", "publish", "clean"]),
        (["extract"], ["count", "begin", "begin", "load", "publish", "clean"]),
        (["extract", "load"], ["count", "begin", "begin", "load", "publish", "clean"]),
        (["extract", "load", "publish"], ["count", "begin", "clean"]),
    ],
)
def test_a_later_claim_goes_on_after_the_last_phase(
    ledger, database, clock, move_of, pass_record, done, again
):
    first = pass_record()
    for phase in done:
        getattr(move_of(), phase)(first)
    lose(ledger, first)
    clock.advance("1h")
    second = pass_record()
    assert second["window_start_time"] == first["window_start_time"]

    move = move_of()
    move.run(second)

    assert move.calls() == again
    complete(ledger, second)
    assert ids(database) == list(range(250))


def test_what_is_taken_over_stands_in_a_manifest_of_the_later_claim(
    ledger, clock, move_of, pass_record, folder
):
    first = pass_record()
    staged = move_of().extract(first)
    lose(ledger, first)
    clock.advance("1h")

    second = pass_record()
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


@pytest.mark.parametrize(
    "change", [damaged_part, damaged_manifest, missing_part, missing_manifest, another_count]
)
@pytest.mark.parametrize("done", [["extract"], ["extract", "load"]])
def test_what_does_not_hold_any_more_is_done_again(
    ledger, database, clock, move_of, pass_record, folder, change, done
):
    first = pass_record()
    for phase in done:
        getattr(move_of(), phase)(first)
    lose(ledger, first)
    clock.advance("1h")
    change(folder, database)

    second, move = pass_record(), move_of()
    move.run(second)

    assert "read" in move.calls()
    complete(ledger, second)
    late = [1000] if change is another_count else []
    assert ids(database) == [*range(250), *late]


def test_published_rows_count_only_while_the_source_and_the_target_agree(
    ledger, database, clock, move_of, pass_record
):
    for change in (another_count, lambda *_: database.execute("delete from sold")):
        first = pass_record(max_attempts=9)
        move_of().run(first)
        lose(ledger, first)
        change(None, database)
        clock.advance("1h")

        second, move = pass_record(max_attempts=9), move_of()
        assert move.run(second)["published"] == "now"
        lose(ledger, second)
        clock.advance("1h")
    assert ids(database) == [*range(250), 1000]
