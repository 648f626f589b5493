"""What others have written is shown and cannot act: no terminal code, no turned or added line."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from record_ledger import RecordLedger, logs
from record_ledger.cli import main
from record_ledger.visible import visible, visible_json, visible_lines

# Escape sequences by ESC and by C1, a title, separators, marks of direction, an overwritten line.
NASTY = "a\x1b[2Jb\x9b31mc\x1b]0;title\x07d\u2028e\u2029f\u202eg\u2066h\rover\x08i\u200b"
UNSEEN = {char for char in NASTY if not char.isprintable()}


@pytest.mark.slow
def test_every_character_that_is_not_printable_is_replaced():
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        if unicodedata.category(char) in kinds:
            assert visible(char) == "\ufffd"
            assert char not in visible_json(char)


def test_json_is_the_same_value_to_its_readers():
    value = {NASTY: [NASTY, {"\U000e0001": 1}]}

    text = visible_json(value)

    assert json.loads(text) == value
    assert text.isprintable()
    assert "ä" in visible_json("ä")


def test_lines_stay_lines_and_nothing_else_does():
    assert visible_lines("a\n\x1b[31mb\r\nc") == "a\n\ufffd[31mb\ufffd\nc"
    assert visible("a\nb") == "a\ufffdb"


def test_a_tab_in_a_message_of_the_server_is_blanks():
    """As libpq begins the second line of what it says about a server that cannot be reached."""
    assert visible_lines("No such file\n\tIs the server running?") == (
        "No such file\n    Is the server running?"
    )


def test_a_log_line_is_one_line_and_shows_what_it_holds():
    line = logs.line(reason=NASTY, name="\u202e", plain="ok")

    assert line.isprintable()
    assert "plain=ok" in line
    assert json.loads(line.split("name=")[1].split(" plain=")[0]) == "\u202e"


@pytest.fixture
def nasty_ledger(ledger_dsn, config, clock):
    """A pipeline whose fields, runs, errors and reasons are all nasty."""
    clock.set("2026-11-22T20:00:00Z")
    given = config("orders", default_record={"pipeline_id": "orders", f"f{NASTY}": NASTY})
    with RecordLedger(ledger_dsn) as ledger:
        record = ledger.store_new_and_pass_valid_record(given, f"run {NASTY}").record
        ledger.observe_record("orders", record["window_start_time"], "source", 1, {NASTY: NASTY})
        ledger.fail_record("orders", record["claim_token"], f"error {NASTY}")
        ledger.pause_pipeline("orders", f"reason {NASTY}")
    return ledger_dsn, record["window_start_time"].isoformat()


COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["why", "orders"],
    ["why", "orders", "--json"],
    ["why", "orders", "--window", "{window}"],
    ["history", "orders", "{window}"],
    ["history", "orders", "{window}", "--json"],
    ["plan", "orders"],
    ["plan", "orders", "--json"],
    ["coverage", "orders"],
    ["at-risk"],
    ["as-of", "2026-11-22T20:00:00Z"],
    ["pause", "orders", "--reason", f"again {NASTY}"],
    ["-vv", "status"],
    ["history", f"no {NASTY}", "{window}"],
    ["history", "orders", f"no {NASTY}"],
    ["waive", "orders", "--from", f"{NASTY}", "--to", "2026-11-22", "--reason", "x"],
    ["run", "--config", f"no/{NASTY}"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words[:2]).strip(NASTY))
def test_no_command_shows_anything_but_text(nasty_ledger, capsys, arguments):
    dsn, window = nasty_ledger
    words = [word.replace("{window}", window) for word in arguments]

    main([*words, "--dsn", dsn])

    printed = capsys.readouterr()
    for stream in (printed.out, printed.err):
        for line in stream.split("\n"):
            assert line.isprintable(), line
    if "--json" in words:
        json.loads(printed.out)


def test_an_exec_shows_its_own_sentences_without_them(
    nasty_ledger, config, tmp_path, capfd, caplog
):
    dsn, _ = nasty_ledger
    path = tmp_path / "config.json"
    given = config("other", default_record={"pipeline_id": "other", "f": NASTY})
    path.write_text(json.dumps(given), encoding="utf-8")

    main(["-vv", "exec", "--dsn", dsn, "--config", str(path), "--", f"/no/such/{NASTY}"])

    printed = capfd.readouterr()
    for line in (printed.out + printed.err).split("\n"):
        assert line.isprintable(), line
