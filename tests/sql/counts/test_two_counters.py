"""Two sessions, one of them counting: the second one waits, and no count and no waiver is missed."""

from __future__ import annotations

import pytest

from tests.sql.archive.archiving import EVER, eight_hours, finish, hour
from tests.sql.counts.counting import adopt, count, observe, waive_counts
from tests.sql.support import (
    PIPELINE,
    archive,
    audit,
    complete,
    events,
    fail,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
)

BOTH = {"required_counts": ["source", "target"]}


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config, **BOTH)


@pytest.fixture
def held(ledger, given):
    """A record whose counts agree."""
    held = pass_valid(ledger, PIPELINE, "run")
    count(ledger, held, source=7, target=7)
    return held


@pytest.fixture
def first(connect):
    return connect(autocommit=False)


@pytest.fixture
def beside(connect, in_background):
    """Starts a call beside the test, on a connection of its own, and waits until it is held up."""

    def start(call, *arguments, **options):
        connection = connect()
        started = in_background(connection, lambda: call(connection, *arguments, **options))
        started.wait_until_blocked()
        return started

    return start


def counts(ledger):
    return rows(
        ledger,
        "select row_count, generation, claim_token is not null from record_ledger.record_observations "
        "order by window_start_time, observation_no",
    )


# ---------------------------------------------------------------- observe against complete
def test_a_completion_sees_the_count_that_is_being_recorded(ledger, held, first, beside):
    observe(first, held.start, "target", 6, held.token)
    completing = beside(complete, held.token)
    first.commit()
    assert completing.error().sqlstate == "RL007"
    assert record_of(ledger, held.start)["status"] == "IN_PROGRESS"
    observe(first, held.start, "target", 7, held.token)
    completing = beside(complete, held.token)
    first.commit()
    completing.result()
    audit(ledger)


def test_a_count_that_comes_after_a_completion_is_refused(ledger, held, first, beside):
    complete(first, held.token)
    noting = beside(observe, held.start, "target", 6, held.token)
    first.commit()
    assert noting.error().sqlstate == "RL004"
    assert len(counts(ledger)) == 2
    audit(ledger)


def test_a_completion_that_is_rolled_back_leaves_the_claim_to_count_under(
    ledger, held, first, beside
):
    complete(first, held.token)
    noting = beside(observe, held.start, "target", 6, held.token)
    first.rollback()
    assert noting.result() == 3
    with pytest.raises(Exception, match="target 6"):
        complete(ledger, held.token)


def test_two_counts_of_a_record_are_numbered_one_after_the_other(ledger, held, first, beside):
    observe(first, held.start, "target", 8)
    second = beside(observe, held.start, "target", 9, held.token)
    first.commit()
    assert second.result() == 4
    audit(ledger)


# ---------------------------------------------------------------- observe against expiry
def test_a_count_while_the_lease_is_collected_is_refused(ledger, clock, held, first, beside):
    clock.advance("2h")
    new = pass_valid(first, PIPELINE, "new")
    assert new.start == held.start
    noting = beside(observe, held.start, "target", 9, held.token)
    adopting = beside(adopt, held.token)
    first.commit()
    assert (noting.error().sqlstate, adopting.error().sqlstate) == ("RL004", "RL004")
    assert len(counts(ledger)) == 2
    with pytest.raises(Exception, match="not counted under this claim"):
        complete(ledger, new.token)


def test_a_count_before_the_lease_is_collected_is_not_evidence_after(
    ledger, clock, held, first, beside
):
    clock.advance("2h")
    observe(first, held.start, "target", 8, held.token)
    passing = beside(pass_valid, PIPELINE, "new")
    first.commit()
    new = passing.result()
    assert new.start == held.start
    with pytest.raises(Exception, match="earlier one counted 8"):
        complete(ledger, new.token)
    audit(ledger)


# ---------------------------------------------------------------- waive_counts
def test_a_completion_sees_the_waiver_that_it_waited_for(ledger, held, first, beside):
    count(ledger, held, target=1)
    assert waive_counts(first, held.start)
    completing = beside(complete, held.token)
    first.commit()
    completing.result()
    assert events(ledger, held.start) == ["passed", "counts_waived", "completed"]
    audit(ledger)


def test_a_waiver_that_is_rolled_back_lets_nothing_through(ledger, held, first, beside):
    count(ledger, held, target=1)
    assert waive_counts(first, held.start)
    completing = beside(complete, held.token)
    first.rollback()
    assert completing.error().sqlstate == "RL007"
    assert record_of(ledger, held.start)["counts_waived"] is False


def test_a_waiver_that_comes_after_a_completion_is_refused(ledger, held, first, beside):
    complete(first, held.token)
    waiving = beside(waive_counts, held.start)
    first.commit()
    assert waiving.error().sqlstate == "RL003"
    assert record_of(ledger, held.start)["counts_waived"] is False


def test_of_two_waivers_one_is_new(ledger, held, first, beside):
    assert waive_counts(first, held.start, "one")
    second = beside(waive_counts, held.start, "two")
    first.commit()
    assert second.result() is False
    assert events(ledger, held.start) == ["passed", "counts_waived"]
    audit(ledger)


def test_a_waiver_waits_for_a_failure_and_holds_for_the_next_attempt(ledger, held, first, beside):
    fail(first, held.token)
    waiving = beside(waive_counts, held.start)
    first.commit()
    assert waiving.result() is True
    again = pass_valid(ledger, PIPELINE)
    assert again.start == held.start
    complete(ledger, again.token)
    audit(ledger)


# ---------------------------------------------------------------- reopen, configs, the archive
def test_a_count_that_waited_for_a_reopening_belongs_to_the_new_generation(
    ledger, held, first, beside
):
    complete(ledger, held.token)
    operate(first, "reopen", hour(0), hour(1))
    noting = beside(observe, held.start, "source", 9)
    first.commit()
    noting.result()
    assert counts(ledger)[-1] == (9, 2, False)
    audit(ledger)


def test_a_reopening_waits_for_a_count_of_the_old_generation(ledger, held, first, beside):
    complete(ledger, held.token)
    observe(first, held.start, "source", 9)
    reopening = beside(operate, "reopen", hour(0), hour(1))
    first.commit()
    assert reopening.result() == 1
    assert counts(ledger)[-1] == (9, 1, False)
    audit(ledger)


def test_a_config_that_begins_to_ask_for_counts_meets_the_completion_it_waited_for(
    ledger, clock, config, first, beside
):
    given = eight_hours(ledger, clock, config)
    done, held = pass_valid(ledger, PIPELINE), pass_valid(ledger, PIPELINE)
    complete(first, done.token)
    registering = beside(register, {**given, **BOTH})
    first.commit()
    registering.result()
    assert record_of(ledger, done.start)["status"] == "COMPLETED"
    with pytest.raises(Exception, match="counts do not agree"):
        complete(ledger, held.token)


def test_a_completion_that_waited_for_the_config_asks_for_its_counts(
    ledger, clock, config, first, beside
):
    given = eight_hours(ledger, clock, config)
    held = pass_valid(ledger, PIPELINE)
    register(first, {**given, **BOTH})
    completing = beside(complete, held.token)
    first.commit()
    assert completing.error().sqlstate == "RL007"


def test_no_count_is_left_behind_by_the_archive(ledger, clock, config, first, beside):
    eight_hours(ledger, clock, config)
    finish(ledger, 3)
    observe(first, hour(1), "source", 9)
    archiving = beside(archive, EVER)
    first.commit()
    assert archiving.result() == 3
    assert counts(ledger) == []
    audit(ledger)


def test_a_count_that_waited_for_the_archive_is_refused(ledger, clock, config, first, beside):
    eight_hours(ledger, clock, config)
    finish(ledger, 3)
    archive(first, EVER)
    noting = beside(observe, hour(1), "source", 9)
    first.commit()
    assert "is archived" in noting.error().diag.message_primary
    audit(ledger)


@pytest.mark.parametrize("stage", ["", " ", "x" * 256])
def test_an_invalid_stage_is_not_adopted_as_nothing(ledger, held, stage):
    with refused("RL005", "stage: .* is not a valid stage name"):
        adopt(ledger, held.token, stage)


def test_a_run_that_counts_under_a_claim_on_an_archived_record_hears_that_it_is_lost(
    ledger, clock, config, first, beside
):
    eight_hours(ledger, clock, config)
    held = pass_valid(ledger, PIPELINE)
    complete(ledger, held.token)
    finish(ledger, 1)
    archive(first, EVER)
    noting = beside(observe, held.start, "source", 9, held.token)
    adopting = beside(adopt, held.token)
    first.commit()
    for late in (noting, adopting):
        assert late.error().sqlstate == "RL004"
        assert "the record was completed" in late.error().diag.message_primary
    audit(ledger)
