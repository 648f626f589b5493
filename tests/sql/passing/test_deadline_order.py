"""The law of pass_order 'deadline', over random histories of one pipeline: what is at risk goes before any turn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.passing.test_order import SHARES, History, check_turns, histories
from tests.sql.support import audit, one, rows
from tests.support.parts import in_parts

AT_RISK = """
    select window_start_time from record_ledger.records_at_risk
    where pipeline_id = %s and is_at_risk
"""
LOST = """
    select count(*) from record_ledger.pipeline_records
    where pipeline_id = %s and status in ('PENDING', 'FAILED')
        and window_end_time + interval '11 hours' <= record_ledger.clock()
"""


class HistoryAtRisk(History):
    """A history whose passes are looked at for what was at risk before them, and what is lost after them."""

    def __init__(self, *arguments, **changes):
        super().__init__(*arguments, source_retention="11h", **changes)
        self.at_risk = []

    def pass_(self):
        self.at_risk.append({start for (start,) in rows(self.ledger, AT_RISK, [self.name])})
        super().pass_()
        assert one(self.ledger, LOST, [self.name]) == 0


@in_parts(2)
@settings(max_examples=15)
@given(
    taken=histories,
    share=st.sampled_from(SHARES),
    at_risk_within=st.sampled_from(["0s", "2h", "5h", "11h"]),
)
def test_what_is_at_risk_goes_first_and_all_else_takes_turns(
    ledger, clock, config, part, taken, share, at_risk_within
):
    history = HistoryAtRisk(
        ledger, clock, config, pass_order="deadline", backfill_share=share, at_risk_within=at_risk_within
    )  # fmt: skip
    history.take(taken)
    turns = []
    for (candidates, answer), at_risk in zip(history.passes, history.at_risk, strict=True):
        if not candidates:
            assert answer.record is None
            continue
        starts = [start for start, _ in candidates]
        urgent = [start for start in starts if start in at_risk]
        if urgent:
            # Windows end in the order in which they start: the oldest of all is the one whose time is up first.
            assert answer.start == starts[0] == urgent[0]
            continue
        kind = dict(candidates)[answer.start]
        assert answer.start == next(
            start for start, historical in candidates if share == 0 or historical == kind
        )
        if len({historical for _, historical in candidates}) == 2:
            turns.append(kind)
    check_turns(turns, share)
    audit(ledger)


@pytest.mark.parametrize(
    ("pass_order", "expected"),
    [
        ("oldest", ["22 00", "21 19", "22 01", "21 20", "22 02", "21 21"]),
        ("deadline", ["21 19", "21 20", "21 21", "21 22", "22 00", "21 23"]),
    ],
)  # fmt: skip
def test_only_an_order_by_deadline_lets_what_is_at_risk_go_before_its_turn(
    ledger, clock, config, pass_order, expected
):
    history = HistoryAtRisk(
        ledger, clock, config, pass_order=pass_order, backfill_share=0.5, at_risk_within="4h"
    )  # fmt: skip
    history.backfill_()
    # 06:00: the windows until 19:00 are lost, and those until 23:00 at risk.
    history.take([("pass",)] * 6)
    assert [answer.start.strftime("%d %H") for _, answer in history.passes] == expected
