"""Pause, resume, retire: what goes on meanwhile, and what is kept of it."""

from __future__ import annotations

import pytest

from tests.sql.counts.counting import observe
from tests.sql.counts.test_recounts import START, changed, due, loaded, reopen  # noqa: F401 (a fixture)
from tests.sql.statuses import EVERYTHING, hour, one_of_each
from tests.sql.support import (
    ENDINGS,
    PIPELINE,
    audit,
    backfill,
    cycle,
    effects,
    extend,
    on_pipeline,
    one,
    operate,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    store,
    verdict_of,
)


@pytest.fixture
def given(ledger, clock, config):
    return one_of_each(ledger, clock, config)


def paused(ledger):
    """(is_retired, paused_at, is paused by this user, pause_reason) of the pipeline."""
    (found,) = rows(
        ledger,
        "select is_retired, paused_at, paused_by = session_user, pause_reason from record_ledger.pipelines",
    )
    return found


def events(ledger):
    return rows(
        ledger,
        "select event, detail, event_time, actor = session_user from record_ledger.pipeline_events "
        "where event not in ('registered', 'reconfigured') order by event_no",
    )


def test_a_pause_is_kept_with_who_made_it_when_and_why(ledger, clock, given):
    first = clock.now()
    on_pipeline(ledger, "pause", "the source moves")
    assert paused(ledger) == (False, first, True, "the source moves")
    second = clock.advance("1h")
    on_pipeline(ledger, "pause", "it's \\'; -- still moving")
    assert paused(ledger) == (False, second, True, "it's \\'; -- still moving")
    third = clock.advance("1h")
    assert on_pipeline(ledger, "resume", None) is True
    assert paused(ledger) == (False, None, None, None)
    assert on_pipeline(ledger, "resume", "for nothing") is False
    assert events(ledger) == [
        ("paused", {"reason": "the source moves"}, first, True),
        ("paused", {"reason": "it's \\'; -- still moving"}, second, True),
        ("resumed", {"was_retired": False}, third, True),
    ]
    assert one(ledger, "select updated_at from record_ledger.pipelines") == third


def test_nothing_is_passed_while_paused_and_everything_else_goes_on(ledger, clock, given):
    on_pipeline(ledger, "pause", "the source moves")
    answer = pass_valid(ledger, PIPELINE)
    assert answer.verdict == "PAUSED"
    assert "paused by" in answer.reason and "the source moves" in answer.reason
    assert rows(ledger, "select * from record_ledger.oldest_valid_record") == []
    clock.advance("2h")
    assert cycle(ledger, given).verdict == "PAUSED"
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 7
    assert operate(ledger, "reopen", *EVERYTHING) == 3
    assert backfill(ledger, hour(-1)) == 24
    on_pipeline(ledger, "resume")
    assert pass_valid(ledger, PIPELINE).start == hour(-24)
    audit(ledger)


@pytest.mark.parametrize("verb", ["pause", "retire"])
def test_a_claim_goes_on_and_may_end_in_any_way(ledger, given, verb):
    answers = [pass_valid(ledger, PIPELINE)]
    operate(ledger, "reopen", *EVERYTHING)
    answers += [pass_valid(ledger, PIPELINE) for _ in range(2)]
    on_pipeline(ledger, verb)
    for answer, call in zip(answers, ENDINGS.values(), strict=True):
        extend(ledger, answer.token)
        call(ledger, answer.token)
    audit(ledger)


def test_a_run_gets_back_what_it_holds_while_paused(ledger, given):
    on_pipeline(ledger, "pause")
    answer = pass_valid(ledger, PIPELINE, "held")
    assert (answer.verdict, answer.start) == ("READY", hour(1))


def test_a_retired_pipeline_stores_and_passes_nothing_and_no_status_speaks_of_it(
    ledger, clock, given
):
    on_pipeline(ledger, "retire", "no report reads it")
    assert paused(ledger) == (True, clock.now(), True, "no report reads it")
    before = snapshot(ledger)
    clock.advance("1d")
    assert rows(ledger, "select * from record_ledger.pipeline_progress") == []
    assert rows(ledger, "select * from record_ledger.new_windows(%s)", [PIPELINE]) == []
    assert store(ledger, PIPELINE) == 0
    operate(ledger, "waive", *EVERYTHING)
    answer = cycle(ledger, given)
    assert answer.verdict == "PAUSED"
    assert "retired by" in answer.reason and "no report reads it" in answer.reason
    assert len(snapshot(ledger)[1]) == len(before[1])
    with refused("RL005", "retired"):
        effects(ledger, "backfill", hour(-1))
    # Its records may be tidied up.
    assert operate(ledger, "reopen", *EVERYTHING) == 4
    assert verdict_of(ledger, hour(0))[0] == "PAUSED"
    audit(ledger)


def test_a_retired_pipeline_comes_back_and_catches_up(ledger, clock, given):
    on_pipeline(ledger, "retire", "no report reads it")
    clock.advance("3h")
    assert on_pipeline(ledger, "resume", "a report does") is True
    assert paused(ledger) == (False, None, None, None)
    assert store(ledger, PIPELINE) == 3
    assert events(ledger)[-1][:2] == ("resumed", {"reason": "a report does", "was_retired": True})
    assert one(ledger, "select count(*) from record_ledger.pipeline_progress") == 1
    audit(ledger)


def test_pausing_never_brings_a_retired_pipeline_back(ledger, given):
    on_pipeline(ledger, "pause", "a")
    on_pipeline(ledger, "retire", "b")
    on_pipeline(ledger, "pause", "c")
    assert paused(ledger)[::3] == (True, "c")
    on_pipeline(ledger, "retire", "d")
    assert paused(ledger)[::3] == (True, "d")
    assert [event for event, *_ in events(ledger)] == ["paused", "retired", "paused", "retired"]


def test_a_new_config_leaves_a_pause_as_it_is(ledger, given):
    on_pipeline(ledger, "retire", "no report reads it")
    register(ledger, given | {"lease": "2h"})
    assert paused(ledger)[::3] == (True, "no report reads it")


def test_what_is_refused_changes_nothing(ledger, given):
    before = snapshot(ledger)
    for verb in ("pause", "retire"):
        for reason in (None, "", " \n"):
            with refused("RL005", "reason"):
                on_pipeline(ledger, verb, reason)
    for verb in ("pause", "retire", "resume"):
        with refused("RL002", "ordrs") as caught:
            on_pipeline(ledger, verb, pipeline_id="ordrs")
        assert PIPELINE in caught.value.diag.message_hint
        with refused("RL005", "pipeline_id"):
            on_pipeline(ledger, verb, pipeline_id=None)
    assert snapshot(ledger) == before


def test_of_a_retired_pipeline_nothing_is_due_changed_or_reopened(ledger, clock, loaded):  # noqa: F811
    loaded()
    observe(ledger, START, "source", 103)
    clock.advance("1h")
    on_pipeline(ledger, "retire")
    assert (due(ledger), changed(ledger), reopen(ledger)) == ([], [], 0)
    on_pipeline(ledger, "resume")
    assert (len(due(ledger)), len(changed(ledger)), reopen(ledger)) == (1, 1, 1)
