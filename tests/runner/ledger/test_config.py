"""What is sent of a config, and what is refused before anything is sent."""

from __future__ import annotations

import datetime as dt
import enum
import logging
import math
import types
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from record_ledger import InvalidConfig, RecordLedger
from record_ledger.config import KNOWN_KEYS, NOT_SENT, config_to_send, to_json
from record_ledger.values import LEDGER_COLUMNS
from tests.support.parts import in_parts


def refused(config):
    with pytest.raises(InvalidConfig) as caught:
        config_to_send(config)
    assert caught.value.sqlstate == "RL001"
    return str(caught.value)


def test_the_known_keys_are_those_of_the_server(ledger):
    assert ledger.execute("select record_ledger.config_keys()").fetchone() == (list(KNOWN_KEYS),)


def test_the_ledgers_columns_are_those_of_the_server(ledger):
    (columns,) = ledger.execute("select record_ledger.ledger_columns()").fetchone()
    assert set(columns) == LEDGER_COLUMNS


def test_of_keys_that_the_ledger_does_not_read_only_the_name_is_sent():
    sent = config_to_send({"timezone": "UTC", "password": "s3cret", "client": object()})

    assert sent == {"timezone": "UTC", "password": NOT_SENT, "client": NOT_SENT}


def test_a_secret_in_a_config_reaches_neither_database_nor_log(ledger_dsn, config, ledger, caplog):
    caplog.set_level(logging.DEBUG, "record_ledger")
    with RecordLedger(ledger_dsn) as runner:
        runner.store_new_and_pass_valid_record(config(password="s3cret", hook=print))

    assert "s3cret" not in caplog.text
    dump = ledger.execute(
        "select p::text, e::text "
        "from record_ledger.pipelines as p, record_ledger.pipeline_events as e"
    ).fetchall()
    assert "s3cret" not in str(dump)
    assert "password" not in str(dump)


def test_a_misspelt_key_is_warned_of_once_per_ledger(ledger_dsn, config, caplog):
    misspelt = config(chek_fields=["source_name"])
    with RecordLedger(ledger_dsn) as runner:
        runner.store_new_and_pass_valid_record(misspelt)
        runner.store_new_and_pass_valid_record(misspelt)

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "chek_fields" in warnings[0]
    assert "check_fields" in warnings[0]


def test_dates_and_times_are_sent_as_iso_text():
    class Colour(str, enum.Enum):
        RED = "red"

    sent = config_to_send(
        {
            "start_at": dt.datetime(2026, 1, 1, 6, tzinfo=ZoneInfo("Europe/Berlin")),
            "default_record": {
                "day": dt.date(2026, 1, 2),
                "pair": (1, 2.5),
                "colour": Colour.RED,
                "more": types.MappingProxyType({"a": None}),
            },
        }
    )

    assert sent == {
        "start_at": "2026-01-01T06:00:00+01:00",
        "default_record": {
            "day": "2026-01-02",
            "pair": [1, 2.5],
            "colour": "red",
            "more": {"a": None},
        },
    }
    assert '"colour": "red"' in to_json(sent)


@pytest.mark.parametrize("config", [None, [], "text", 3])
def test_a_config_that_is_no_mapping_is_refused(config):
    assert "must be a dict" in refused(config)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (dt.timedelta(hours=2), "write a duration as text"),
        (ZoneInfo("Europe/Berlin"), "as its name"),
        ({1, 2}, "a list would do"),
        (object(), "is not valid"),
        (Path("x"), "is not valid"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        ("a\x00b", "NUL"),
        ("\ud800", "surrogate"),
        ({3: "x"}, "keys must be strings"),
        ({"a": {"b\x00": 1}}, "NUL"),
    ],
)
def test_a_value_that_json_cannot_carry_is_refused_by_its_path(value, says):
    message = refused({"default_record": {"field": [value]}})

    assert "default_record.field[0]" in message
    assert says in message


def test_all_problems_come_in_one_error():
    message = refused(
        {
            "x_time_back": dt.timedelta(1),
            "granularity": math.nan,
            3: 4,
            "default_record": {"f": {1}},
        }
    )

    assert message.startswith("invalid config: 4 problems")
    for part in ("x_time_back", "granularity", "default_record.f", "the key 3"):
        assert part in message


def test_a_config_that_holds_itself_is_refused():
    record = {"pipeline_id": "p"}
    record["self"] = record

    assert "holds itself" in refused({"default_record": record})


def test_an_object_whose_repr_fails_is_still_named():
    class Bad:
        def __repr__(self):
            raise RuntimeError("no repr")

    assert "<Bad>" in refused({"start_at": Bad()})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@in_parts(1)
@settings(max_examples=50)
@given(config=st.dictionaries(st.sampled_from(KNOWN_KEYS) | st.text(), anything))
def test_every_config_is_either_sent_as_json_or_refused_as_a_config(part, config):
    try:
        text = to_json(config_to_send(config))
    except InvalidConfig as error:
        text = error.message
    assert text.startswith(("{", "invalid config: "))
    assert "\\u0000" not in text
    text.encode("utf-8")
