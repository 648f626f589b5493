"""The tasks between passing a record and ending its claim decide how it ends, in any shape."""

from __future__ import annotations

import pytest

from record_ledger import RecordLedger


@pytest.fixture
def ledger(ledger_dsn, clock):
    clock.set("2026-11-22T12:00:00Z")
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def first(ledger, pipeline_id):
    return ledger.pipeline_records(pipeline_id)[0]


def error(ledger, pipeline_id):
    stored = first(ledger, pipeline_id)
    assert (stored["status"], stored["last_event"]) == ("PENDING", "failed")
    return stored["last_detail"]["error"]


def test_a_record_whose_last_work_was_skipped_is_given_back(run_dag, ledger):
    run = run_dag("in_a_row", ends={"load": "skipped"})

    assert (run.state, run.tasks["complete_record"]) == ("success", "skipped")
    assert first(ledger, "in_a_row")["last_event"] == "released"


def test_work_whose_last_try_failed_and_that_was_then_skipped_by_hand_has_failed(run_dag, ledger):
    run = run_dag("in_a_row", ends={"extract": "stopped"})

    assert (run.state, run.tasks["complete_record"]) == ("failed", "failed")
    assert error(ledger, "in_a_row") == "task extract failed: ValueError: the disk is full"


def test_work_that_failed_and_then_skipped_itself_was_skipped(run_dag, ledger):
    run = run_dag("skipped_at_last")

    assert (run.state, run.tries["work"]) == ("success", 2)
    assert first(ledger, "skipped_at_last")["last_event"] == "released"


def test_a_check_that_stops_the_work_does_not_complete_the_record(run_dag, ledger):
    run = run_dag("short_circuit")

    assert (run.tasks["has_data"], run.tasks["load"]) == ("success", "skipped")
    assert (run.state, run.tasks["complete_record"]) == ("success", "skipped")
    assert first(ledger, "short_circuit")["last_event"] == "released"


@pytest.mark.parametrize(
    ("chosen", "event"),
    [(["load"], "completed"), (["nothing_to_load"], "completed"), ([], "released")],
)
def test_a_branch_completes_the_record_by_the_work_that_it_chose(run_dag, ledger, chosen, event):
    run = run_dag("branches", ends={"choose": chosen})

    assert run.state == "success"
    assert first(ledger, "branches")["last_event"] == event


@pytest.mark.parametrize("parts", [[], ["a", "b"]])
def test_a_window_is_completed_that_has_as_many_parts_as_it_may(run_dag, ledger, parts):
    run = run_dag("parts", parts=parts)

    assert (run.state, run.tasks["complete_record"]) == ("success", "success")
    stored = first(ledger, "parts")
    assert (stored["status"], stored["last_detail"]) == ("COMPLETED", {"result": parts})


def test_setups_and_teardowns_between_are_no_work(run_dag, ledger):
    run = run_dag("cluster", ends={"load": "skipped"})

    assert (run.state, run.tasks["delete"]) == ("success", "success")
    assert first(ledger, "cluster")["last_event"] == "released"


def test_a_setup_that_failed_is_why_the_record_fails(run_dag, ledger):
    run = run_dag("cluster", ends={"create": "failed"})

    assert run.state == "failed"
    assert error(ledger, "cluster") == "task create ended as failed"


def test_a_teardown_that_need_not_succeed_need_not_for_the_record_either(run_dag, ledger):
    run = run_dag("cluster", ends={"delete": "failed"})

    assert (run.state, run.tasks["delete"]) == ("success", "failed")
    assert first(ledger, "cluster")["last_event"] == "completed"


def test_work_before_the_passing_of_another_record_is_the_first_ones(run_dag, ledger):
    run = run_dag("two_records", ends={"prepare": "failed"})

    assert run.state == "failed"
    assert error(ledger, "first_of_two") == "task prepare ended as failed"
    assert ledger.pipeline_records("second_of_two") == []


def test_mapped_work_that_has_other_indexes_than_the_records_counts_for_each(run_dag, ledger):
    run = run_dag("every_part_of_every_record")

    assert run.state == "failed"
    stored = ledger.pipeline_records("every_part_of_every_record")[:2]
    assert [record["last_event"] for record in stored] == ["failed", "failed"]
    assert stored[0]["last_detail"]["error"] == "task work[3] ended as failed"


def test_a_task_named_like_an_instance_of_another_does_not_hide_it(run_dag, ledger):
    run = run_dag("names_alike")

    assert (run.state, run.tasks["copy_1"], run.tasks["copy[1]"]) == (
        "failed",
        "success",
        "failed",
    )
    assert error(ledger, "names_alike") == "task copy[1] ended as failed"


def test_failed_work_fails_its_record_though_the_detail_is_not_there(run_dag, ledger):
    assert run_dag("detail_of_failed_work").state == "failed"
    assert error(ledger, "detail_of_failed_work") == "task copy failed: OSError: the disk is full"

    assert run_dag("detail_in_jinja", ends={"load": "failed"}).state == "failed"
    assert error(ledger, "detail_in_jinja") == "task load ended as failed"


def test_a_detail_that_cannot_be_rendered_is_kept_as_its_error(run_dag, ledger):
    assert run_dag("detail_in_jinja").state == "success"
    assert first(ledger, "detail_in_jinja")["last_detail"] == {"rows": "7"}

    assert run_dag("detail_in_jinja", ends={"more": "x"}).state == "success"
    completed = ledger.pipeline_records("detail_in_jinja")[1]
    assert completed["last_event"] == "completed"
    assert completed["last_detail"]["detail_error"].startswith("TypeError: ")


def test_a_detail_that_json_cannot_hold_completes_the_record_all_the_same(run_dag, ledger):
    assert run_dag("detail_beyond_json").state == "success"
    assert first(ledger, "detail_beyond_json")["last_event"] == "completed"
    assert first(ledger, "detail_beyond_json")["last_detail"]["set"] == [1, 2]


def test_a_record_that_was_passed_by_hand_ends_like_any_other(run_dag, ledger, clock):
    assert run_dag("passed_by_hand").state == "success"
    assert first(ledger, "passed_by_hand")["last_event"] == "completed"

    assert run_dag("passed_by_hand", ends={"load": "skipped"}).state == "success"
    assert ledger.pipeline_records("passed_by_hand")[1]["last_event"] == "released"


def test_the_task_that_passed_a_record_by_hand_may_be_all_of_its_work(run_dag, ledger):
    assert run_dag("all_in_one").state == "success"
    assert first(ledger, "all_in_one")["last_event"] == "completed"


def test_a_record_that_was_not_passed_by_hand_skips_all_and_an_error_does_not(
    run_dag, ledger, clock, capfd
):
    clock.set("2026-11-22T01:30:00Z")

    run = run_dag("passed_by_hand")
    assert (run.state, set(run.tasks.values())) == ("success", {"skipped"})

    run = run_dag("passed_by_hand", ends={"pass_record": "failed"})
    assert (run.state, run.tasks["complete_record"]) == ("failed", "failed")
    assert "task pass_record ended as failed" in capfd.readouterr().out


def test_work_on_a_record_that_is_finished_ends_as_it_began(run_dag, ledger, capfd):
    run = run_dag("finished_before")

    assert (run.state, run.tasks["work"], run.tasks["complete_record"]) == (
        "success",
        "skipped",
        "skipped",
    )
    assert first(ledger, "finished_before")["status"] == "COMPLETED"
    assert capfd.readouterr().out.count("is COMPLETED. To process it once more, reopen it") == 2
