"""No text that leaves the package holds a password, in whatever form it was written."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from urllib.parse import quote

import pytest

from record_ledger.errors import InvalidConfig, LedgerError
from record_ledger.moving.settings import Settings
from record_ledger.redaction import redact


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cret@host/db",
        "postgres://me:s3c@s3cret@host:5432/db?sslmode=require",
        "could not use postgresql://me:s3cret@host/db, sorry",
        "host=h password=s3cret dbname=x",
        "host=h password='s3cret s3cret' dbname=x",
        r"password='it\'s s3cret' host=h",
        "PGPASSWORD=s3cret",
        "sslpassword = s3cret",
        "postgresql://h/db?user=me&password=s3cret",
        "password='s3cret",
        '{"password": "s3cret", "user": "me"}',
        '{"password": "s3\\"s3cret"}',
        "{'user': 'me', 'password': 's3cret'}",
        "{'password': b's3cret'}",
        r'{"message": "{\"password\": \"s3cret\"}"}',
        "connect(user='me', password=\"s3cret\")",
        "password: s3cret",
        "'password' => 's3cret'",
        "alter role me password 's3cret'",
        "aws_secret_access_key=s3cret",
        '{"SecretAccessKey": "s3cret"}',
        "api_key='s3cret'",
        "{'apiKey': 's3cret'}",
        '"private_key": "-----BEGIN KEY-----\ns3cret\n-----END KEY-----"',
        "'aws_session_token': 's3cret'",
        "Authorization: Bearer s3cret",
        "{'authorization': 'Basic s3cret'}",
        "basic_auth=('elastic', 's3cret')",
        '"http_auth": ["elastic", "s3cret"]',
    ],
)
def test_a_password_is_taken_out_of_a_text(text):
    assert "s3cret" not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "window 12:00 of a@b passed",
        "postgresql://me@host/db",
        "3 passes = ok",
        "",
        "claim_token=12 pipeline_id=a",
        "primary key = 7",
        "no password supplied",
    ],
)
def test_a_text_without_a_password_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "://" * 100_000,
        "a://b:" * 50_000,
        "password " * 100_000,
        "password='a\\" * 50_000,
    ],
    ids=["letters", "slashes", "addresses", "words", "quotes"],
)
def test_a_long_text_is_read_through_once(text):
    """Each of these took minutes with a pattern that begins anew at every character."""
    program = "import sys; from record_ledger.redaction import redact; redact(sys.stdin.read())"
    subprocess.run([sys.executable, "-c", program], input=text, text=True, check=True, timeout=60)


# ---------------------------------------------------------------- settings from the environment
@pytest.fixture
def secret(monkeypatch):
    value = "tr0ub4dor \"&'3"
    monkeypatch.setenv("SHOP_PASSWORD", value)
    return value


def test_what_a_setting_stands_for_is_hidden_in_every_text(secret):
    settings = Settings({"password": "${SHOP_PASSWORD}"}, "source")
    assert settings.text("password") == secret

    for form in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
        text = redact(f"the server said: {form}!")
        assert "tr0ub4dor" not in text
        assert text.startswith("the server said: ")
        assert text.endswith("!")


def test_an_error_quotes_what_was_written_and_not_what_it_stands_for(secret):
    settings = Settings({"page_size": "${SHOP_PASSWORD}", "tabel": "${SHOP_PASSWORD}"}, "source")
    settings.number("page_size", 5)

    with pytest.raises(InvalidConfig, match=r"'\$\{SHOP_PASSWORD\}' is not valid") as caught:
        settings.check()

    assert "tr0ub4dor" not in str(caught.value)


def test_what_a_library_says_of_a_setting_is_hidden(secret):
    settings = Settings({"client": {"auth": "${SHOP_PASSWORD}"}}, "source")
    options = settings.table("client")

    def connect():
        raise ValueError(f"cannot use {options}")

    with pytest.raises(InvalidConfig) as caught:
        settings.made("client", connect)

    assert "tr0ub4dor" not in str(caught.value)
    assert "tr0ub4dor" not in caught.value.message


def test_every_error_of_ours_is_without_passwords_and_stays_so_between_processes():
    error = LedgerError("cannot use password=s3cret", hint="try 'password': 's3cret'")

    assert "s3cret" not in f"{error!s}{error!r}{error.message}{error.hint}"
    assert "s3cret" not in str(pickle.loads(pickle.dumps(error)))


def test_a_short_value_hides_nothing(monkeypatch):
    monkeypatch.setenv("SHOP_NUMBER", "7")
    Settings({"port": "${SHOP_NUMBER}"}, "source")

    assert redact("attempt 7 of 17") == "attempt 7 of 17"
