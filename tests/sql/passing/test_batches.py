"""Several records in one call: each a claim of its own, each bound to its part of the run."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import (
    NOW,
    PIPELINE,
    audit,
    built,
    complete,
    fail,
    one,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    writes_nothing,
)

CALL = "select * from record_ledger.pass_valid_records(%s, %s, %s, %s)"
HOUR = timedelta(hours=1)


@pytest.fixture
def batch(ledger, clock, config):
    clock.set(NOW)
    given = config(
        PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-22"
    )

    def ask(run_id, limit, built=(), **changes):
        parameters = [Jsonb({**given, **changes}), run_id, limit, Jsonb(list(built))]
        with ledger.cursor(row_factory=psycopg.rows.namedtuple_row) as cursor:
            return cursor.execute(CALL, parameters).fetchone()

    ask.config = given
    return ask


def starts(answer):
    return [record["window_start_time"][11:13] for record in answer.records]


def test_a_batch_is_the_oldest_records_in_order_each_with_its_own_claim(ledger, batch):
    answer = batch("run", 3)
    assert (answer.exit_dag, answer.verdict, answer.to_build) == (False, "READY", [])
    assert answer.reason == "3 of at most 3 records are passed"
    assert starts(answer) == ["00", "01", "02"]
    assert [record["run_id"] for record in answer.records] == ["run/1", "run/2", "run/3"]
    tokens = [record["claim_token"] for record in answer.records]
    assert tokens == sorted(set(tokens))
    for token in tokens:
        complete(ledger, token)
    audit(ledger)


def test_a_batch_ends_where_nothing_is_valid_any_more(ledger, batch):
    answer = batch("run", 1000)
    assert starts(answer) == [f"{hour:02}" for hour in range(20)]
    again = batch("other", 5)
    assert (again.exit_dag, again.verdict, again.records) == (True, "LEASED", [])


def test_asked_again_a_batch_is_the_same_records_with_new_tokens(ledger, clock, batch):
    first = batch("run", 3)
    again = batch("run", 3)
    assert starts(again) == starts(first)
    assert again.reason == "3 of at most 3 records are passed again"
    assert [r["attempt"] for r in again.records] == [1, 1, 1]
    with refused("RL004", "newer token"):
        complete(ledger, first.records[1]["claim_token"])
    complete(ledger, again.records[1]["claim_token"])


def test_a_batch_is_drawn_once_and_takes_nothing_later(ledger, clock, batch):
    first = batch("run", 1000)
    assert len(first.records) == 20
    clock.advance(HOUR)
    assert starts(batch("run", 1000)) == starts(first)
    assert starts(batch("next run", 1000)) == ["20"]
    # A smaller limit is a shorter answer, not another batch.
    assert starts(batch("run", 2)) == ["00", "01"]


def test_a_batch_that_is_asked_for_again_while_it_is_drawn_is_the_same(
    ledger, connect, in_background, batch
):
    register(ledger, batch.config)
    first, second = connect(autocommit=False), connect()
    parameters = [Jsonb(batch.config), "run", 1000, Jsonb([])]
    drawn = first.execute(CALL, [*parameters[:2], 3, parameters[3]]).fetchall()
    again = in_background(second, CALL, parameters)
    again.wait_until_blocked()
    first.commit()
    ((exit_dag, _, reason, records, _),) = again.rows()
    assert (exit_dag, reason) == (False, "3 of at most 1000 records are passed again")
    found = [(record["run_id"], record["window_start_time"]) for record in records]
    assert found == [(record["run_id"], record["window_start_time"]) for record in drawn[0][3]]
    audit(ledger)


def test_finished_records_are_left_out_of_a_batch_that_is_asked_again(ledger, batch):
    first = batch("run", 3)
    complete(ledger, first.records[0]["claim_token"])
    fail(ledger, first.records[2]["claim_token"], retry=False)
    assert starts(batch("run", 3)) == ["01"]
    complete(ledger, batch("run", 3).records[0]["claim_token"])
    done = batch("run", 3)
    assert (done.exit_dag, done.verdict, done.records) == (True, "ALREADY_DONE", [])
    # An exit for good: nothing is stored or passed in place of what is done.
    assert pass_valid(ledger, PIPELINE, "run/1").verdict == "ALREADY_DONE"
    audit(ledger)


def test_a_failed_record_of_a_batch_is_tried_again_by_its_own_run_only(ledger, batch):
    first = batch("run", 2)
    fail(ledger, first.records[1]["claim_token"])
    assert starts(batch("other", 2)) == ["02", "03"]
    again = batch("run", 2)
    assert starts(again) == ["00", "01"]
    assert [r["attempt"] for r in again.records] == [1, 2]


def test_a_batch_keeps_to_the_capacity_and_to_the_past(ledger, batch):
    assert starts(batch("run", 10, max_active_records=4)) == ["00", "01", "02", "03"]
    other = {
        **batch.config,
        "default_record": {**batch.config["default_record"], "pipeline_id": "past"},
    }
    assert starts(batch("run", 10, **{**other, "depends_on_past": True})) == ["00"]


def test_a_batch_with_templates_asks_for_what_must_be_built(ledger, batch):
    fields = {"pipeline_id": PIPELINE, "path": "{{ target_day }}"}
    asked = batch("run", 2, default_record=fields)
    assert (asked.exit_dag, asked.verdict, asked.records) == (True, "INCOMPLETE", [])
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 0
    answer = batch("run", 2, built(asked.to_build, path="x"), default_record=fields)
    assert starts(answer) == ["00", "01"]
    assert [r["path"] for r in answer.records] == ["x", "x"]


def test_without_a_run_id_nothing_is_bound(ledger, batch):
    assert starts(batch(None, 2)) == ["00", "01"]
    assert starts(batch(None, 2)) == ["02", "03"]


def test_a_batch_that_exits_writes_nothing(ledger, batch):
    batch("run", 1000)
    parameters = [Jsonb(batch.config), "other", 3, Jsonb([])]
    assert writes_nothing(ledger, CALL, parameters)[0][1] == "LEASED"


@pytest.mark.parametrize("limit", [0, -1, 10_001, None])
def test_an_impossible_limit_is_one_clear_error(ledger, batch, limit):
    before = snapshot(ledger)
    with refused("RL005", "record_limit"):
        batch("run", limit)
    assert snapshot(ledger) == before


@pytest.mark.parametrize("run_id", ["", "  ", "x" * 1025])
def test_an_impossible_run_id_is_refused_as_everywhere(ledger, batch, run_id):
    with refused("RL005", "run_id"):
        batch(run_id, 2)
    assert rows(ledger, "select 1 from record_ledger.pipelines") == []
