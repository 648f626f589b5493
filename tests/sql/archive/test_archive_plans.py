"""Plans of archiving: what a call touches depends on what it moves, and a pass touches what it always did.

Counted are rows and pages, never time.
"""

from __future__ import annotations

import pytest

from tests.sql.archive.archiving import EVER
from tests.sql.cost.test_plans import CYCLES, ROWS, SLACK, fill, pages, touched
from tests.sql.support import NOW, PIPELINE, archive, audit, one, register, rows

ARCHIVE = "select record_ledger.archive_records(%s, %s, %s)"
PASS = f"select * from record_ledger.pass_valid_record('{PIPELINE}', null)"
# A record and its two events: each is read to be copied, to be deleted, and by the triggers that compare.
ROWS_PER_RECORD = 20


@pytest.fixture
def given(ledger, clock, config):
    """A pipeline with 6,000 windows of a minute, of which 1,500 are finished."""
    clock.set(NOW)
    given = config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at=NOW)
    register(ledger, given)
    fill(ledger, clock, given, 6_000)
    ledger.execute(CYCLES.format(count=1_500, name="done", ending="complete_record", more=""))
    return given


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_call_touches_what_it_moves_and_little_else(ledger, given, analyzed):
    assert archive(ledger, EVER, 600) == 600
    if analyzed:
        ledger.execute("vacuum analyze")
    # Often enough for every plan to be made and kept.
    for _ in range(7):
        found, by_scan, by_index = touched(ledger, ARCHIVE, [PIPELINE, EVER, 10])
        assert found == [(10,)]
        assert by_scan == 0, f"a table was scanned: {by_scan} rows"
        assert by_index <= ROWS + 10 * ROWS_PER_RECORD, by_index
    foreseen = "select record_count from record_ledger.archivable_records(%s, %s, %s)"
    found, by_scan, by_index = touched(ledger, foreseen, [PIPELINE, EVER, 10])
    assert (found, by_scan, by_index <= ROWS) == ([(10,)], 0, True)
    while archive(ledger, EVER, 400):
        pass
    found, by_scan, by_index = touched(ledger, ARCHIVE, [PIPELINE, EVER, 400])
    assert (found, by_scan, by_index <= ROWS) == ([(0,)], 0, True)
    audit(ledger)


def test_a_pass_touches_as_few_pages_while_and_after_records_are_archived(ledger, connect, given):
    done = f"select * from record_ledger.pass_valid_record('{PIPELINE}', '1-done')"
    before = pages(ledger, PASS), pages(ledger, done)
    analyst = connect(autocommit=False)
    analyst.execute("set transaction isolation level repeatable read")
    assert rows(analyst, "select count(*) from record_ledger.pipeline_records")
    assert archive(ledger, EVER, 700) == 700
    during = pages(ledger, PASS), pages(ledger, done)
    # What the snapshot still sees of those is not stepped over.
    _, by_scan, by_index = touched(ledger, ARCHIVE, [PIPELINE, EVER, 5])
    assert (by_scan, by_index <= ROWS + 5 * ROWS_PER_RECORD) == (0, True), by_index
    analyst.rollback()
    while archive(ledger, EVER):
        pass
    ledger.execute("vacuum analyze")
    after = pages(ledger, PASS), pages(ledger, done)
    for found in (during, after):
        assert all(now <= then + SLACK for now, then in zip(found, before, strict=True)), (before, found)  # fmt: skip
    assert one(ledger, "select count(*) from record_ledger.archived_records") > 1_500
