"""Tables and log lines: what people and machines read."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from record_ledger import RecordLedger, logs
from record_ledger.cli.tables import duration, local, print_table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "-"),
        (0.9, "-"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (12000, "3h 20m"),
        (3600, "1h"),
        (3601, "1h"),
        (90000, "1d 1h"),
        (86400 * 400 + 59, "400d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, text):
    assert duration(None if seconds is None else dt.timedelta(seconds=seconds)) == text


def test_a_local_time_shows_seconds_only_when_there_are_some():
    assert local(dt.datetime(2026, 11, 21, 6)) == "2026-11-21 06:00"
    assert local(dt.datetime(2026, 11, 21, 6, 0, 5)) == "2026-11-21 06:00:05"
    assert local(None) == "-"


def test_columns_are_aligned_whatever_is_in_them(capsys):
    print_table(
        ["NAME", "COUNT"],
        [["注文", 7], ["e\N{COMBINING ACUTE ACCENT}", 12345678], ["tab\tand\nline", None]],
        right=["COUNT"],
    )

    out = capsys.readouterr().out
    assert out.splitlines() == [
        "NAME             COUNT",
        "注文                 7",
        "e\N{COMBINING ACUTE ACCENT}             12345678",
        "tab\ufffdand\ufffdline         -",
    ]


def test_a_log_line_quotes_what_would_break_it():
    assert (
        logs.line(a="plain", b="two words", c='q"uote', d="", e=None, f=True, g=1.23456, h="a=b")
        == 'a=plain b="two words" c="q\\"uote" d="" f=true g=1.235 h="a=b"'
    )


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text()))
def test_a_log_line_can_be_read_back(fields):
    text = logs.line(**fields)

    assert "\n" not in text
    found = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)(?: |$)', text)
    read = {key: json.loads(value) if value[:1] == '"' else value for key, value in found}
    assert read == fields


def test_every_call_logs_its_outcome_and_its_milliseconds(ledger_dsn, config, clock, caplog):
    clock.set("2026-11-22T20:00:00Z")
    caplog.set_level(logging.INFO, "record_ledger")
    with RecordLedger(ledger_dsn) as runner:
        record = runner.store_new_and_pass_valid_record(config("orders"), "run-1").record
        runner.extend_lease("orders", record["claim_token"])
        runner.complete_record("orders", record["claim_token"])
        with pytest.raises(Exception, match="claim lost"):
            runner.release_record("orders", record["claim_token"])

    lines = [r.getMessage() for r in caplog.records]
    assert [line.split()[0] for line in lines] == [
        "call=store_new_and_pass_valid_record",
        "call=extend_lease",
        "call=complete_record",
        "call=release_record",
    ]
    assert all(re.search(r" ms=\d+\.\d{3}$", line) for line in lines)
    for part in (
        "run_id=run-1",
        "pipeline_id=orders",
        "window=2026-11-21T00:00:00-08:00",
        "verdict=READY",
        "reason=",
    ):
        assert part in lines[0]
    assert "error=ClaimLost sqlstate=RL004" in lines[3]


def test_an_exit_logs_its_verdict_and_reason(ledger_dsn, config, clock, caplog):
    clock.set("2026-11-22T08:30:00Z")
    caplog.set_level(logging.INFO, "record_ledger")
    with RecordLedger(ledger_dsn) as runner:
        runner.store_new_and_pass_valid_record(config("orders"))

    assert "verdict=UNSTABLE" in caplog.text
    assert 'reason="window 2026-11-21T00:00:00-08:00' in caplog.text


def test_without_logging_set_up_nothing_is_formatted(ledger_dsn, config, caplog):
    caplog.set_level(logging.WARNING, "record_ledger")
    with RecordLedger(ledger_dsn) as runner:
        runner.store_new_and_pass_valid_record(config("orders"))

    assert caplog.records == []
