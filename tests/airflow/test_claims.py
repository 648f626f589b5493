"""Work tasks keep their claim: checked at the start, by heartbeats, when killed, at the end."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest

from record_ledger import RecordLedger

DEADLINE = 120.0


@pytest.fixture
def noon(clock):
    clock.set("2026-11-22T12:00:00Z")
    return clock


@pytest.fixture
def ledger(ledger_dsn, noon):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


@pytest.fixture
def orders(config):
    return config("orders", timezone="UTC", x_time_back="1h", granularity="1h", lease="1s")


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stored(ledger, record):
    return ledger.pipeline_records("orders", record["window_start_time"])[0]


def test_work_longer_than_its_lease_is_never_passed_twice(run_dag, ledger, noon, tmp_path):
    answers = []

    def first():
        return next(iter(ledger.pipeline_records("held", limit=1)), {})

    def meanwhile():
        until(lambda: first().get("status") == "IN_PROGRESS")
        for _ in range(4):  # each nearly a lease
            expires = noon.advance("900ms") + dt.timedelta(seconds=1)
            until(lambda: first()["lease_expires_at"] == expires)  # noqa: B023 - called at once
            taken = ledger.pass_valid_record("held", "somebody else").record
            answers.append(taken["window_start_time"].hour)
            ledger.release_record("held", taken["claim_token"])
        (tmp_path / "now").touch()

    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = run_dag("held", until=str(tmp_path / "now"))
    thread.join()

    assert run.state == "success"
    assert answers == [1, 1, 1, 1]
    assert (first()["window_start_time"].hour, first()["status"]) == (0, "COMPLETED")


def test_a_lost_claim_fails_the_task_before_it_touches_data(in_task, ledger, orders, noon):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from record_ledger.airflow import keeps_claim

    record = ledger.store_new_and_pass_valid_record(orders, "first").record
    noon.advance("2s")
    ledger.store_new_and_pass_valid_record(orders, "second")
    touched = []

    @keeps_claim
    def work(record):
        touched.append(record)

    with in_task(), pytest.raises(AirflowFailException, match="its lease expired") as raised:
        work(record)

    assert not touched
    assert "No data was touched" in str(raised.value)


def test_work_on_a_finished_record_is_skipped_and_says_the_way(in_task, ledger, orders):
    from airflow.providers.common.compat.sdk import AirflowSkipException

    from record_ledger.airflow import keeping_claim

    record = ledger.store_new_and_pass_valid_record(orders, "run").record
    ledger.complete_record("orders", record["claim_token"])

    with (
        in_task(),
        pytest.raises(AirflowSkipException, match=r"is COMPLETED\. .*reopen.*then clear the task"),
        keeping_claim(record),
    ):
        pytest.fail("it must not begin")


@pytest.mark.parametrize("to_its_end", [False, True])
def test_a_claim_that_is_lost_on_the_way_is_made_known_and_fails_the_task(
    in_task, ledger, orders, to_its_end
):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from record_ledger.airflow import keeping_claim

    record = ledger.store_new_and_pass_valid_record(orders, "run").record

    def work(claim):
        claim.check()
        ledger.release_record("orders", record["claim_token"])
        assert claim.lost.wait(DEADLINE)
        if not to_its_end:
            claim.check()
            pytest.fail("it must not go on")

    with (
        in_task(),
        pytest.raises(AirflowFailException, match="was lost while this task worked"),
        keeping_claim(record) as claim,
    ):
        work(claim)

    assert stored(ledger, record)["status"] == "PENDING"


def test_work_is_interrupted_when_its_claim_is_taken_away(run_dag, ledger, tmp_path, capfd):
    def meanwhile():
        until((tmp_path / "never.begun").exists)
        ledger.expire_leases("held", "2026-11-22", "2026-11-23", "it hangs")

    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = run_dag("held", until=str(tmp_path / "never"))
    thread.join()

    assert (run.state, run.tasks["work"]) == ("failed", "failed")
    assert ledger.pipeline_records("held")[0]["last_event"] == "lease_expired"
    assert "was lost while this task worked" in capfd.readouterr().out


def test_the_next_task_has_a_full_lease_to_start_in(in_task, ledger, orders, noon):
    from record_ledger.airflow import keeping_claim

    record = ledger.store_new_and_pass_valid_record({**orders, "lease": "1h"}, "run").record

    with in_task(), keeping_claim(record):
        noon.advance("30m")
    noon.advance("30m")
    with in_task(), pytest.raises(ValueError, match="no"), keeping_claim(record):
        raise ValueError("no")

    assert stored(ledger, record)["lease_expires_at"].timestamp() == noon.now().timestamp() + 3600


def test_two_claims_are_kept_at_once_and_both_blocks_are_interrupted(in_task, ledger, orders):
    from record_ledger.airflow import keeping_claim
    from record_ledger.airflow.decorators import TaskKilled

    first, second = ledger.pass_valid_records({**orders, "lease": "1h"}, "run", 2).records
    entered = in_task()
    before = entered.task.on_kill

    with entered, pytest.raises(TaskKilled), keeping_claim(first), keeping_claim(second):
        entered.task.on_kill()

    assert entered.task.on_kill == before
    assert [stored(ledger, record)["last_event"] for record in (first, second)] == ["failed"] * 2


def test_work_that_defers_has_not_gone_wrong(in_task, ledger, orders):
    from airflow.providers.common.compat.sdk import TaskDeferred

    from record_ledger.airflow import ValidRecordTrigger, keeping_claim

    record = ledger.store_new_and_pass_valid_record(orders, "run").record

    task = in_task()
    with task, pytest.raises(TaskDeferred), keeping_claim(record):
        raise TaskDeferred(trigger=ValidRecordTrigger("orders", None), method_name="execute")

    assert not task.left


def test_work_that_is_done_stays_done_when_the_database_is_gone_by_then(
    in_task, own_server, orders, monkeypatch
):
    from record_ledger.airflow import keeping_claim
    from tests.airflow.conftest import as_connection
    from tests.support.databases import deploy

    monkeypatch.setenv("RECORD_LEDGER_RETRY_WITHIN", "1")
    monkeypatch.setenv("AIRFLOW_CONN_RECORD_LEDGER_DEFAULT", as_connection(own_server.dsn()))
    deploy(own_server.dsn())
    with RecordLedger(own_server.dsn()) as opened:
        record = opened.store_new_and_pass_valid_record(
            {**orders, "start_at": "2026-11-01", "lease": "1h"}, "run"
        ).record

    with in_task(), keeping_claim(record):
        own_server.stop()


def test_what_went_wrong_is_left_for_the_task_that_ends_the_claim(in_task, ledger, orders):
    from record_ledger.airflow import keeping_claim

    record = ledger.store_new_and_pass_valid_record(orders, "run").record

    task = in_task()
    with task, pytest.raises(ValueError, match="disk full"), keeping_claim(record):
        raise ValueError("disk full")

    assert task.left == {"record_ledger_error": "ValueError: disk full"}
    assert stored(ledger, record)["status"] == "IN_PROGRESS"


def test_a_decorated_function_must_have_a_parameter_for_the_record(airflow_home):
    from airflow.providers.common.compat.sdk import task

    from record_ledger.airflow import keeps_claim

    async def later(record):
        pass

    @task
    def above(record):
        pass

    with pytest.raises(TypeError, match="no parameter 'record'"):
        keeps_claim(lambda window: window)
    with pytest.raises(TypeError, match="is async"):
        keeps_claim(later)
    with pytest.raises(TypeError, match="below @task"):
        keeps_claim(above)


def test_the_context_manager_serves_half_a_task_and_any_name(run_dag, ledger):
    run = run_dag("one_task_by_hand")

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert ledger.pipeline_records("one_task_by_hand")[0]["last_detail"] == {"by": "hand"}


# ---------------------------------------------------------------- cancelled by an operator
WHY = "wrong input"


def cancelled(ledger):
    assert ledger.cancel_records("orders", "2026-11-22", "2026-11-23", WHY) == 1


def test_a_cancelled_claim_fails_the_task_before_it_touches_data(in_task, ledger, orders):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from record_ledger.airflow import keeps_claim

    record = ledger.store_new_and_pass_valid_record({**orders, "lease": "1h"}, "run").record
    cancelled(ledger)
    touched = []

    @keeps_claim
    def work(record):
        touched.append(record)

    task = in_task()
    with task, pytest.raises(AirflowFailException, match=f"was cancelled by .*: {WHY}"):
        work(record)

    assert not touched
    assert task.left["record_ledger_error"].startswith("cancelled by ")
    found = stored(ledger, record)  # no other task is to come that ends the claim
    assert (found["status"], found["last_detail"]["retry"]) == ("FAILED", False)
    assert found["last_detail"]["error"] == task.left["record_ledger_error"]


def test_what_others_wrote_is_told_without_what_moves_a_terminal(
    in_task, ledger, orders, context, connection, caplog
):
    from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

    from record_ledger.airflow import StoreNewAndPassValidRecordOperator, keeps_claim

    nasty = "wrong\x1b[31m\u202einput"
    record = ledger.store_new_and_pass_valid_record({**orders, "lease": "1h"}, "run").record
    assert ledger.cancel_records("orders", "2026-11-22", "2026-11-23", nasty) == 1
    with in_task(), pytest.raises(AirflowFailException) as raised:
        keeps_claim(lambda record: record)(record)
    assert all(line.isprintable() for line in str(raised.value).split("\n"))

    ledger.pause_pipeline("orders", nasty)
    task = StoreNewAndPassValidRecordOperator(task_id="pass", config={**orders, "lease": "1h"})
    with pytest.raises(AirflowSkipException, match=r"PAUSED: .*wrong.*input") as raised:
        task.execute(context())
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("to_its_end", [False, True])
def test_a_cancellation_is_made_known_and_fails_the_task(in_task, ledger, orders, to_its_end):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from record_ledger.airflow import keeping_claim

    record = ledger.store_new_and_pass_valid_record({**orders, "lease": "3s"}, "run").record

    def work(claim):
        claim.check()
        cancelled(ledger)
        assert claim.cancelled.wait(DEADLINE)
        assert stored(ledger, record)["status"] == "IN_PROGRESS"
        if not to_its_end:
            claim.check()
            pytest.fail("it must not go on")

    with (
        in_task(),
        pytest.raises(AirflowFailException, match=f"was cancelled by .*: {WHY}"),
        keeping_claim(record) as claim,
    ):
        work(claim)

    assert stored(ledger, record)["status"] == "FAILED"


@pytest.mark.parametrize("dag_id", ["held", "held_retried"])
def test_cancelled_work_is_interrupted_and_not_tried_again(
    run_dag, ledger, tmp_path, capfd, dag_id
):
    def meanwhile():
        until((tmp_path / "never.begun").exists)
        assert ledger.cancel_records(dag_id, "2026-11-22", "2026-11-23", WHY) == 1

    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = run_dag(dag_id, until=str(tmp_path / "never"))
    thread.join()

    assert (run.state, run.tasks["work"], run.tries["work"]) == ("failed", "failed", 1)
    found = ledger.pipeline_records(dag_id)[0]
    assert (found["status"], found["last_event"]) == ("FAILED", "failed")
    assert found["last_detail"]["cancel_reason"] == WHY
    assert "task work failed: cancelled by " in found["last_detail"]["error"]
    assert "was cancelled by" in capfd.readouterr().out
