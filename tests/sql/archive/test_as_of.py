"""The ledger as of an instant: what its views showed then is what it tells of then, archived since or not."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.archive.archiving import EVER, WINDOWS, change, eight_hours, finish, hour
from tests.sql.cost.test_plans import pages
from tests.sql.support import (
    ENDINGS,
    MICROSECOND,
    PIPELINE,
    archive,
    audit,
    built,
    complete,
    cycle,
    pass_valid,
    register,
    release,
    rows,
    store,
)

_numbers = count()
COLUMNS = (
    "pipeline_id, target_day, window_start_time, window_end_time, time_interval, status, created_at, updated_at, "
    "fields, generation, attempt, claim_token, run_id, config_version, last_event, last_detail"
)
SHOWN = f"""
    select {COLUMNS} from record_ledger.pipeline_records where pipeline_id = %s
    union all
    select {COLUMNS} from record_ledger.archived_records where pipeline_id = %s
    order by window_start_time
"""
AS_OF = "select * from record_ledger.records_as_of(%s) where pipeline_id = %s order by window_start_time"


def shown(ledger, pipeline_id=PIPELINE):
    return rows(ledger, SHOWN, [pipeline_id, pipeline_id])


def as_of(ledger, instant, pipeline_id=PIPELINE):
    return rows(ledger, AS_OF, [instant, pipeline_id])


# ---------------------------------------------------------------- random histories
CONFIGS = [
    {"fields": {"key_x": "a"}, "check_fields": ["key_x"]},
    {"fields": {"key_x": ""}, "check_fields": ["key_x"]},
    {"fields": {"key_x": "", "key_y": "b"}, "check_fields": []},
    {"fields": {"key_x": "{{ window_start_time }}"}, "check_fields": ["key_x"], "max_attempts": 1},
]
nth = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("cycle"), st.sampled_from(range(len(CONFIGS)))),
    st.tuples(st.just("cycle"), st.sampled_from([0, 0, 2])),
    st.tuples(st.just("pass"), st.sampled_from(["a", "b", None])),
    st.tuples(st.just("end"), st.sampled_from([*ENDINGS, "complete", "complete"]), nth),
    st.tuples(st.just("end"), st.sampled_from([*ENDINGS, "complete", "complete"]), nth),
    st.tuples(st.just("change"), st.just("waive"), nth),
    st.tuples(st.just("change"), st.just("reopen"), nth),
    st.tuples(st.just("archive"), st.integers(1, 3)),
    st.tuples(st.just("advance"), st.sampled_from(["1us", "10m", "2h"])),
)
CHANGED_FROM = {"waive": ["PENDING", "FAILED"], "reopen": ["COMPLETED", "FAILED", "WAIVED"]}


class History:
    """One pipeline with a random history, and what its views showed at the end of each step."""

    def __init__(self, ledger, clock, make_config):
        self.ledger, self.clock, self.make_config = ledger, clock, make_config
        self.name = f"p{next(_numbers)}"
        self.shown = {}
        clock.set(hour(4))
        self.cycle(0)
        self.look()

    def look(self):
        now = self.clock.now()
        self.shown[now] = shown(self.ledger, self.name)
        self.clock.advance(MICROSECOND)

    def cycle(self, chosen):
        config = self.make_config(
            self.name, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(),
            retry_delay="0s", **CONFIGS[chosen],
        )  # fmt: skip
        answer = cycle(self.ledger, config)
        if answer.to_build:
            fields = {**config["default_record"], "key_x": "rendered"}
            del fields["pipeline_id"]
            cycle(self.ledger, config, built=built(answer.to_build, **fields))

    def pass_(self, run_id):
        pass_valid(self.ledger, self.name, run_id)

    def chosen(self, statuses, n):
        found = [row for row in shown(self.ledger, self.name) if row[5] in statuses]
        live = rows(
            self.ledger,
            "select min(window_start_time) from record_ledger.pipeline_records where pipeline_id = %s",
            [self.name],
        )[0][0]
        found = [row for row in found if row[2] >= live]
        return found[n % len(found)] if found else None

    def end(self, how, n):
        if row := self.chosen(["IN_PROGRESS"], n):
            ENDINGS[how](self.ledger, row[11], pipeline_id=self.name)

    def change(self, how, n):
        if row := self.chosen(CHANGED_FROM[how], n):
            change(self.ledger, how, row[2], self.name)

    def archive(self, max_records):
        archive(self.ledger, EVER, max_records, self.name)

    def advance(self, duration):
        self.clock.advance(duration)


def take(ledger, clock, config, taken):
    history = History(ledger, clock, config)
    for name, *arguments in taken:
        getattr(history, {"pass": "pass_"}.get(name, name))(*arguments)
        history.look()
    while archive(ledger, EVER, pipeline_id=history.name):
        pass
    for instant, records in history.shown.items():
        assert as_of(ledger, instant, history.name) == records
    audit(ledger)


@settings(max_examples=6)
@given(taken=st.lists(steps, min_size=20, max_size=50))
def test_it_is_what_the_views_showed_at_the_time(ledger, clock, config, taken):
    take(ledger, clock, config, taken)


@pytest.mark.slow
@settings(max_examples=100)
@given(taken=st.lists(steps, min_size=20, max_size=60))
def test_it_is_what_the_views_showed_at_the_time_in_many_more_lives(ledger, clock, config, taken):
    take(ledger, clock, config, taken)


# ---------------------------------------------------------------- boundaries
def test_nothing_is_there_before_the_first_window_was_stored_and_all_of_it_in_the_future(
    ledger, clock, config
):
    eight_hours(ledger, clock, config)
    finish(ledger, 3)
    archive(ledger, EVER, 2)
    stored = clock.now()
    assert as_of(ledger, stored - MICROSECOND) == as_of(ledger, "-infinity") == []
    assert as_of(ledger, None) == []
    assert as_of(ledger, stored) == as_of(ledger, "infinity") == shown(ledger)
    assert len(as_of(ledger, stored)) == WINDOWS


def test_a_change_is_there_from_its_own_instant_on(ledger, clock, config):
    eight_hours(ledger, clock, config)
    stored = shown(ledger)
    passed = clock.advance("1m")
    token = pass_valid(ledger, PIPELINE, "a").token
    held = shown(ledger)
    completed = clock.advance("1m")
    complete(ledger, token, detail={"rows": 3})
    assert as_of(ledger, passed - MICROSECOND) == stored
    assert as_of(ledger, passed) == as_of(ledger, completed - MICROSECOND) == held
    assert as_of(ledger, completed) == shown(ledger)


def test_archiving_does_not_change_a_record(ledger, clock, config):
    eight_hours(ledger, clock, config)
    finish(ledger, 5)
    before = as_of(ledger, clock.now())
    archived_at = clock.advance("1h")
    archive(ledger, EVER)
    assert as_of(ledger, archived_at) == as_of(ledger, archived_at - MICROSECOND) == before


def test_fields_are_those_of_the_time(ledger, clock, config):
    clock.set(hour(2))
    seen = []
    # Changed, added, taken away, left alone, and all of it back: an event holds only what it changed.
    for fields in ({"a": 1, "b": None}, {"a": 2, "b": None, "c": [1]}, {"a": 2, "c": [1]}, {"a": 2, "c": [1.0]},
                   {"a": {"d": None}, "c": [1]}, {"a": 1, "b": None}):  # fmt: skip
        given = config(
            PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=hour(0).isoformat(),
            check_fields=["a"],
        )  # fmt: skip
        given["default_record"] = {"pipeline_id": PIPELINE, **fields}
        answer = cycle(ledger, given, "a")
        assert answer.record["a"] == fields["a"]
        seen.append((clock.now(), fields, answer))
        clock.advance("1m")
        release(ledger, answer.token)
        clock.advance("1m")
    complete(ledger, cycle(ledger, given, "a").token)
    versions = [1, 2, 3, 3, 4, 5]
    for moved in (0, 1):
        assert archive(ledger, EVER if moved else hour(0)) == moved
        for version, (instant, fields, _) in zip(versions, seen, strict=True):
            row = as_of(ledger, instant)[0]
            assert (row[8], row[13]) == (fields, version)


# ---------------------------------------------------------------- plans
def test_one_pipelines_past_is_looked_up_for_that_one_only(ledger, clock, config):
    names = [f"p{number}" for number in range(40)]
    stored = clock.set(hour(6))
    for name in names:
        register(ledger, config(name, timezone="UTC", x_time_back="0s", granularity="1h",
                                start_at=hour(0).isoformat()))  # fmt: skip
        store(ledger, name)
    clock.advance("1m")
    for name in names:
        for _ in range(4):
            complete(ledger, pass_valid(ledger, name).token, name)
        assert archive(ledger, EVER, 2, name) == 2
    everyone = f"select * from record_ledger.records_as_of('{stored.isoformat()}')"
    one_of_them = f"{everyone} where pipeline_id = 'p7'"
    assert len(rows(ledger, everyone)) == 40 * len(rows(ledger, one_of_them)) == 40 * 6
    assert pages(ledger, one_of_them) < pages(ledger, everyone) / 10
