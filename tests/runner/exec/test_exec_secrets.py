"""What exec hands to its commands, and what it warns of: passwords, and fields that become code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from record_ledger.cli import main

SHOW = "import json, os; print(json.dumps({n: v for n, v in os.environ.items()}))"


@pytest.fixture
def run(ledger_dsn, config, tmp_path, capfd, clock, monkeypatch):
    """Runs `exec` on a pipeline with these fields; returns its code, output and messages."""
    clock.set("2026-11-22T20:00:00Z")
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)

    def call(*arguments, options=(), **fields):
        path = tmp_path / "config.json"
        default_record = {"pipeline_id": "orders", **fields}
        path.write_text(json.dumps(config("orders", default_record=default_record)), "utf-8")
        code = main(["exec", "--config", str(path), *options, "--", *arguments])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return call


def test_without_a_switch_commands_find_the_ledger(run, ledger_dsn):
    code, out, _ = run("python3", "-c", SHOW)

    assert code == 0
    assert json.loads(out.splitlines()[0])["RECORD_LEDGER_DSN"] == ledger_dsn


def test_with_no_dsn_commands_find_nothing_that_leads_to_the_ledger(run, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    monkeypatch.setenv("PGAPPNAME", "nightly")

    code, out, _ = run("python3", "-c", SHOW, options=["--no-dsn"])

    assert code == 0
    found = json.loads(out.splitlines()[0])
    assert not [name for name in found if name.startswith("PG")]
    assert not {"RECORD_LEDGER_DSN", "RECORD_LEDGER_HOME"} & set(found)
    assert "s3cret" not in out
    assert found["RECORD_LEDGER_PIPELINE_ID"] == "orders"


def test_a_password_in_the_options_is_warned_of(run, ledger_dsn, capfd):
    dsn = make_conninfo(ledger_dsn, password="s3cret")

    code, out, err = run("python3", "-c", SHOW, options=["--dsn", dsn])

    assert code == 0
    assert "can see a password in --dsn" in err
    assert "s3cret" not in err + out
    assert main(["status", "--dsn", dsn, "-q"]) == 0
    assert main(["status", "--dsn", ledger_dsn]) == 0
    assert "password" not in capfd.readouterr().err


@pytest.mark.parametrize("where", ["RECORD_LEDGER_DSN", "PGPASSWORD"])
def test_what_a_command_complains_of_is_kept_without_our_password(
    run, ledger, ledger_dsn, monkeypatch, where
):
    secret = f"in {where}: h%nter's \\ 2"
    given = make_conninfo(ledger_dsn, password=secret) if where != "PGPASSWORD" else secret
    monkeypatch.setenv(where, given)

    # No key stands before it, by which it could be known.
    code, out, err = run("sh", "-c", 'printf "no luck with %s\\n" "$0" >&2; exit 3', secret)

    assert code == 1, err
    assert "no luck with" in err  # the command's own, byte for byte
    kept = ledger.execute(
        "select string_agg(detail::text, ' ') from record_ledger.record_events"
    ).fetchone()[0]
    assert "no luck with ***" in kept
    assert "h%nter" not in kept + out


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "echo {{ file }}"],
        ["bash", "-lc", "echo '{{ file }}'"],
        ["/bin/sh", "-ec", "echo {{ file }}"],
        ["env", "sh", "-c", "echo {{ file }}"],
        ["python3", "-c", "print('{{ file }}')"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_template_in_a_program_is_warned_of(run, command):
    code, _, err = run(*command, file="a.csv")

    assert code == 0
    assert "event=template_in_a_program" in err
    assert "RECORD_LEDGER_FIELD_" in err


def test_the_safe_forms_are_not_warned_of(run):
    for command in (
        ["sh", "-c", 'echo "$RECORD_LEDGER_FIELD_FILE"'],
        ["sh", "-c", 'echo "$1"', "sh", "{{ file }}"],
        ["echo", "--", "{{ file }}"],
        ["echo", "to={{ file }}"],
    ):
        code, out, err = run(*command, file="-n$(touch x).csv")
        assert (code, err) == (0, ""), command
        assert "-n$(touch x).csv" in out
        assert not Path("x").exists()


def test_a_field_that_looks_like_an_option_is_warned_of(run):
    code, _, err = run("echo", "{{ file }}", file="-rf")

    assert code == 0
    assert "event=field_looks_like_an_option" in err
    assert "text=-rf" in err
