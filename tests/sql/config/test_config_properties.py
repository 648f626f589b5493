"""Configs by the hundred: each bad one gives one clear error and no row, each good one reads back."""

from __future__ import annotations

import datetime as dt
import json
from itertools import count

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from record_ledger.values import LEDGER_COLUMNS
from tests.sql.support import one, rows

pytestmark = pytest.mark.slow

_numbers = count()
NO_ROW = """
    select count(*) = 0 from (
        select from record_ledger.pipeline union all select from record_ledger.pipeline_event
        union all select from record_ledger.record union all select from record_ledger.claim
    ) as any_row
"""

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=3,
)
other_than_text = anything.filter(lambda value: value is not None and not isinstance(value, str))
amount = st.integers(1, 400).map(str)
long_unit = st.sampled_from(["month", "months", "mon", "y", "year", "decade", "century"])
no_duration = (
    other_than_text
    | text.filter(lambda value: not any(letter.isdigit() for letter in value))
    | amount
    | st.builds("{} {}".format, amount, long_unit)
    | st.sampled_from(
        ["P1M", "P1Y2D", "infinity", "-infinity", "1:30", "01:00:00", "P", "PT", "1d and 2h"]
    )
)
whole = st.integers(1, 999_999_999)
no_whole = (
    anything.filter(
        lambda v: v is not None and not (type(v) is int and 1 <= v < 10**9)
        and not (isinstance(v, float) and v == int(v))
    )
)  # fmt: skip
OWN = [
    "status",
    "claim_token",
    "attempt",
    "generation",
    "run_id",
    "target_day",
    "created_at",
    "lease_expires_at",
]
# What check_fields may name in a config whose only field is key_x.
CHECKABLE = [
    "key_x",
    "pipeline_id",
    "target_day",
    "window_start_time",
    "window_end_time",
    "time_interval",
]

# What can be wrong with each key; every value of these strategies is.
BAD = {
    "timezone": other_than_text
    | text.map(lambda value: f"Nowhere/{value}")
    | st.sampled_from(["", "utc ", "Europe/Berln", "+01", "CET-1CEST,M3.5.0", "America"]),
    "x_time_back": no_duration | amount.map(lambda n: f"-{n}s") | st.integers(36501, 10**7).map("{}d".format),
    "granularity": no_duration
    | st.integers(86401, 10**9).map("{}s".format)
    | st.integers(1, 999).map("{}ms".format)
    | st.integers(1, 86399).map("{}.5s".format)
    | st.just("0s"),
    "lease": no_duration | st.integers(0, 999).map("{}ms".format) | amount.map(lambda n: f"-{n}m"),
    "retry_delay": no_duration | amount.map(lambda n: f"-{n}us"),
    "max_attempts": no_whole,
    "max_active_records": no_whole,
    "backfill_share": anything.filter(
        lambda value: value is not None
        and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1)
    ),
    "required_counts": anything.filter(lambda value: value is not None and not isinstance(value, list))
    | st.lists(text, max_size=1)
    | st.fixed_dictionaries({"stages": st.just(["a", "b"]), "tolerance": other_than_text | no_duration}),
    "source_retention": no_duration | st.integers(36501, 10**7).map("{}d".format),
    "at_risk_within": no_duration | amount.map(lambda n: f"-{n}us"),
    "pass_order": anything.filter(lambda value: value not in (None, "oldest", "deadline")),
    "recount_ages": anything.filter(lambda value: value is not None and not isinstance(value, list))
    | st.lists(no_duration | st.sampled_from(["0s", "-1h", "999ms", "36501d"]), min_size=1, max_size=3),
    "reopen_budget": anything.filter(
        lambda v: v is not None and not (type(v) is int and 0 <= v < 10**9)
        and not (isinstance(v, float) and v == int(v))
    ),
    "depends_on_past": anything.filter(lambda value: value is not None and not isinstance(value, bool)),
    "start_at": other_than_text
    | text.filter(lambda value: not value[:1].isdigit())
    | st.integers(13, 99).map("2026-{}-01".format)
    | st.integers(32, 99).map("2026-01-{}T00:00Z".format)
    | st.integers(25, 99).map("2026-01-01T{}:00".format),
    "check_fields": anything.filter(lambda value: value is not None and not isinstance(value, list))
    | st.lists(anything.filter(lambda value: value not in CHECKABLE), min_size=1, max_size=3),
    "default_record": anything.filter(lambda value: value is not None and not isinstance(value, dict))
    | st.fixed_dictionaries({"pipeline_id": st.just("p")}, optional={"key_x": text}).flatmap(
        lambda record: st.sampled_from(OWN).map(lambda column: {**record, column: "x"})
    ),
    "pipeline_id": other_than_text | st.sampled_from(["", " ", "\n", "a{{ b }}", "{# c #}", "d{% e", "f" * 256]),
}  # fmt: skip
stages = st.lists(text.filter(str.strip), min_size=2, max_size=4, unique=True)
REQUIRED = ("timezone", "x_time_back", "granularity", "default_record")


def valid(name):
    return {
        "timezone": "Europe/Berlin",
        "x_time_back": "1d",
        "granularity": "2h",
        "pipeline_id": name,
        "default_record": {"key_x": "a"},
    }


@st.composite
def bad_configs(draw):
    """A config with one to four wrong keys, and the names of those."""
    config = valid("p")
    wrong = draw(st.sets(st.sampled_from(sorted(BAD)), min_size=1, max_size=4))
    for key in wrong:
        if key in REQUIRED and draw(st.integers(0, 9)) == 0:
            del config[key]
        else:
            config[key] = draw(BAD[key], label=key)
    return config, wrong


@pytest.mark.parametrize("part", range(4))  # of five hundred: workers share them
@settings(max_examples=125)
@given(bad=bad_configs(), whole_cycle=st.booleans())
def test_each_bad_config_gives_one_clear_error_and_no_row(ledger, part, bad, whole_cycle):
    config, wrong = bad
    routine = (
        "store_new_and_pass_valid_record(%s, 'run')" if whole_cycle else "register_pipeline(%s)"
    )
    with pytest.raises(psycopg.Error) as caught:
        ledger.execute(f"select record_ledger.{routine}", [Jsonb(config)])
    assert caught.value.sqlstate == "RL001", caught.value
    message = caught.value.diag.message_primary
    for key in wrong:
        # A name inside a wrong default_record cannot be compared with the one beside it.
        assert f"{key}: " in message, message
    assert len(message) < 4000
    assert one(ledger, NO_ROW)


durations = st.sampled_from(["1d", "90m", "PT26H", "1d2h30m20s", "36h", "1 hour"])


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {
            "timezone": st.sampled_from(
                ["UTC", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia"]
            ),
            "x_time_back": durations | st.just("0s"),
            "granularity": st.integers(1, 86400).map("{}s".format),
            "default_record": st.dictionaries(
                text.filter(lambda key: key and key not in LEDGER_COLUMNS), anything, max_size=4
            ),
        },
        optional={
            "lease": durations,
            "retry_delay": durations | st.just("0s"),
            "max_attempts": whole,
            "max_active_records": whole,
            "depends_on_past": st.booleans(),
            "required_counts": stages
            | st.fixed_dictionaries(
                {"stages": stages},
                optional={
                    "tolerance": st.builds("{} rows".format, st.integers(0, 10**18 - 1))
                    | st.builds("{}%".format, st.decimals(0, 100, places=3))
                },
            ),
            "start_at": st.dates(dt.date(1900, 1, 1), dt.date(9000, 1, 1)).map(str)
            | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(9000, 1, 1)).map(
                lambda t: t.isoformat()
            ),
        },
    ),
    st.dictionaries(text, anything, max_size=2),
)
def test_each_good_config_reads_back_as_it_was_given_and_writes_nothing_again(
    ledger, config, other
):
    name = f"p{next(_numbers)}"
    config["default_record"]["pipeline_id"] = name
    if "start_at" in config:
        # The windows of two thousand years are no more than a ledger stores.
        config["granularity"] = "86400s"
    config["check_fields"] = sorted(config["default_record"])[:2]
    noise = {key: value for key, value in other.items() if key not in config and key not in BAD}

    register = "select record_ledger.register_pipeline(%s)"
    assert one(ledger, register, [Jsonb(config | noise)]) == name
    assert one(ledger, register, [Jsonb(config)]) == name

    ((found, version, seconds),) = rows(
        ledger,
        "select to_jsonb(p), config_version, extract(epoch from granularity)::int "
        "from record_ledger.pipelines as p where pipeline_id = %s",
        [name],
    )
    assert version == 1
    assert f"{seconds}s" == config["granularity"]
    for key in ("timezone", "check_fields"):
        assert found[key] == config[key]
    assert json.dumps(found["default_record"], sort_keys=True) == json.dumps(
        _as_numeric(config["default_record"]), sort_keys=True
    )
    for key, default in (
        ("max_attempts", 3),
        ("max_active_records", None),
        ("depends_on_past", False),
    ):
        assert found[key] == config.get(key, default)


def _as_numeric(value):
    """A value as jsonb keeps it: -0.0 is 0.0, and 1e+16 is written out."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, list):
        return [_as_numeric(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _as_numeric(inner) for key, inner in value.items()}
    return value
