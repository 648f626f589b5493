"""Plans: what a call touches depends neither on the size of the ledger nor on what else is open.

Counted are rows and pages, never time.
"""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import NOW, PIPELINE, complete, cycle, one, pass_valid, register, rows, store

pytestmark = pytest.mark.slow

# Rows that a call may read in a ledger of any size: a few per look-up. A pass here has more claims
# to take back than it takes in one call, and reads ten of them three times.
ROWS = 100
# Pages, with room for a deeper index.
SLACK = 30

TOUCHED = """
    select coalesce(sum(seq_tup_read), 0)::int, coalesce(sum(idx_tup_fetch), 0)::int
    from pg_stat_xact_user_tables where schemaname = 'record_ledger' and relname <> 'pipeline'
"""


def touched(session, query, parameters):
    """The rows read by a statement in the ledger's tables: (by sequential scans, through indexes)."""
    with session.transaction():
        before = rows(session, TOUCHED)[0]
        found = session.execute(query, parameters).fetchall()
        after = rows(session, TOUCHED)[0]
    return found, after[0] - before[0], after[1] - before[1]


def pages(session, query):
    """The pages that a statement touches, asked three times: plans and caches are warm. Ends what it passed."""
    for _ in range(3):
        plan = one(session, f"explain (analyze, buffers, timing off, format json) {query}")[0][
            "Plan"
        ]
        session.execute(
            "select record_ledger.complete_record(pipeline_id, claim_token) "
            "from record_ledger.pipeline_records where status = 'IN_PROGRESS'"
        )
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.fixture
def given(config):
    return config(PIPELINE, timezone="UTC", x_time_back="0s", granularity="1m", start_at=NOW)


CALLS = {
    "pass": ("select record from record_ledger.pass_valid_record(%s, '{run}')", [PIPELINE]),
    "pass again": ("select record from record_ledger.pass_valid_record(%s, '{run}')", [PIPELINE]),
    "pass without run": ("select record from record_ledger.pass_valid_record(%s, null)", [PIPELINE]),
    "extend": ("select record_ledger.extend_lease(%s, {last})", [PIPELINE]),
    "fail": ("select record_ledger.fail_record(%s, {last}, 'x')", [PIPELINE]),
    "pass after a failure": ("select record from record_ledger.pass_valid_record(%s, null)", [PIPELINE]),
    "release": ("select record_ledger.release_record(%s, {last})", [PIPELINE]),
    "pass after a release": ("select record from record_ledger.pass_valid_record(%s, null)", [PIPELINE]),
    "pass by completing": ("select record from record_ledger.complete_and_pass(%s, {last}, null)", [PIPELINE]),
    "complete several": ("select record_ledger.complete_records(%s, array[{last}, 7])", [PIPELINE]),
    "complete several again": ("select record_ledger.complete_records(%s, array[{last}, 7])", [PIPELINE]),
    "pass once more": ("select record from record_ledger.pass_valid_record(%s, null)", [PIPELINE]),
    "complete": ("select record_ledger.complete_record(%s, {last})", [PIPELINE]),
    "complete again": ("select record_ledger.complete_record(%s, {last})", [PIPELINE]),
    "ask for what is done": ("select record from record_ledger.pass_valid_record(%s, '{run}')", [PIPELINE]),
    "new windows": ("select * from record_ledger.new_windows(%s, max_windows => 0)", [PIPELINE]),
    "oldest pending": ("select record_ledger.oldest_pending_record(%s)", [PIPELINE]),
    "oldest valid": ("select * from record_ledger.oldest_valid_record where pipeline_id = %s", [PIPELINE]),
}  # fmt: skip


def all_calls(session, given, run):
    """Calls every routine once in a session; gives the rows that each of them read."""
    found, last = {}, None
    for name, (query, parameters) in CALLS.items():
        call = query.format(last=last, run=run)
        answer, by_scan, by_index = touched(session, call, parameters)
        found[name] = (by_scan, by_index)
        if name.startswith("pass") and answer[0][0] is not None:
            last = answer[0][0]["claim_token"]
    cycle_query = "select record from record_ledger.store_new_and_pass_valid_record(%s, %s)"
    for name in (f"first of {run}", f"second of {run}"):
        _, *read = touched(session, cycle_query, [Jsonb(given), name])
        found[name] = tuple(read)
    return found


def fill(connection, clock, given, count):
    """Stores that many windows more, in another session than the one that is looked at."""
    clock.advance(f"{count}m")
    while store(connection, given["default_record"]["pipeline_id"]):
        pass


CYCLES = """
    do $$
    declare
        v_pass record;
    begin
        for n in 1 .. {count} loop
            select * into v_pass from record_ledger.pass_valid_record('orders', n || '-{name}');
            perform record_ledger.{ending}('orders', (v_pass.record ->> 'claim_token')::bigint{more});
            commit;
        end loop;
    end
    $$
"""


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_session_that_planned_on_an_empty_ledger_stays_with_the_indexes(
    ledger, connect, clock, given, analyzed
):
    clock.set(NOW)
    session = connect()
    register(session, given)
    clock.advance("60m")
    store(session, PIPELINE)
    # Often enough for every plan to be made and kept.
    for number in range(7):
        all_calls(session, given, f"run {number}")
        clock.advance("5m")
    if analyzed:
        ledger.execute("vacuum analyze")
    fill(ledger, clock, given, 20_000)
    other = dict(given, default_record={"pipeline_id": "other"})
    register(ledger, other)
    store(ledger, "other")

    for name, (by_scan, by_index) in all_calls(session, given, "last").items():
        assert by_scan == 0, f"{name} scanned a table: {by_scan} rows"
        assert by_index <= ROWS, f"{name} read {by_index} rows"


def test_storing_checks_its_foreign_key_through_the_index(ledger, connect, clock, given):
    clock.set(NOW)
    session = connect()
    cycle(session, given)
    for _ in range(7):
        clock.advance("1m")
        cycle(session, given)
    fill(ledger, clock, given, 20_000)
    clock.advance("1m")
    query = "select record from record_ledger.store_new_and_pass_valid_record(%s, null)"
    found, by_scan, by_index = touched(session, query, [Jsonb(given)])
    assert found[0][0] is not None
    assert (by_scan, by_index <= ROWS) == (0, True), (by_scan, by_index)
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") > 20_000


def test_a_pass_touches_as_few_pages_with_any_backlog(ledger, connect, clock, given):
    clock.set(NOW)
    register(ledger, given)
    clock.advance("50m")
    store(ledger, PIPELINE)
    call = f"select * from record_ledger.pass_valid_record('{PIPELINE}', null)"
    exiting = f"select * from record_ledger.pass_valid_record('{PIPELINE}', 'done')"
    complete(ledger, pass_valid(ledger, PIPELINE, "done").token)
    few = pages(ledger, call), pages(ledger, exiting)
    fill(ledger, clock, given, 30_000)
    many = pages(ledger, call), pages(ledger, exiting)
    assert many[0] <= few[0] + SLACK and many[1] <= few[1] + SLACK, (few, many)


@pytest.mark.parametrize(
    ("more", "walked"),
    # The index separates those in backoff; the plan reads it twice.
    [pytest.param(", 'x', false", 0, id="for good"), pytest.param(", 'x'", 200, id="in backoff")],
)
def test_a_pass_touches_as_few_pages_with_thousands_of_records_that_failed(
    ledger, connect, clock, given, more, walked
):
    clock.set(NOW)
    register(ledger, given)
    fill(ledger, clock, given, 3_050)
    call = f"select * from record_ledger.pass_valid_record('{PIPELINE}', null)"
    few = pages(ledger, call)
    # With an analyst's snapshot held open, no entry that was left behind in the index goes away.
    analyst = connect(autocommit=False)
    analyst.execute("set transaction isolation level repeatable read")
    assert rows(analyst, "select * from record_ledger.pipelines")
    ledger.execute(CYCLES.format(count=3_000, name="failing", ending="fail_record", more=more))
    many = pages(ledger, call)
    assert many <= few + SLACK + walked, (few, many)
    while pass_valid(ledger, PIPELINE).record is not None:
        pass
    exiting = pages(ledger, call)
    assert exiting <= few + SLACK + walked, (few, exiting)


def test_a_pass_touches_as_few_pages_with_thousands_of_incomplete_records(ledger, clock, given):
    clock.set(NOW)
    given["default_record"]["key_x"] = ""
    register(ledger, given)
    clock.advance("10m")
    store(ledger, PIPELINE)
    call = f"select * from record_ledger.pass_valid_record('{PIPELINE}', null)"
    few = pages(ledger, call)
    register(ledger, given | {"check_fields": ["key_x"]})
    fill(ledger, clock, given, 9_000)
    register(ledger, given | {"check_fields": ["key_x"], "lease": "2h"})
    clock.advance("1m")
    answer = cycle(ledger, given | {"check_fields": ["key_x"], "lease": "2h"})
    assert answer.verdict == "INCOMPLETE"
    many = pages(ledger, call)
    assert many <= few + SLACK, (few, many)


def test_a_snapshot_that_is_held_open_makes_no_pass_dearer(ledger, connect, clock, given):
    clock.set(NOW)
    register(ledger, given)
    fill(ledger, clock, given, 2_200)
    ledger.execute(CYCLES.format(count=20, name="before", ending="complete_record", more=""))
    call = f"select * from record_ledger.pass_valid_record('{PIPELINE}', null)"
    done = f"select * from record_ledger.pass_valid_record('{PIPELINE}', '1-before')"
    valid = f"select * from record_ledger.oldest_valid_record where pipeline_id = '{PIPELINE}'"
    few = [pages(ledger, query) for query in (call, done, valid)]
    analyst = connect(autocommit=False)
    analyst.execute("set transaction isolation level repeatable read")
    assert rows(analyst, "select * from record_ledger.pipelines")

    ledger.execute(CYCLES.format(count=2_000, name="during", ending="complete_record", more=""))
    ledger.execute("vacuum record_ledger.record")
    many = [pages(ledger, query) for query in (call, done, valid)]

    assert all(after <= before + SLACK for before, after in zip(few, many, strict=True)), (
        few,
        many,
    )
    analyst.rollback()


def test_one_pipelines_oldest_valid_record_is_looked_up_for_that_one_only(ledger, clock, config):
    clock.set(NOW)
    for number in range(60):
        register(ledger, config(f"p{number}", timezone="UTC", x_time_back="0s", granularity="1h"))
        store(ledger, f"p{number}")
    one_of_them = "select * from record_ledger.oldest_valid_record where pipeline_id = 'p7'"
    everyone = "select * from record_ledger.oldest_valid_record"
    assert len(rows(ledger, everyone)) == 60
    assert pages(ledger, one_of_them) < pages(ledger, everyone) / 10
