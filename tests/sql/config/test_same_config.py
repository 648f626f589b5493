"""Configs are compared by meaning: the same one in other words is not a change, and one that returns is named, not repeated."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import (
    PIPELINE,
    backfill,
    complete,
    cycle,
    effects,
    one,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    windows,
    writes_nothing,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
FULL = {
    "x_time_back": "2h", "granularity": "1d", "check_fields": ["key_x"], "max_active_records": 5,
    "depends_on_past": False, "lease": "1h", "max_attempts": 3, "retry_delay": "5m", "backfill_share": 0.5,
    "required_counts": ["source", "target"], "source_retention": "8d", "at_risk_within": "2d",
    "pass_order": "oldest", "recount_ages": ["1h", "1d", "7d"], "reopen_budget": 10,
}  # fmt: skip
SAME = {
    "x_time_back": ["120m", "PT2H", "7200s", " 2 hours "],
    "granularity": ["24h", "P1D", "1D", "86400s"],
    "max_active_records": [5.0],
    "depends_on_past": [None],
    "lease": [None, "60m"],
    "max_attempts": [None, 3.0],
    "retry_delay": [None, "300s", "PT5M"],
    "backfill_share": [0.50, 5e-1],
    "required_counts": [
        {"stages": ["source", "target"]},
        {"stages": ["source", "target"], "tolerance": "0 rows"},
        {"tolerance": "0row", "stages": ["source", "target"]},
        {"tolerance": None, "stages": ["source", "target"]},
    ],
    "source_retention": ["192h", "P8D", "1w 1d"],
    "at_risk_within": [None, "48h"],
    "pass_order": [None],
    "recount_ages": [None, ["7d", "1h", "24h"], ["1h", "60m", "1d", "168h"]],
    "reopen_budget": [None, 10.0],
}
OTHER = {
    "x_time_back": ["2h1us", "-2h", 7200, None],
    "granularity": ["1439m", 86400],
    "check_fields": [None, [], ["key_x", "key_x"], "key_x"],
    "max_active_records": [None, 6, 5.5, "5"],
    "depends_on_past": [True, "false", 0],
    "lease": ["61m", 3600],
    "max_attempts": [4, "3"],
    "retry_delay": ["5m1s"],
    "backfill_share": [None, 0.25, "0.5"],
    "required_counts": [
        None, ["source", "stage"], ["target", "source"], {"stages": ["source", "target"], "tolerance": "1 row"},
        {"stages": ["source", "target"], "tolerance": "0%"}, {"stages": ["source", "target"], "tolerances": "0 rows"},
    ],
    "source_retention": [None, "9d"],
    "at_risk_within": ["1d"],
    "pass_order": ["deadline", "newest"],
    "recount_ages": [[], ["1h", "1d"], ["1h", "1d", "7"]],
    "reopen_budget": [9, "10"],
}  # fmt: skip
STATE = "select config_version, xmin::text, ctid::text, config from record_ledger.pipeline"


@pytest.fixture
def full(ledger, clock, config):
    clock.set(START + timedelta(hours=3))
    given = config(
        PIPELINE, fields={"key_x": "x", "n": 1}, timezone="UTC", start_at="2026-11-21", **FULL
    )
    register(ledger, given)
    return given


@pytest.fixture
def said(ledger):
    """What the server says beside its answers."""
    found = []
    ledger.add_notice_handler(
        lambda notice: found.append((notice.severity, notice.message_primary))
    )
    return found


def test_a_config_in_other_words_is_not_a_change_and_writes_nothing(ledger, full):
    before = rows(ledger, STATE)
    for key, values in SAME.items():
        for value in values:
            given = Jsonb({**full, key: value})
            writes_nothing(ledger, "select record_ledger.register_pipeline(%s)", [given])
            assert rows(ledger, STATE) == before, (key, value)
    everything = {**full, **{key: values[0] for key, values in SAME.items()}}
    for key in [key for key, value in everything.items() if value is None]:
        del everything[key]
    everything["default_record"] = {**full["default_record"], "n": 1.0}
    everything["pipeline_id"] = everything["default_record"].pop("pipeline_id")
    writes_nothing(ledger, "select record_ledger.register_pipeline(%s)", [Jsonb(everything)])
    # The first window notes the zone that it is cut with.
    cycle(ledger, full)
    before = rows(ledger, STATE)
    cycle(ledger, everything)
    cycle(ledger, full)
    assert rows(ledger, STATE) == before
    assert one(ledger, "select count(*) from record_ledger.pipeline_events") == 1


def is_refused(ledger, given, key):
    try:
        register(ledger, given)
    except psycopg.Error as error:
        return (error.sqlstate, key in str(error)) == ("RL001", True)
    return False


def test_a_config_that_means_something_else_is_a_change_or_is_refused(ledger, full):
    for key, values in OTHER.items():
        for value in values:
            before = rows(ledger, STATE)
            given = {**full, key: value}
            if is_refused(ledger, given, key):
                continue
            assert rows(ledger, STATE)[0][0] == before[0][0] + 1, (key, value)
            register(ledger, full)
    for fields in (
        {"key_x": "x"},
        {"key_x": "x", "n": 2},
        {"key_x": "x", "n": "1"},
        {"key_x": "x", "n": True},
    ):
        before = rows(ledger, STATE)
        register(ledger, full | {"default_record": {"pipeline_id": PIPELINE, **fields}})
        assert rows(ledger, STATE)[0][0] == before[0][0] + 1


def test_a_name_is_not_the_same_where_it_contradicts_itself(ledger, full):
    with refused("RL001", "give it once"):
        register(
            ledger,
            full
            | {
                "pipeline_id": PIPELINE,
                "default_record": {"pipeline_id": "x", "key_x": "x", "n": 1},
            },
        )
    with refused("RL001", "pipeline_id"):
        register(
            ledger,
            full
            | {"pipeline_id": PIPELINE, "default_record": {"pipeline_id": 7, "key_x": "x", "n": 1}},
        )


def test_what_is_in_force_keeps_the_words_in_which_it_was_first_given(ledger, full):
    respelt = full | {"x_time_back": "120m", "lease": "60m"}
    register(ledger, respelt)
    register(ledger, respelt | {"max_attempts": 4})
    assert one(ledger, "select config ->> 'lease' from record_ledger.pipeline") == "60m"
    register(ledger, full | {"max_attempts": 4.0})
    assert rows(
        ledger, "select config_version, config ->> 'lease' from record_ledger.pipeline"
    ) == [(2, "60m")]


# ---------------------------------------------------------------- start_at
def test_once_there_are_records_another_start_at_is_not_a_change_and_is_reported(
    ledger, clock, full, said
):
    cycle(ledger, full)
    before = rows(ledger, STATE)
    asked = "select record_ledger.store_new_and_pass_valid_record(%s, null)"
    for n in range(3):
        # Computed: another text in each call.
        given = Jsonb(full | {"start_at": (START - timedelta(days=6, seconds=n)).isoformat()})
        writes_nothing(ledger, "select record_ledger.register_pipeline(%s)", [given])
        writes_nothing(ledger, asked, [given])
    assert rows(ledger, STATE) == before
    notice = (
        "start_at: it has no effect, because pipeline orders has records already; "
        "its first window started at 2026-11-21"
    )
    assert said == [("NOTICE", notice)] * 6
    said.clear()
    # The one that took effect, in any words, and none at all, are no news.
    for same in ("2026-11-21", "2026-11-21T00:00Z", "2026-11-20T19:00-05:00", None):
        register(ledger, full | {"start_at": same})
    assert said == []
    assert rows(ledger, STATE) == before
    # With another change it stays what it was.
    register(ledger, full | {"start_at": "2020-01-01", "lease": "2h"})
    assert len(said) == 1
    assert rows(
        ledger, "select config_version, start_at, config ->> 'start_at' from record_ledger.pipeline"
    ) == [(2, START - timedelta(days=1), "2026-11-21")]
    with refused("RL001", "start_at"):
        register(ledger, full | {"start_at": "yesterday"})


def test_before_there_are_records_another_start_at_is_a_change(ledger, full, said):
    register(ledger, full | {"start_at": "2026-11-20"})
    assert one(ledger, "select config_version from record_ledger.pipelines") == 2
    cycle(ledger, full | {"start_at": "2026-11-20T00:00Z"})
    assert windows(ledger)[0][0] == START - timedelta(days=2)
    assert said == []


def test_a_start_that_cannot_be_taken_back_is_refused(ledger, clock, config):
    clock.set(START)
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at="1900-01-01"
    )
    with refused(
        "RL001", r'start_at: "1900-01-01" means 6\d{7} windows of "1m" until now.*at most 10000000'
    ):
        register(ledger, given)
    with refused("RL001", "start_at"):
        cycle(ledger, given)
    assert not any(snapshot(ledger))
    most = START - timedelta(minutes=10_000_000)
    with refused("RL001", "start_at"):
        register(ledger, given | {"start_at": (most - timedelta(minutes=1)).isoformat()})
    register(ledger, given | {"start_at": most.isoformat()})
    # Registered before, it is what it is: other keys may change.
    register(
        ledger,
        config("days", timezone="UTC", x_time_back="0s", granularity="1d", start_at="1900-01-01"),
    )


def test_once_there_are_records_no_start_is_too_early(ledger, clock, config):
    clock.set(START + timedelta(hours=1))
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at=START.isoformat()
    )
    cycle(ledger, given)
    register(ledger, given | {"start_at": "1900-01-01", "lease": "2h"})
    assert one(ledger, "select config_version from record_ledger.pipelines") == 2


def test_a_backfill_that_would_not_end_is_refused(ledger, clock, config):
    clock.set(START + timedelta(seconds=2))
    register(
        ledger,
        config(
            PIPELINE, timezone="UTC", x_time_back="0s", granularity="1s", start_at=START.isoformat()
        ),
    )
    pass_valid(ledger, PIPELINE)
    ledger.execute("call record_ledger.store_new_records('orders')")
    early = START - timedelta(seconds=10_000_001)
    for call in (lambda: backfill(ledger, early), lambda: effects(ledger, "backfill", early)):
        with refused("RL005", "from_time: 2026-07-29T.* would add 10000001 windows of 1s"):
            call()
    assert len(windows(ledger)) == 2


# ---------------------------------------------------------------- two configs in turn
def test_a_config_that_returns_is_named_by_its_version(ledger, full):
    a, b, c = full, full | {"lease": "2h"}, full | {"lease": "3h"}
    for given in (a, b, a, c, b | {"lease": "120m"}, b):
        register(ledger, given)
    found = rows(
        ledger,
        "select detail from record_ledger.pipeline_events where event = 'reconfigured' order by event_no",
    )
    assert [
        (d["config_version"], d.get("same_config_as_version"), d.get("config", {}).get("lease"))
        for (d,) in found
    ] == [(2, None, "2h"), (3, 1, None), (4, None, "3h"), (5, None, "120m")]


def test_two_deployments_in_turn_are_warned_and_write_little(ledger, clock, full, said):
    cycle(ledger, full)
    for _ in range(10):
        for given in (full | {"lease": "2h"}, full):
            cycle(ledger, given)
            clock.advance("1m")
    ((size,),) = rows(
        ledger,
        "select sum(length(detail::text)) from record_ledger.pipeline_events where event_no > 2",
    )
    assert size < 20 * 80
    warned = [message for severity, message in said if severity == "WARNING"]
    assert warned[0] == (
        "pipeline orders: configs take turns: version 4 is version 2 again, and 2 configs have returned within an hour"
    )
    assert len(warned) == 18
    # An hour later one of them returns, once.
    said.clear()
    clock.advance("1h")
    register(ledger, full | {"lease": "2h"})
    assert said == []


def test_a_zone_is_not_looked_up_again(ledger, clock, config):
    """It reads all zones that the server has: 11 ms and more. One that it does not have shows who looks."""
    unknown = {"timezone": "Nowhere/At_All"}
    utc = config(PIPELINE, timezone="UTC", start_at="2026-11-21T00:00Z")
    register(ledger, utc)
    with refused("RL001", "Nowhere/At_All"):
        register(ledger, utc | unknown)
    ledger.execute("set session_replication_role = replica")
    ledger.execute(
        "update record_ledger.pipeline_event set detail = replace(detail::text, 'UTC', 'Nowhere/At_All')::jsonb"
    )
    ledger.execute("update record_ledger.pipeline set timezone = 'Nowhere/At_All'")
    ledger.execute("reset session_replication_role")
    # The zone in force, and one of an earlier config.
    register(ledger, utc | unknown | {"lease": "2h"})
    register(ledger, utc)
    register(ledger, utc | unknown)
    with refused("RL001", "Nowhere/At_All"):
        register(ledger, config("other", **unknown))


# ---------------------------------------------------------------- units and names
@pytest.mark.parametrize("wrong", ["1M", "1 M", "30M", "1h30M", "1M30s", "1MS", "1Ms", "-1M"])
@pytest.mark.parametrize(
    "key", ["granularity", "x_time_back", "lease", "retry_delay", "source_retention"]
)
def test_an_upper_case_m_is_refused(ledger, config, key, wrong):
    with refused(
        "RL001",
        f'{key}: "{wrong}" is not a valid duration; an upper-case M may mean minutes or months: "1m" is a minute',
    ):
        register(ledger, config(PIPELINE, **{key: wrong}))
    assert one(ledger, "select record_ledger.duration(%s)", [wrong]) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m", 60), ("1Min", 60), ("2MINUTES", 120), ("PT1M", 60), ("1D", 86400), ("1H", 3600), ("90S", 90), ("1W", 604800),
     ("1000ms", 1), ("1000mS", 1), ("1000 Milliseconds", 1)],
)  # fmt: skip
def test_other_units_may_be_in_any_case(ledger, text, seconds):
    assert (
        one(ledger, "select extract(epoch from record_ledger.duration(%s))::int", [text]) == seconds
    )


def test_an_upper_case_m_of_an_earlier_release_goes_on_as_it_was_read(ledger, config, full):
    """0.4.0 read it as minutes, and a pipeline that has it in force is not stopped by an upgrade."""
    given = full | {"lease": "60M"}
    ledger.execute("update record_ledger.pipeline set config = %s", [Jsonb(given)])
    register(ledger, given)
    register(ledger, given | {"lease": "60m"})
    assert one(ledger, "select config_version from record_ledger.pipelines") == 1
    with refused("RL001", "upper-case M"):
        register(ledger, given | {"max_attempts": 4})


@pytest.mark.parametrize(
    "name",
    [" orders", "orders ", "\torders", "orders\n", "\u00a0orders", "orders\u3000", "orders\u200b"],
)
def test_a_name_that_begins_or_ends_with_a_blank_is_refused(ledger, clock, config, name):
    clock.set(START)
    with refused("RL001", "pipeline_id: .* begins or ends with a blank"):
        register(ledger, config(name))
    with refused("RL001", "begins or ends with a blank"):
        cycle(ledger, config(name))
    # One that was registered before continues, with any change.
    register(ledger, config("was"))
    ledger.execute("set session_replication_role = replica")
    ledger.execute("update record_ledger.pipeline set pipeline_id = %s", [name])
    ledger.execute("reset session_replication_role")
    register(ledger, config(name, lease="2h"))
    complete(ledger, cycle(ledger, config(name, lease="3h")).token, name)


def test_a_blank_within_a_name_is_part_of_it(ledger, config):
    assert register(ledger, config("my orders")) == "my orders"


def test_whole_numbers_may_be_written_with_a_point(ledger, config):
    register(ledger, config(PIPELINE, max_active_records=2.0, max_attempts=1.0, reopen_budget=0.0))
    assert rows(
        ledger,
        "select max_active_records, max_attempts, reopen_budget from record_ledger.pipelines",
    ) == [(2, 1, 0)]
    for key in ("max_active_records", "max_attempts", "reopen_budget"):
        with refused("RL001", f"{key}: 1.5 is not a whole number"):
            register(ledger, config(PIPELINE, **{key: 1.5}))
