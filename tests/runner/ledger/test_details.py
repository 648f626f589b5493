"""Details: whatever a caller notes beside its work is kept, and never decides about the work."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from record_ledger import InvalidArgument, complete_record, observe_record
from record_ledger.details import MOST_BYTES, detail_json

NOON = "2026-11-22T20:00:00Z"
BERLIN = dt.timezone(dt.timedelta(hours=1))


class Colour(enum.Enum):
    RED = "red"
    NUMBER = Decimal("0.5")


@dataclasses.dataclass
class Load:
    rows: int
    by: uuid.UUID


class ArrayScalar:
    """A scalar as numpy has them."""

    shape = ()

    def __init__(self, kind, item, text=""):
        self.dtype = SimpleNamespace(kind=kind)
        self._item, self._text = item, text

    def item(self):
        return self._item

    def astype(self, _):
        return self

    def __str__(self):
        return self._text


class NaTType:
    """As pandas says that a time is missing."""


class Hostile:
    def __str__(self):
        raise RuntimeError("no text")

    def __getattr__(self, name):
        if name.startswith("__"):  # pytest looks at these
            raise AttributeError(name)
        raise ValueError(name)


KEPT = [
    (None, None),
    (True, True),
    (1200, 1200),
    (-(10**299), -(10**299)),
    (0.1, 0.1),
    (1e22, 10**22),
    ("naïve \U0001f600", "naïve \U0001f600"),
    (Decimal(1200), 1200),
    (Decimal("12345678901234567890.12"), Decimal("12345678901234567890.12")),
    (Decimal("1E+30"), 10**30),
    (Decimal("-0.000001"), Decimal("-0.000001")),
    (Fraction(1, 4), 0.25),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (dt.date(2026, 11, 22), "2026-11-22"),
    (dt.datetime(2026, 11, 22, 6, tzinfo=BERLIN), "2026-11-22T06:00:00+01:00"),
    (dt.time(6, 30), "06:30:00"),
    (dt.timedelta(minutes=1, microseconds=500_000), 60.5),
    (PurePosixPath("/data/x"), "/data/x"),
    (Colour.RED, "red"),
    (Colour.NUMBER, 0.5),
    (Load(3, uuid.UUID(int=2)), {"rows": 3, "by": "00000000-0000-0000-0000-000000000002"}),
    ({3, 1, 2}, [1, 2, 3]),
    ((1, frozenset({"a"})), [1, ["a"]]),
    ({"a": 1}.keys(), ["a"]),
    (range(3), [0, 1, 2]),
    (MappingProxyType({"a": {"b": Decimal(2)}}), {"a": {"b": 2}}),
    (
        {1: "a", "1": "b", None: 2, False: 3, Colour.RED: 4},
        {"1": "a", "1_": "b", "null": 2, "false": 3, "red": 4},
    ),
    ({dt.date(2026, 1, 2): 1, (1, 2): 2}, {"2026-01-02": 1, "(1, 2)": 2}),
    (ArrayScalar("i", 7), 7),
    (ArrayScalar("f", 0.5), 0.5),
    (ArrayScalar("M", 10**18, "2026-11-22T06:00:00"), "2026-11-22T06:00:00"),
    (ArrayScalar("M", None, "NaT"), None),
    (ArrayScalar("m", dt.timedelta(seconds=90)), 90),
    (ArrayScalar("m", None), None),
    (NaTType(), None),
]
KEPT_AS_TEXT = [
    (math.nan, "NaN"),
    (-math.inf, "-Infinity"),
    (Decimal("NaN"), "NaN"),
    (Decimal("Infinity"), "Infinity"),
    (Decimal("1E+5000"), "1E+5000"),
    (10**5000, "<int>"),
    (1e308, "1E+308"),
    (1 + 2j, "(1+2j)"),
    (b"r\xc3\xb6ws", "röws"),
    (b"\xff\x00", "ff00"),
    (bytearray(b"abc"), "abc"),
    ("a\x00b", "a\ufffdb"),
    ("half \ud83d", "half ?"),
    (ValueError("postgresql://me:s3cret@there/db"), "postgresql://me:***@there/db"),
    (Hostile(), "<Hostile>"),
]


@pytest.fixture
def record(runner, config, clock):
    clock.set(NOON)
    return runner.store_new_and_pass_valid_record(config("orders")).record


def kept(runner):
    return runner.pipeline_records("orders", limit=1)[0]["last_detail"]


@pytest.mark.parametrize(("value", "expected"), KEPT, ids=lambda value: type(value).__name__)
def test_what_json_can_say_is_kept_exactly(value, expected, caplog):
    text = detail_json({"value": value, "nested": [{"value": value}]})

    found = json.loads(text, parse_float=Decimal if isinstance(expected, Decimal) else None)
    assert found == {"value": expected, "nested": [{"value": expected}]}
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("value", "expected"), KEPT_AS_TEXT, ids=lambda value: type(value).__name__
)
def test_what_json_cannot_say_is_kept_as_text_with_a_warning(value, expected, caplog):
    assert json.loads(detail_json({"value": value})) == {"value": expected}
    (line,) = caplog.messages
    assert line.startswith('event=detail_altered argument=detail values="detail.value (')


def test_any_such_detail_completes_its_record(runner, record):
    work = {str(number): value for number, (value, _) in enumerate(KEPT + KEPT_AS_TEXT)}
    circle: dict[str, object] = {}
    circle["self"] = [circle]
    work["circle"] = circle

    runner.complete_record("orders", record["claim_token"], work)

    assert runner.pipeline_records("orders", limit=1)[0]["status"] == "COMPLETED"
    assert kept(runner)["1"] is True
    assert kept(runner)["circle"] == {"self": ["<dict>"]}


@pytest.mark.parametrize("detail", [[1, Decimal(2)], "text", 0, Hostile(), {1, 2}])
def test_a_detail_that_is_no_mapping_is_kept_under_its_name(runner, record, detail):
    complete_record(record, detail, ledger=runner)

    assert list(kept(runner)) == ["detail"]


@pytest.mark.parametrize("detail", [None, {}])
def test_no_detail_is_an_empty_one(runner, record, detail):
    complete_record(record, detail, ledger=runner)

    assert kept(runner) == {}


def test_counts_take_any_detail_as_well(runner, record):
    observe_record(record, "source", 5, {"sum": Decimal("1.10"), "at": math.nan}, ledger=runner)

    (seen,) = runner.record_observations("orders")
    assert seen["detail"] == {"sum": 1.1, "at": "NaN"}


def nested(levels):
    value: object = "end"
    for _ in range(levels):
        value = [value]
    return value


def bushy(levels):
    value: object = "leaf"
    for _ in range(levels):
        value = {"a": value, "b": value}
    return value


@pytest.mark.parametrize(
    "detail",
    [
        {"text": "x" * 10_000_000, "rows": 3},
        {"texts": ["ä" * 1000] * 1000, "rows": 3},
        {"many": list(range(100_000)), "rows": 3},
        {"rows": 3, **{f"k{n}": "v" * 100 for n in range(10_000)}},
        {"deep": nested(5000), "rows": 3},
        {"bushy": bushy(40), "rows": 3},
        {"range": range(10**12), "rows": 3},
        {"key": {"k" * 1_000_000: 1}, "rows": 3},
        {"floats": [1e290] * 10_000, "rows": 3},
    ],
    ids=lambda detail: next(iter(detail)),
)
def test_what_is_too_large_is_cut_and_the_rest_kept(runner, record, detail, caplog):
    runner.complete_record("orders", record["claim_token"], detail)

    (size,) = runner._calls.one_row(
        "size",
        "select octet_length(last_detail::text) from record_ledger.pipeline_records "
        "where status = 'COMPLETED'",
        (),
    )
    assert 0 < size <= MOST_BYTES
    assert kept(runner)["rows"] == 3 or "entries_left_out" in kept(runner)
    assert "event=detail_altered" in caplog.text


def test_a_value_that_is_left_out_is_named_and_no_entry_is_said_to_be_missing(
    runner, record, caplog
):
    runner.complete_record("orders", record["claim_token"], {"ids": list(range(20_000)), "rows": 3})

    assert kept(runner) == {"ids": "... (128,890 bytes)", "rows": 3}
    assert "detail.ids (128,890 bytes left out)" in caplog.text
    assert "entries left out" not in caplog.text


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.just(Path("/x"))
    | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=20,
)


@given(values)
def test_every_detail_is_a_json_object(value):
    found = json.loads(detail_json(value), parse_constant=pytest.fail)

    assert isinstance(found, dict)


@given(values)
def test_every_detail_can_be_stored(ledger, value):
    text = detail_json({"value": value})

    (stored,) = ledger.execute("select octet_length(%s::jsonb::text)", [text]).fetchone()
    assert stored <= MOST_BYTES


@pytest.mark.parametrize("built", [[{"fields": {"x": {1}}}], {1}, [{"fields": {"x": math.nan}}]])
def test_an_argument_that_json_cannot_carry_is_no_invalid_config(runner, record, built):
    with pytest.raises(InvalidArgument, match=r"^built") as caught:
        runner.store_new_records("orders", built)

    assert "config" not in str(caught.value)
    assert caught.value.sqlstate == "RL005"


@pytest.mark.parametrize("number", [10**5000, -(10**5000)], ids=["huge", "tiny"])
def test_a_number_that_python_does_not_write_is_a_clear_error(runner, record, number):
    with pytest.raises(InvalidArgument, match=r"row_count: <int> is"):
        runner.observe_record("orders", record["window_start_time"], "source", number)
    with pytest.raises(InvalidArgument, match=r"claim_token: <int> is"):
        runner.complete_record("orders", number)


def test_the_shell_keeps_a_detail_that_is_no_number_as_text(command, runner, record):
    named = ["--pipeline", "orders", "--claim-token", record["claim_token"]]

    done = command("complete", *named, "--detail", '{"share": NaN, "rows": 1e400}')

    assert done.code == 0, done.err
    assert kept(runner) == {"share": "NaN", "rows": "Infinity"}
    assert "event=detail_altered" in done.err


@pytest.mark.parametrize("option", ["--detail", "--record"])
def test_json_that_is_nested_too_deeply_is_one_message(command, option, tmp_path):
    (tmp_path / "deep").write_text("[" * 100_000)
    deep = "[" * 100_000 if option == "--detail" else tmp_path / "deep"
    named = [] if option == "--record" else ["--pipeline", "p", "--claim-token", 1]

    done = command("complete", option, deep, *named)

    assert done.code == 1
    assert done.err.startswith(("record-ledger: --detail is nested", f"record-ledger: {tmp_path}"))
    assert "Traceback" not in done.err
