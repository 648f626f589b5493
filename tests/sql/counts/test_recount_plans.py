"""What late data is asked of the ledger reads few rows, however many are stored and counted."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.sql.cost.test_plans import touched
from tests.sql.support import PIPELINE, one, register, store

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
# Every record is passed and completed 3 minutes after its window's end, with a count of 100 rows at either stage.
COMPLETE_ALL = """
    with passed as (
        update record_ledger.record
        set last_event = 'passed', attempt = 1, claim_token = extract(epoch from window_start_time)::bigint,
            lease_expires_at = 'infinity', updated_at = window_end_time + interval '1 minute'
        where pipeline_id = 'orders' and status = 'PENDING'
        returning pipeline_id, window_start_time, window_end_time, claim_token
    )
    insert into record_ledger.record_observation (
        pipeline_id, window_start_time, observation_no, observed_at, stage, row_count, detail, generation, claim_token
    )
    select pipeline_id, window_start_time, n, window_end_time + interval '2 minutes',
        (array['source', 'target'])[n], 100, '{}', 1, claim_token
    from passed cross join generate_series(1, 2) as n;
    update record_ledger.record
    set last_event = 'completed', lease_expires_at = null, updated_at = window_end_time + interval '3 minutes'
    where pipeline_id = 'orders' and status = 'IN_PROGRESS';
    -- Counted again at every age; in one of a thousand windows a row was late.
    insert into record_ledger.record_observation (
        pipeline_id, window_start_time, observation_no, observed_at, stage, row_count, detail, generation, changed_by
    )
    select r.pipeline_id, r.window_start_time, 2 + a.number,
        r.window_end_time + interval '2 minutes' + a.age, 'source', 100 + l.late, '{}', 1, l.late
    from record_ledger.record as r
    cross join unnest(array[interval '1 hour', '24 hours', '168 hours']) with ordinality as a (age, number)
    cross join lateral (
        select (extract(epoch from r.window_start_time)::bigint / 60 % 1000 = 0)::int as late
    ) as l
    where r.pipeline_id = 'orders';
"""
QUESTIONS = {
    "due": "select * from record_ledger.recount_due(%s)",
    "changed": "select * from record_ledger.changed_records where pipeline_id = %s",
    "lateness": "select * from record_ledger.pipeline_lateness where pipeline_id = %s",
    "sealed": "select record_ledger.is_day_sealed(%s, '2026-11-22')",
    "coverage": "select * from record_ledger.daily_coverage where pipeline_id = %s and local_date = '2026-11-22'",
    "reopen": "select record_ledger.reopen_changed_records(%s)",
}


@pytest.mark.parametrize("analyzed", [False, True])
def test_what_is_asked_reads_no_row_more_when_there_are_many(
    ledger, clock, config, connect, analyzed
):
    register(
        ledger,
        config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at=START.isoformat(), reopen_budget=1),
    )  # fmt: skip
    read = []
    # Not analyzed, a primary key of up to 200 pages costs as little as any other index: of that size it may be read.
    for windows in (2_000, 8_000):
        clock.set(START + timedelta(minutes=windows))
        store(ledger, PIPELINE)
        ledger.execute(COMPLETE_ALL.replace("where r.pipeline_id = 'orders'", ONLY_NEW))
        if analyzed:
            ledger.execute("vacuum analyze record_ledger.record, record_ledger.record_observation")
        # Long after all counts: nothing is due, and one more day's budget is to be spent.
        clock.set(START + timedelta(days=40 if windows == 2_000 else 50))
        session = connect()
        found = {name: touched(session, query, [PIPELINE]) for name, query in QUESTIONS.items()}
        assert len(found["due"][0]) == 0
        assert found["sealed"][0] == [(True,)]
        assert found["reopen"][0] == [(1,)]
        read.append({name: counts[1:] for name, counts in found.items()})
        ledger.execute(
            "select record_ledger.waive_records(%s, '-infinity', 'infinity', 'a test')", [PIPELINE]
        )
    assert one(ledger, "select count(*) from record_ledger.record") == 8_000
    for name, (by_scan, by_index) in read[1].items():
        # Four times as many windows would show; whether an index is read alone is up to vacuum.
        assert by_index <= 1.2 * read[0][name][1] + 200, (name, read)
        assert by_scan == 0, (name, read)


ONLY_NEW = """where r.pipeline_id = 'orders' and not exists (
    select from record_ledger.record_observation as o
    where o.window_start_time = r.window_start_time and o.observation_no > 2
)"""
