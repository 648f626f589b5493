"""Long operations work in steps: each is kept, whatever stops them, and the rest can be done."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time

import pytest

from record_ledger.cli import progress
from record_ledger.cli.commands import operate
from tests.runner.cli.test_command_usage import start
from tests.sql.support import audit
from tests.support.interleaving import DEADLINE

HOURS_OF_THREE_YEARS = (365 + 365 + 366) * 24


@pytest.fixture
def orders(runner, config, clock):
    clock.set("2026-01-01T01:00:00Z")
    hours = {"timezone": "UTC", "granularity": "1h", "x_time_back": "0s"}
    name: str = runner.register_pipeline(config("orders", **hours, start_at="2026-01-01"))
    assert runner.store_new_records(name) == 1
    return name


@pytest.fixture
def counted(ledger):
    def count(status):
        query = "select count(*) from record_ledger.pipeline_records where status = %s"
        return ledger.execute(query, [status]).fetchone()[0]

    return count


def test_a_long_history_is_added_in_steps_backwards(command, orders, runner, ledger, counted):
    done = command("backfill", orders, "--from", "2023-01-01T12:00", "--reason", "a new report")

    assert done.code == 0, done.err
    assert done.err == f"record-ledger: works on {HOURS_OF_THREE_YEARS:,} records in steps\n"
    assert done.json["changed_count"] == HOURS_OF_THREE_YEARS
    assert counted("PENDING") == HOURS_OF_THREE_YEARS + 1
    added = [event["detail"] for event in runner.pipeline_events(orders)][1:]
    assert len(added) > 3
    assert {d["reason"] for d in added} == {"a new report"}
    # The newest first, and each step leaves a history without a gap.
    assert (added[0]["to_time"][:13], added[-1]["from_time"][:13]) == (
        "2026-01-01T00",
        "2023-01-01T00",
    )
    assert [d["to_time"] for d in added[1:]] == [d["from_time"] for d in added[:-1]]
    assert sum(d["record_count"] for d in added) == HOURS_OF_THREE_YEARS
    assert max(d["record_count"] for d in added) <= operate.LARGEST_STEP
    audit(ledger)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_is_stopped_has_kept_its_steps_and_says_how_to_go_on(
    command, orders, runner, ledger, ledger_dsn, connect, counted, number, code
):
    runner.backfill_records(orders, "2023-01-01")
    day = ("--from", "2023-01-01", "--to", "2026-01-02", "--reason", "not the shop's")
    # A later step comes to a record that somebody else is busy with.
    busy = connect(autocommit=False)
    busy.execute(
        "select from record_ledger.record where window_start_time = '2025-12-31Z' for update"
    )
    process = start("waive", orders, *day, "--dsn", ledger_dsn)
    until = time.monotonic() + DEADLINE
    waiting = (
        "select from pg_stat_activity where application_name = 'record-ledger' "
        "and wait_event_type = 'Lock' and datname = current_database()"
    )
    while not ledger.execute(waiting).fetchall():
        assert process.poll() is None and time.monotonic() < until

    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    busy.rollback()

    assert process.returncode == code, err
    assert "Traceback" not in err
    kept = counted("WAIVED")
    assert HOURS_OF_THREE_YEARS - operate.LARGEST_STEP <= kept < HOURS_OF_THREE_YEARS
    printed = json.loads(out.splitlines()[-1])
    assert (printed["stopped"], printed["changed_count"]) == (True, kept)
    (going_on,) = [line for line in err.splitlines() if "go on with" in line]
    again = shlex.split(going_on.split("go on with ")[1])
    assert again[:2] == ["record-ledger", "waive"]
    assert again[4] == printed["go_on_from"]
    rest = command(*again[1:])
    assert rest.json["changed_count"] == HOURS_OF_THREE_YEARS + 1 - kept
    audit(ledger)


def test_the_steps_of_a_range_touch_each_record_once(command, orders, ledger, monkeypatch, counted):
    monkeypatch.setattr(operate, "STEP_SIZE", 7)
    assert command("backfill", orders, "--from", "2025-12-31").json["changed_count"] == 24
    for size in (1, 5, 25, 26):
        monkeypatch.setattr(operate, "STEP_SIZE", size)
        day = ("--from", "2025-12-31", "--to", "2026-01-02", "--reason", "x", "-q")
        for verb, status in (("waive", "WAIVED"), ("reopen", "PENDING")):
            done = command(verb, orders, *day)
            assert (done.json["changed_count"], done.err) == (25, "")
            assert counted(status) == 25
    generations = "select distinct generation from record_ledger.pipeline_records"
    assert ledger.execute(generations).fetchall() == [(5,)]


def test_a_terminal_gets_a_bar_and_others_a_line_now_and_then(command, orders, monkeypatch, capsys):
    monkeypatch.setattr(operate, "STEP_SIZE", 10)
    monkeypatch.setattr(operate, "LARGEST_STEP", 10)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    command("backfill", orders, "--from", "2025-12-31")
    day = ("--from", "2025-12-31", "--to", "2026-01-02", "--reason", "x")
    assert command("waive", orders, *day).err.splitlines() == [
        "record-ledger: works on 25 records in steps",
        "record-ledger: 10 of 25 records done",
        "record-ledger: 20 of 25 records done",
        "record-ledger: 25 of 25 records done",
    ]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = command("reopen", orders, *day).err
    assert bar.startswith("\r[------")
    assert bar.endswith("\r[" + "#" * 30 + "] 25 of 25 records\n")
    assert command("waive", orders, *day, "-q").err == ""


def test_what_goes_wrong_in_a_step_says_what_is_done(command, orders, ledger, monkeypatch, counted):
    monkeypatch.setattr(operate, "STEP_SIZE", 10)
    command("backfill", orders, "--from", "2025-12-31")
    # Stands for whatever may go wrong in the middle: the second step meets such a record.
    ledger.execute(
        "create function public.stop() returns trigger language plpgsql as "
        "$$ begin raise exception 'no space left'; end $$"
    )
    ledger.execute(
        "create trigger stop before update on record_ledger.record for each row "
        "when (old.window_start_time = '2025-12-31 15:00Z') execute function public.stop()"
    )

    done = command("waive", orders, "--from", "2025-12-31", "--to", "2026-01-02", "--reason", "x")

    assert done.code == 1
    assert "no space left" in done.err
    assert (done.json["stopped"], done.json["changed_count"]) == (True, 10)
    assert done.json["go_on_from"] == "2025-12-31T10:00:00+00:00"
    assert counted("WAIVED") == 10
