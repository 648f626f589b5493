"""The invariants find what is wrong: in ledgers broken on purpose, and in journals of users who know better."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.reliability.invariants import NO_WORK_IS_WASTED, OUTPUT_IS_WRITTEN, violations
from tests.reliability.journal import Journal, read_journals
from tests.sql.archive.archiving import START, eight_hours
from tests.sql.support import PIPELINE, complete, fail, one, pass_valid

# Who may do this is no user of the ledger: its triggers and its foreign keys do not look.
CORRUPTIONS = {
    "windows leave a gap or overlap":
        "update record_ledger.record set window_end_time = window_end_time + interval '1s' "
        "where window_start_time = %(second)s",
    "an acknowledged change is not in the ledger":
        "delete from record_ledger.record_event where event = 'completed'",
    "events do not follow one another":
        "update record_ledger.record_event set attempt = 2 where event = 'passed' and window_start_time = %(first)s",
    "events do not add up to the record":
        "update record_ledger.record set status = 'PENDING', claim_token = null, run_id = null "
        "where window_start_time = %(first)s",
    "a record was passed while a run held it, or after it was done":
        "insert into record_ledger.record_event (pipeline_id, window_start_time, event_no, event_time, event, "
        "from_status, to_status, generation, attempt, claim_token, run_id, detail) "
        "select pipeline_id, window_start_time, 3, event_time, 'passed', 'PENDING', 'IN_PROGRESS', generation, "
        "2, claim_token + 100, 'thief', '{}' from record_ledger.record_event "
        "where event = 'passed' and window_start_time = %(first)s",
    "a claim token of a pipeline was drawn twice":
        "update record_ledger.record_event set claim_token = 1 where event = 'passed'",
    "a run was passed two records":
        "update record_ledger.record_event set run_id = 'run 0' where event = 'passed'",
    "a status does not have what it needs":
        "update record_ledger.record set lease_expires_at = null where status = 'IN_PROGRESS'",
    "an event belongs to no record, or lies where its record does not":
        "delete from record_ledger.record where window_start_time = %(first)s",
    "an event or a lease has a time that the server's clock never showed":
        "update record_ledger.record set lease_expires_at = lease_expires_at + interval '1 year' "
        "where status = 'IN_PROGRESS'",
}  # fmt: skip


@pytest.fixture
def worked_on(ledger, clock, config):
    """A ledger in which one record is completed, one failed and one held; and what its users noted."""
    eight_hours(ledger, clock, config)
    entries = [{"what": "started", "server_time": clock.now()}]
    for number, end in enumerate([complete, fail, None]):
        clock.advance("1s")
        answer = pass_valid(ledger, PIPELINE, f"run {number}")
        about = {
            "pipeline_id": PIPELINE, "window_start_time": answer.start, "claim_token": answer.token, "at": number,
        }  # fmt: skip
        entries += [{"what": "passed", **about}, {"what": "began", **about}]
        if end is not None:
            entries.append({"what": "finished" if end is complete else "gave up", **about})
            end(ledger, answer.token)
            entries.append({"what": "completed" if end is complete else "failed", **about})
    assert violations(ledger, entries) == []
    return entries


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_ledger_that_was_corrupted_is_found_out(ledger, worked_on, what):
    with ledger.transaction():
        # As a superuser can, and as a fault of the disk or of ours might.
        ledger.execute("set local session_replication_role = replica")
        ledger.execute(CORRUPTIONS[what], {"first": START, "second": START + timedelta(hours=1)})
    found = violations(ledger, worked_on)
    assert [sentence for sentence in found if sentence.startswith(f"{what}: ")], found


def noted(worked_on, what, of, **more):
    """What a process would have noted of the record that was passed as number `of`."""
    about = [entry for entry in worked_on if entry["what"] == "passed"][of]
    return {**about, "what": what, **more}


def test_a_completion_that_nobody_had_finished_is_found_out(ledger, worked_on):
    (found,) = violations(ledger, [n for n in worked_on if n["what"] != "finished"])
    assert found.startswith("a record was completed that nobody had finished: 1 times")


def test_an_acknowledgement_of_what_never_was_is_found_out(ledger, worked_on):
    (found,) = violations(ledger, [*worked_on, noted(worked_on, "released", of=2)])
    assert found.startswith("an acknowledged change is not in the ledger: 1 times")


def test_a_claim_that_was_reported_lost_without_a_taker_is_found_out(ledger, worked_on):
    (found,) = violations(ledger, [*worked_on, noted(worked_on, "lost", of=2, event="completed")])
    assert found.startswith("a claim was reported lost that nobody had taken")
    found = violations(ledger, [*worked_on, noted(worked_on, "lost", of=0, event="completed")])
    assert len(found) == 2
    assert found[1].startswith("a run was told that it lost a claim which it had ended")


def test_two_at_work_on_one_window_are_found_out(ledger, worked_on):
    other = noted(worked_on, "began", of=0)
    other |= {"claim_token": other["claim_token"] + 50, "at": -0.5}
    ended = noted(worked_on, "finished", of=0, at=0.5)
    assert violations(ledger, [*worked_on, ended, other | {"at": 0.7}]) == []
    (found,) = violations(ledger, [*worked_on, ended, other | {"at": 0.4}])
    assert found.startswith("two worked on a window at a time")


def test_another_run_or_another_window_with_the_same_token_is_found_out(ledger, worked_on):
    # Two copies of a ledger may draw one token for two runs, and for two windows.
    others = {"run_id": "another run"}, {"window_start_time": START + timedelta(hours=5)}
    for other in others:
        entries = [n | (other if n["what"] == "finished" else {}) for n in worked_on]
        (found,) = violations(ledger, entries)
        assert found.startswith("a record was completed that nobody had finished: 1 times")
        for what in ("extended", "observed"):
            assert violations(ledger, [*worked_on, noted(worked_on, what, of=2)]) == []
            (found,) = violations(ledger, [*worked_on, noted(worked_on, what, of=2, **other)])
            assert found.startswith("a claim was kept, or counted for, that its run did not have")


def test_only_what_a_lost_primary_took_along_is_excused_and_only_after_the_cut(ledger, worked_on):
    gone = noted(worked_on, "passed", of=2, at=10.0)
    gone |= {"claim_token": gone["claim_token"] + 50, "run_id": "gone"}
    acknowledged = [gone, gone | {"what": "lost", "event": "completed"}]
    assert len(violations(ledger, [*worked_on, *acknowledged])) == 2
    left = gone | {"what": "left behind", "event": "passed", "at": 9.0}
    assert violations(ledger, [*worked_on, *acknowledged, left]) == []
    # Acknowledged before the standby was cut off, by another run, or another change: no excuse.
    for other in ({"at": 11.0}, {"run_id": "another run"}, {"event": "released"}):
        assert len(violations(ledger, [*worked_on, *acknowledged, left | other])) == 2


def test_operations_that_a_lost_primary_took_along_are_excused(ledger, worked_on):
    told = {
        "what": "operated",
        "pipeline_id": PIPELINE,
        "reason": "why",
        "record_count": 1,
        "at": 5,
    }
    left = told | {"what": "left behind", "event": "waived", "at": 4}
    assert violations(ledger, [*worked_on, told, left]) == []
    (found,) = violations(ledger, [*worked_on, told, left | {"at": 6}])
    assert found.startswith("an acknowledged operation is not in the ledger")


def test_two_at_work_are_no_violation_when_one_of_them_was_of_a_lost_timeline(ledger, worked_on):
    ended = noted(worked_on, "finished", of=0, at=0.5)
    other = noted(worked_on, "began", of=0, at=0.4)
    other |= {"claim_token": other["claim_token"] + 50, "run_id": "gone"}
    left = other | {"what": "left behind", "event": "passed", "at": 0.3}
    assert violations(ledger, [*worked_on, ended, other, left]) == []


def test_work_that_was_finished_for_nothing_is_found_out(ledger, worked_on):
    assert violations(ledger, worked_on, NO_WORK_IS_WASTED) == []
    entries = [*worked_on, noted(worked_on, "finished", of=2)]
    assert violations(ledger, entries) == []
    (found,) = violations(ledger, entries, NO_WORK_IS_WASTED)
    assert found.startswith("work that was finished is not completed: 1 times")
    entries = [*worked_on, noted(worked_on, "feared lost", of=2)]
    (found,) = violations(ledger, entries, NO_WORK_IS_WASTED)
    assert found.startswith("a claim was given up while the ledger could be reached: 1 times")


def test_a_completed_window_without_its_output_is_found_out(ledger, worked_on):
    (found,) = violations(ledger, worked_on, OUTPUT_IS_WRITTEN)
    assert found.startswith("a window was completed whose output was not written: 1 times")
    written = noted(worked_on, "written", of=0)
    assert violations(ledger, [*worked_on, written], OUTPUT_IS_WRITTEN) == []


def test_an_operation_of_which_less_is_there_than_was_told_is_found_out(ledger, worked_on):
    with ledger.transaction():
        count = one(
            ledger,
            "select record_ledger.waive_records(%s, '-infinity', 'infinity', 'why')",
            [PIPELINE],
        )
    told = {"what": "operated", "pipeline_id": PIPELINE, "reason": "why", "record_count": count}
    assert violations(ledger, [*worked_on, told]) == []
    (found,) = violations(ledger, [*worked_on, told | {"record_count": count + 1}])
    assert found.startswith("an acknowledged operation is not in the ledger")


def test_of_notes_that_a_kill_tore_only_the_last_is_missing(tmp_path):
    journal = Journal(tmp_path / "a.journal")
    for number in range(3):
        journal.add("passed", claim_token=number)
    path = tmp_path / "a.journal"
    path.write_bytes(path.read_bytes()[:-5])
    assert [entry["claim_token"] for entry in read_journals(tmp_path)] == [0, 1]
