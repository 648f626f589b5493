"""An argument of a megabyte, from Python and the shell, is one error that can be read."""

from __future__ import annotations

import pytest

from record_ledger import InvalidArgument

MEGABYTE = "x" * 1_000_000
CALLS = {
    "a number of records": lambda ledger, text: ledger.pass_valid_records(CONFIG, "r", text),
    "a number of runs": lambda ledger, text: ledger.plan_runs("orders", text),
    "a plan's time": lambda ledger, text: ledger.plan_runs("orders", at=text),
    "a day": lambda ledger, text: ledger.is_day_sealed("orders", text),
    "an instant": lambda ledger, text: ledger.records_as_of(text),
    "the end of a range": lambda ledger, text: ledger.waive_records("orders", "2026", text, "w"),
    "a run": lambda ledger, text: ledger.store_new_and_pass_valid_record(CONFIG, text),
    "a stage": lambda ledger, text: ledger.observe_record("orders", "2026-11-21", text, 1),
    "a window": lambda ledger, text: ledger.observe_record("orders", text, "source", 1),
    "a time to wait for": lambda ledger, text: ledger.release_record("orders", 1, text),
}
CONFIG = {
    "timezone": "UTC",
    "x_time_back": "1h",
    "granularity": "1d",
    "default_record": {"pipeline_id": "orders"},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_text_of_a_megabyte_is_quoted_in_part(runner, call):
    runner.register_pipeline(CONFIG)

    with pytest.raises(InvalidArgument) as caught:
        call(runner, MEGABYTE)

    assert len(str(caught.value)) < 5000


def test_the_shell_shows_no_page_of_it(command, runner):
    runner.register_pipeline(CONFIG)
    for arguments in (
        ("plan", "orders", "--at", MEGABYTE),
        ("as-of", MEGABYTE),
        ("waive", "orders", "--from", MEGABYTE, "--to", "2026-11-22", "--reason", "w"),
        ("observe", "source", "1", "--pipeline", "orders", "--window", MEGABYTE),
        ("is-day-sealed", "orders", MEGABYTE),
    ):
        done = command(*arguments)
        assert done.code in (1, 2)
        assert done.out == ""
        assert 0 < len(done.err) < 5000, arguments[0]
