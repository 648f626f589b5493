"""ledger.drain: record after record in one loop, completed by the step that passes the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from contextlib import nullcontext, suppress

import pytest

from record_ledger import ClaimCancelled, ClaimLost, CountsDisagree, InvalidArgument, RecordLedger
from record_ledger import drain as drain_module
from record_ledger.values import claim_of, start_of
from tests.runner.processes import until

HOURS = [0, 4, 8]


@pytest.fixture
def orders(config, clock):
    """Noon, and three windows are valid."""
    clock.set("2026-11-22T20:00:00Z")
    return config("orders", granularity="4h")


@pytest.fixture
def calls(runner, monkeypatch):
    """The names of the calls that this ledger makes."""
    made = []
    run = runner._session.run

    def noted(name, *arguments, **options):
        made.append(name)
        return run(name, *arguments, **options)

    monkeypatch.setattr(runner._session, "run", noted)
    return made


def stored(runner):
    return runner.pipeline_records("orders")


def statuses(runner):
    return [record["status"] for record in stored(runner)]


def fail_in(record, *hours):
    if record["window_start_time"].hour in hours:
        raise ValueError("disk full")


def heartbeats():
    return [thread for thread in threading.enumerate() if thread.name.startswith("record-ledger-")]


STORE, NEXT = "store_new_and_pass_valid_record", "complete_and_pass"


# ---------------------------------------------------------------- the loop
def test_each_record_but_the_first_takes_one_call(runner, orders, calls):
    seen = []
    drain = runner.drain(orders)
    for work in drain:
        with work as record:
            seen.append(record["window_start_time"].hour)
            work.detail["hour"] = seen[-1]

    assert seen == HOURS
    # What is due by now is stored before it ends.
    assert calls == [STORE, NEXT, NEXT, NEXT, STORE]
    assert statuses(runner) == ["COMPLETED"] * 3
    assert [record["last_detail"]["hour"] for record in stored(runner)] == HOURS
    assert (drain.result.exit_dag, drain.result.verdict) == (True, "NO_RECORDS")
    assert list(drain) == []
    assert heartbeats() == []


def test_the_runs_are_numbered_and_without_a_run_id_each_has_its_own(runner, orders, config):
    for work in runner.drain(orders, "nightly"):
        with work:
            pass
    assert [record["run_id"] for record in stored(runner)] == [
        "nightly/1", "nightly/2", "nightly/3",
    ]  # fmt: skip

    for work in runner.drain(config("others", granularity="4h")):
        with work:
            pass
    assert len({record["run_id"] for record in runner.pipeline_records("others")}) == 3


def test_until_the_next_step_the_claim_is_kept_and_the_record_in_progress(
    runner, orders, config, clock
):
    orders = {**orders, "lease": "3s"}
    for work in runner.drain(orders):
        with work as record:
            pass
        assert runner.claim_state(*claim_of(record)).state == "current"
        clock.advance("500ms")
        before = record["lease_expires_at"]
        until(lambda at=before: stored(runner)[0]["lease_expires_at"] > at, "a heartbeat")
        break
    assert statuses(runner)[0] == "COMPLETED"


def test_with_a_limit_the_last_block_completes_its_record(runner, orders, calls):
    for work in runner.drain(orders, limit=2):
        with work:
            pass
        done = statuses(runner)
    assert done == ["COMPLETED", "COMPLETED", "PENDING"]
    assert calls.count(NEXT) == 1 and calls.count(STORE) == 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True])
def test_a_limit_is_a_number_of_records(runner, orders, limit):
    with pytest.raises(InvalidArgument, match="is not a number of records"):
        runner.drain(orders, limit=limit)


def test_nothing_to_do_is_no_step(runner, orders, clock):
    clock.set("2026-11-22T08:30:00Z")
    drain = runner.drain(orders)
    assert list(drain) == []
    assert drain.result.verdict == "UNSTABLE"


def test_windows_that_fall_due_are_stored_within_a_minute(runner, orders, calls, monkeypatch):
    monkeypatch.setattr(drain_module, "STORE_EVERY", 0.0)
    for work in runner.drain(orders):
        with work:
            pass
    assert calls == [STORE, *["complete_record", STORE] * 3]


def test_a_config_with_templates_is_drained_and_what_is_outdated_is_built(runner, orders):
    def templated(text):
        return {**orders, "default_record": {**orders["default_record"], "path": text}}

    runner.register_pipeline(templated("{{ target_day }}"))
    seen = []
    for work in runner.drain(templated("{{ target_day }}")):
        with work as record:
            seen.append(record["path"])
            if len(seen) == 1:
                runner.register_pipeline(templated("new/{{ target_day }}"))
                work.release()
    # The drain's own config is in force again for what it builds.
    assert seen == ["2026-11-21"] * 4
    assert statuses(runner) == ["COMPLETED"] * 3


# ---------------------------------------------------------------- how blocks end
def test_a_block_that_raises_fails_its_record_and_leaves_the_loop(runner, orders):
    with pytest.raises(ValueError, match="disk full"):  # noqa: PT012
        for work in runner.drain(orders):
            with work as record:
                fail_in(record, 4)

    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]
    assert stored(runner)[1]["last_detail"]["error"] == "ValueError: disk full"


def test_a_loop_that_catches_what_a_block_raises_goes_on(runner, orders):
    for work in runner.drain(orders, "nightly"):
        with suppress(ValueError), work as record:
            fail_in(record, 4)
    assert statuses(runner) == ["COMPLETED", "PENDING", "COMPLETED"]


def test_a_block_that_gives_its_record_back_goes_on_with_others(runner, orders):
    seen = []
    for work in runner.drain(orders):
        with work as record:
            seen.append(record["window_start_time"].hour)
            if len(seen) == 1:
                work.release(not_before="2026-11-22T18:00")
    assert seen == HOURS
    assert statuses(runner) == ["PENDING", "COMPLETED", "COMPLETED"]


def cancel(runner):
    runner.cancel_records("orders", "2026-11-21", "2026-11-22", "wrong data")


def test_a_cancelled_block_that_has_seen_it_fails_and_one_that_has_not_is_completed(
    runner, orders, config
):
    orders = {**orders, "lease": "3s"}
    with pytest.raises(ClaimCancelled, match="wrong data"):  # noqa: PT012
        for work in runner.drain(orders):
            with work:
                cancel(runner)
                assert work.cancelled.wait(20)
    assert statuses(runner)[0] == "FAILED"

    for work in runner.drain(orders):
        with work:
            cancel(runner)
    assert statuses(runner) == ["FAILED", "COMPLETED", "COMPLETED"]


def test_counts_that_do_not_agree_are_raised_at_the_end_of_their_block(runner, orders):
    orders = {**orders, "required_counts": ["source", "target"]}
    hours = []
    for work in runner.drain(orders):
        expected = nullcontext() if len(hours) != 1 else pytest.raises(CountsDisagree)
        with expected, work as record:
            hours.append(record["window_start_time"].hour)
            work.observe("source", 7)
            work.observe("target", 8 if hours[-1] == 4 else 7)
    assert hours == HOURS
    assert statuses(runner) == ["COMPLETED", "PENDING", "COMPLETED"]


def test_counts_that_another_config_requires_meanwhile_are_raised_by_the_step(runner, orders):
    drain = runner.drain(orders)
    with pytest.raises(CountsDisagree):  # noqa: PT012
        for work in drain:
            with work:
                runner.register_pipeline({**orders, "required_counts": ["source", "target"]})
    assert stored(runner)[0]["last_event"] == "failed"
    with next(drain) as record:
        assert record["window_start_time"].hour == 4


def take(runner, dsn, record, orders, run_id):
    """Has another process of the same run take the record over."""
    with RecordLedger(dsn) as other:
        taken = other.store_new_and_pass_valid_record(orders, run_id).record
        assert start_of(taken) == start_of(record)


def test_a_claim_that_is_lost_in_the_block_raises_at_its_end(runner, orders, ledger_dsn):
    orders = {**orders, "lease": "3s"}
    drain = runner.drain(orders, "nightly")
    work = next(drain)
    with pytest.raises(ClaimLost), work as record:  # noqa: PT012
        take(runner, ledger_dsn, record, orders, "nightly/1")
        assert work.claim_lost.wait(20)
    assert statuses(runner) == ["IN_PROGRESS", "PENDING", "PENDING"]
    # Another one has it: the drain goes on with the next.
    with next(drain) as record:
        assert record["window_start_time"].hour == 4


def test_a_claim_that_is_lost_behind_the_block_is_raised_by_the_step(runner, orders, ledger_dsn):
    drain = runner.drain(orders, "nightly")
    with next(drain) as first:
        pass
    take(runner, ledger_dsn, first, orders, "nightly/1")
    with pytest.raises(ClaimLost):
        next(drain)
    assert [event["event"] for event in runner.record_events("orders", start_of(first))] == [
        "passed", "passed_again",
    ]  # fmt: skip
    assert statuses(runner) == ["IN_PROGRESS", "PENDING", "PENDING"]
    with next(drain) as second:
        assert second["window_start_time"].hour == 4


def test_a_detail_that_json_cannot_carry_completes_the_record_all_the_same(runner, orders):
    for work in runner.drain(orders):
        with work:
            work.detail["by"] = object()
    assert statuses(runner) == ["COMPLETED"] * 3


def test_a_run_id_that_becomes_too_long_undoes_no_work(runner, orders):
    drain = runner.drain(orders, "x" * 1022)
    with next(drain):
        drain._next = 10
    with pytest.raises(InvalidArgument, match="run_id"):
        next(drain)
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


# ---------------------------------------------------------------- how loops are left
def test_a_break_completes_the_record_whose_block_ended_well(runner, orders):
    for work in runner.drain(orders):
        with work:
            pass
        break
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]
    assert heartbeats() == []


def test_a_break_within_the_block_does_so_as_well(runner, orders):
    for work in runner.drain(orders):
        with work:
            break
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_outside_of_the_block_leaves_done_work_done(runner, orders, error):
    with pytest.raises(error):  # noqa: PT012
        for work in runner.drain(orders):
            with work:
                pass
            raise error
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


def test_an_interrupt_in_the_block_fails_the_record(runner, orders):
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        for work in runner.drain(orders):
            with work:
                raise KeyboardInterrupt
    assert stored(runner)[0]["last_detail"]["error"] == "stopped by KeyboardInterrupt"


def test_an_interrupt_of_the_step_leaves_done_work_done(runner, orders, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    drain = runner.drain(orders)
    with next(drain):
        pass
    monkeypatch.setattr(runner, "complete_and_pass", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(drain)
    drain.close()
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


def test_a_drain_that_is_kept_is_ended_by_close_by_with_and_with_its_ledger(
    runner, orders, ledger_dsn
):
    kept = runner.drain(orders)
    with next(kept):
        pass
    assert statuses(runner)[0] == "IN_PROGRESS"
    kept.close()
    assert list(kept) == []

    with runner.drain(orders) as drain, next(drain):
        pass

    with RecordLedger(ledger_dsn) as other:
        last = other.drain(orders)
        with next(last):
            pass
    assert statuses(runner) == ["COMPLETED"] * 3


def test_the_end_of_a_with_block_says_that_the_claim_was_lost_unless_there_is_an_error(
    runner, orders, ledger_dsn, caplog
):
    def lose(run_id):
        drain = runner.drain(orders, run_id)
        with next(drain) as record:
            pass
        take(runner, ledger_dsn, record, orders, f"{run_id}/1")
        return drain

    with pytest.raises(ClaimLost), lose("one"):
        pass
    with pytest.raises(ValueError, match="mine"), lose("two"):
        raise ValueError("mine")
    assert "call=drain" in caplog.text and "ClaimLost" in caplog.text


def test_closed_in_the_block_the_record_is_completed_at_its_end(runner, orders):
    drain = runner.drain(orders)
    with next(drain):
        drain.close()
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


def test_a_record_whose_block_was_not_entered_is_given_back(runner, orders):
    for _work in runner.drain(orders):
        break
    assert [event["event"] for event in runner.record_events("orders")] == ["passed", "released"]

    drain = runner.drain(orders)
    next(drain)
    with pytest.raises(InvalidArgument, match="its block has not begun"):
        next(drain)
    drain.close()
    assert statuses(runner) == ["PENDING"] * 3


def test_a_step_within_a_block_is_refused(runner, orders):
    drain = runner.drain(orders)
    with next(drain), pytest.raises(InvalidArgument, match="its block is running"):
        next(drain)
    drain.close()
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


def test_a_record_is_entered_once_and_not_when_its_drain_is_gone(runner, orders):
    drain = runner.drain(orders)
    work = next(drain)
    with work:
        pass
    with pytest.raises(InvalidArgument, match="its block has ended well"), work:
        pass
    drain.close()
    with pytest.raises(InvalidArgument, match="has been ended"), next(runner.drain(orders)):
        pass


def test_a_drain_that_nothing_refers_to_is_ended_from_any_thread(runner, orders):
    drains = [runner.drain(orders)]
    with next(drains[0]):
        pass
    thread = threading.Thread(target=drains.clear)
    thread.start()
    thread.join(20)
    assert statuses(runner)[0] == "COMPLETED"


@pytest.mark.slow
def test_at_the_end_of_the_process_done_work_is_completed(runner, orders, ledger_dsn):
    program = f"""
        from record_ledger import RecordLedger
        ledger = RecordLedger({ledger_dsn!r})
        drain = ledger.drain({orders!r})
        with next(drain):
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    assert statuses(runner) == ["COMPLETED", "PENDING", "PENDING"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_ends_nothing_and_gets_no_record(runner, orders):
    drain = runner.drain(orders)
    with next(drain):
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    child = os.fork()
    if child == 0:
        try:
            drain.close()
            os._exit(len(list(drain)))
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert statuses(runner)[0] == "IN_PROGRESS"
    drain.close()
    assert statuses(runner)[0] == "COMPLETED"


# ---------------------------------------------------------------- once more
def test_a_repeated_drain_takes_up_what_failed_and_skips_what_is_done(runner, orders):
    def drain(*failing):
        seen = []
        for work in runner.drain(orders, "nightly"):
            with suppress(ValueError), work as record:
                seen.append(record["run_id"])
                fail_in(record, *failing)
        return seen

    assert drain(0, 4) == ["nightly/1", "nightly/2", "nightly/3"]
    assert drain() == ["nightly/1", "nightly/2"]
    assert statuses(runner) == ["COMPLETED"] * 3
    assert drain() == []


def test_a_repeated_drain_gets_what_a_dead_one_held(runner, orders, ledger_dsn):
    with RecordLedger(ledger_dsn) as dead:
        for run_id in ("nightly/1", "nightly/2"):
            record = dead.store_new_and_pass_valid_record(orders, run_id).record
            if run_id == "nightly/1":
                dead.complete_record(*claim_of(record))
    seen = []
    for work in runner.drain(orders, "nightly"):
        with work as record:
            seen.append((record["run_id"], record["window_start_time"].hour))
    assert seen == [("nightly/2", 4), ("nightly/3", 8)]
