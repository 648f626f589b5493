"""How late data came, as recounts have measured it, and which x_time_back that asks for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.counts.counting import observe
from tests.sql.support import complete, on_pipeline, one, pass_valid, refused, register, rows, store

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
AGES = [HOUR, 24 * HOUR]


def lateness(ledger, pipeline_id="orders"):
    return rows(
        ledger,
        "select recount_age, window_count, late_window_count, row_count::int, min_lateness, max_lateness, "
        "missed_share::float8, worst_missed_share::float8 "
        "from record_ledger.pipeline_lateness where pipeline_id = %s order by 1",
        [pipeline_id],
    )


def suggest(ledger, max_missed=0, pipeline_id="orders"):
    found = rows(
        ledger,
        "select x_time_back, missed_share::float8, window_count, reason "
        "from record_ledger.suggest_x_time_back(%s, %s::numeric)",
        [pipeline_id, max_missed],
    )
    return found[0]


@pytest.fixture
def measure(ledger, clock, config):
    """Loads one window per entry and counts it again: each is (delay, count, [(age, count), ...])."""

    def history(windows, name="orders", **changes):
        register(
            ledger,
            config(
                name,
                **{
                    "timezone": "UTC", "x_time_back": "2h", "granularity": "1h", "start_at": "2026-11-22",
                    "recount_ages": ["1h", "1d"], **changes,
                },
            ),
        )  # fmt: skip
        steps = []
        for number, (delay, loaded, recounts) in enumerate(windows):
            start = START + number * HOUR
            counted_at = start + 3 * HOUR + delay
            steps.append((counted_at, start, loaded, True))
            steps += [(counted_at + age, start, row_count, False) for age, row_count in recounts]
        for at, start, row_count, is_load in sorted(steps):
            clock.set(at)
            if is_load:
                store(ledger, name)
                answer = pass_valid(ledger, name)
                assert answer.start == start
                observe(ledger, start, "source", row_count, answer.token, pipeline_id=name)
                complete(ledger, answer.token, name)
            else:
                observe(ledger, start, "source", row_count, pipeline_id=name)

    return history


ON_TIME = (0 * HOUR, 100, [(HOUR, 100), (24 * HOUR, 100)])
LATE = (0 * HOUR, 90, [(HOUR, 99), (24 * HOUR + 7 * MINUTE, 100)])


def test_with_nineteen_windows_nothing_is_said_and_with_twenty_it_is(ledger, measure):
    measure([LATE] * 19)
    assert lateness(ledger) == [
        (0 * HOUR, 19, 19, 1900, 3 * HOUR - HOUR, 2 * HOUR, None, None),
        (HOUR, 19, 19, 1900, 3 * HOUR, 3 * HOUR, None, None),
        (24 * HOUR, 19, 0, 1900, 26 * HOUR + 7 * MINUTE, 26 * HOUR + 7 * MINUTE, None, None),
    ]
    assert suggest(ledger) == (
        None, None, 19,
        "19 windows were counted when they became stable and at the last recount age; 20 are needed",
    )  # fmt: skip
    measure([ON_TIME] * 20, "others")
    assert [row[1:3] + row[6:] for row in lateness(ledger, "others")] == [(20, 0, 0.0, 0.0)] * 3
    assert suggest(ledger, pipeline_id="others") == (
        2 * HOUR, 0.0, 20, "0 % of the rows of 20 windows came later than 2h after the window's end",
    )  # fmt: skip


def test_the_share_that_x_time_back_missed_and_what_would_miss_less(ledger, measure):
    measure([ON_TIME] * 15 + [LATE] * 5)
    missed = [row[6:] for row in lateness(ledger)]
    assert missed == [(0.025, 0.1), (0.0025, 0.01), (0.0, 0.0)]
    assert suggest(ledger, 0.025)[:2] == (2 * HOUR, 0.025)
    assert suggest(ledger, 0.0249)[:2] == (3 * HOUR, 0.0025)
    found = suggest(ledger, 0.0024)
    assert (found[0], found[2]) == (None, 20)
    assert found[3] == (
        "0.25 % of the rows of 20 windows came later than the counts of age 1h; no count is later than the "
        "last recount age: add a later one to recount_ages"
    )


def test_only_windows_that_were_counted_when_stable_and_at_the_last_age_count(ledger, measure):
    not_yet = (0 * HOUR, 50, [(HOUR, 100)])
    not_soon = (HOUR, 50, [(HOUR, 100), (24 * HOUR, 100)])
    just_soon = (HOUR - timedelta(microseconds=1), 100, ON_TIME[2])
    measure([ON_TIME] * 19 + [not_yet, not_soon, just_soon])
    assert [row[1] for row in lateness(ledger)] == [20, 20, 20]
    assert lateness(ledger)[0][4:7] == (2 * HOUR, 3 * HOUR - timedelta(microseconds=1), 0.0)


def test_rows_that_go_are_not_late_and_a_window_without_rows_misses_nothing(ledger, measure):
    measure(
        [(0 * HOUR, 100, [(HOUR, 40), (24 * HOUR, 40)]), (0 * HOUR, 0, [(HOUR, 0), (24 * HOUR, 0)])]
        * 10
    )
    assert [row[3] for row in lateness(ledger)] == [400] * 3
    assert [row[6:] for row in lateness(ledger)] == [(0.0, 0.0)] * 3


def test_what_a_later_generation_counts_leaves_the_first_one_as_it_was(ledger, clock, measure):
    measure([LATE] * 20)
    before = lateness(ledger)
    assert one(ledger, "select record_ledger.reopen_changed_records('orders')") == 10
    answer = pass_valid(ledger, "orders")
    observe(ledger, answer.start, "source", 100, answer.token)
    complete(ledger, answer.token)
    clock.advance("9d")
    observe(ledger, answer.start, "source", 150)
    assert lateness(ledger) == before


def test_the_suggestion_is_rounded_up_to_the_minute(ledger, measure):
    measure([(timedelta(seconds=1), 90, [(HOUR, 100), (24 * HOUR, 100)])] * 20)
    assert suggest(ledger)[0] == 3 * HOUR + MINUTE


def test_a_pipeline_without_counts_has_rows_that_say_so_and_a_retired_one_none(ledger, config):
    register(ledger, config("orders"))
    assert [row[1] for row in lateness(ledger)] == [0, 0, 0, 0]
    assert suggest(ledger)[0] is None
    on_pipeline(ledger, "retire")
    assert lateness(ledger) == []


@pytest.mark.parametrize("share", [-0.1, 1.01, None, "NaN"])
def test_a_share_that_is_none_is_refused(ledger, config, share):
    register(ledger, config("orders"))
    with refused("RL005", "max_missed: .* is not a share"):
        suggest(ledger, share)


counts = st.integers(0, 5)
recount = st.tuples(
    st.sampled_from([30 * MINUTE, HOUR, HOUR + MINUTE, 5 * HOUR, 24 * HOUR, 30 * HOUR]), counts
)
window = st.tuples(
    st.sampled_from([0 * HOUR, MINUTE, 59 * MINUTE, HOUR]),
    counts,
    st.lists(recount, max_size=4, unique_by=lambda taken: taken[0]),
)
_names = iter(range(10**6))


@settings(max_examples=12)
@given(
    history=st.lists(window, min_size=20, max_size=24),
    on_time=st.integers(0, 20),
    max_missed=st.sampled_from([0, 0.01, 0.1, 0.5]),
)
def test_the_view_is_what_every_count_says_together(ledger, measure, history, on_time, max_missed):
    history = history + [ON_TIME] * on_time
    name = f"p{next(_names)}"
    measure(history, name)
    drawn = []
    for delay, loaded, recounts in history:
        taken = [(0 * HOUR, loaded), *sorted(recounts)]
        if delay < HOUR and taken[-1][0] >= AGES[-1]:
            drawn.append((delay, taken))
    expected = []
    for age, next_age in zip([0 * HOUR, *AGES], [*AGES, 999 * HOUR], strict=True):
        lates, missed, total, worst = [], 0, 0, Fraction(0)
        for delay, taken in drawn:
            inside = [(at, n) for at, n in taken if age <= at < next_age]
            if inside:
                at, n = inside[0]
                everything = taken[-1][1]
                lates.append(2 * HOUR + delay + at)
                late_rows = max(0, everything - n)
                missed, total = missed + late_rows, total + everything
                worst = max(worst, Fraction(late_rows, everything or 1))
        enough = len(lates) >= 20
        share = Fraction(missed, total or 1)
        expected.append(
            (
                age, len(lates), total, min(lates, default=None), max(lates, default=None),
                float(share) if enough else None, float(worst) if enough else None,
            )
        )  # fmt: skip
    found = [row[:2] + row[3:] for row in lateness(ledger, name)]
    assert [row[:5] for row in found] == [row[:5] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row[5:] == pytest.approx(other[5:])
    answer = None
    for age, number, _, _, latest, share, _ in expected[:-1]:
        if number < 20:
            break
        if share <= max_missed:
            answer = 2 * HOUR if not age else timedelta(minutes=ceil(latest / MINUTE))
            break
    assert suggest(ledger, max_missed, name)[0] == answer
