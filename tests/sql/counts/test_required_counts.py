"""Counts as a condition: a record is completed when they agree or an operator waived them, in every way to complete."""

from __future__ import annotations

import pytest

from tests.sql.archive.archiving import eight_hours, hour
from tests.sql.counts.counting import BOTH, adopt, count, observe, problem, requires
from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    events,
    fail,
    one,
    operate,
    pass_valid,
    record_of,
    refused,
    register,
    release,
    snapshot,
)


@pytest.fixture
def given(ledger, clock, config):
    return eight_hours(ledger, clock, config, required_counts=BOTH)


@pytest.fixture
def orders(given):
    return PIPELINE


# ---------------------------------------------------------------- what is refused, and until when
def test_a_record_is_completed_only_when_its_counts_agree(ledger, orders):
    held = pass_valid(ledger, orders, "run")
    before = snapshot(ledger)
    with refused(
        "RL007",
        r"counts do not agree: window 2026-11-22T00:00:00\+00:00 of pipeline orders is not completed: "
        "source not counted under this claim, target not counted under this claim$",
    ) as caught:
        complete(ledger, held.token)
    assert "waive_counts" in caught.value.diag.message_hint
    assert snapshot(ledger) == before
    count(ledger, held, source=1000)
    with refused("RL007", "source 1000, target not counted under this claim$"):
        complete(ledger, held.token)
    count(ledger, held, target=990)
    with refused(
        "RL007",
        r"source 1000, target 990 \(off by 10, tolerance 0 rows\)$",
    ):
        complete(ledger, held.token)
    assert record_of(ledger, held.start)["status"] == "IN_PROGRESS"
    count(ledger, held, target=1000)
    complete(ledger, held.token)
    complete(ledger, held.token)
    assert events(ledger, held.start) == ["passed", "completed"]
    audit(ledger)


def test_a_completion_may_be_repeated_after_later_counts_and_requirements(ledger, given, orders):
    held = pass_valid(ledger, orders)
    count(ledger, held, source=7, target=7)
    complete(ledger, held.token)
    observe(ledger, held.start, "target", 3)
    requires(ledger, given, ["source", "third"])
    complete(ledger, held.token)
    operate(ledger, "reopen", hour(0), hour(1))
    complete(ledger, held.token)


@pytest.mark.parametrize("ending", [fail, release])
def test_a_record_whose_counts_do_not_agree_can_be_given_back(ledger, orders, ending):
    held = pass_valid(ledger, orders)
    ending(ledger, held.token)
    assert record_of(ledger, held.start)["status"] == "PENDING"


def test_neither_an_expired_claim_nor_one_without_a_token_gives_evidence(ledger, clock, orders):
    first = pass_valid(ledger, orders)
    count(ledger, first, source=7, target=7)
    clock.advance("2h")
    second = pass_valid(ledger, orders)
    assert second.start == first.start
    for stage in BOTH["stages"]:
        observe(ledger, first.start, stage, 7)
        with refused("RL004"):
            observe(ledger, first.start, stage, 7, first.token)
    with refused(
        "RL007", r"source not counted under this claim \(an earlier one counted 7, which adopt_"
    ):
        complete(ledger, second.token)
    assert adopt(ledger, second.token, "source") == 1
    count(ledger, second, target=7)
    complete(ledger, second.token)
    audit(ledger)


def test_the_same_run_with_a_new_token_adopts_what_it_counted(ledger, orders):
    first = pass_valid(ledger, orders, "run")
    count(ledger, first, source=7, target=7)
    again = pass_valid(ledger, orders, "run")
    assert again.token != first.token
    with refused("RL007"):
        complete(ledger, again.token)
    assert adopt(ledger, again.token) == 2
    complete(ledger, again.token)


def test_a_new_generation_needs_counts_of_its_own(ledger, orders):
    first = pass_valid(ledger, orders)
    count(ledger, first, source=7, target=7)
    complete(ledger, first.token)
    operate(ledger, "reopen", hour(0), hour(1))
    second = pass_valid(ledger, orders)
    with refused("RL007", "target not counted under this claim$"):
        complete(ledger, second.token)


# ---------------------------------------------------------------- tolerance
@pytest.mark.parametrize(
    ("tolerance", "source", "least", "most"),
    [
        (None, 1000, 1000, 1000),
        ("0 rows", 0, 0, 0),
        ("1 row", 5, 4, 6),
        ("5 rows", 1000, 995, 1005),
        ("5rows", 3, 0, 8),
        ("0.1%", 1000, 999, 1001),
        ("0.1%", 999, 999, 999),
        ("0.15 %", 10000, 9985, 10015),
        ("100%", 7, 0, 14),
        ("50%", 0, 0, 0),
        ("0.000000001%", 10**11, 10**11 - 1, 10**11 + 1),
        ("999999999999999999 rows", 0, 0, 999999999999999999),
    ],
)
def test_a_tolerance_exactly_met_is_met_and_one_more_is_not(
    ledger, given, orders, tolerance, source, least, most
):
    requires(
        ledger, given, {"stages": ["source", "target"], "tolerance": tolerance} if tolerance else ["source", "target"]
    )  # fmt: skip
    held = pass_valid(ledger, orders)
    count(ledger, held, source=source)
    for outside in {least - 1, most + 1} - {-1}:
        count(ledger, held, target=outside)
        with refused(
            "RL007",
            rf"source {source}, target {outside} \(off by \d+, tolerance {tolerance or '0 rows'}",
        ):
            complete(ledger, held.token)
    for inside in (least, most):
        count(ledger, held, target=inside)
        assert problem(ledger) is None
    complete(ledger, held.token)


def test_a_percentage_says_how_many_rows_it_is(ledger, given, orders):
    requires(ledger, given, {**BOTH, "tolerance": "0.1%"})
    held = pass_valid(ledger, orders)
    count(ledger, held, source=1500, target=1498)
    with refused("RL007", r"source 1500, target 1498 \(off by 2, tolerance 0.1% = 1.5 rows\)$"):
        complete(ledger, held.token)


def test_every_stage_is_compared_with_the_first_one_and_others_are_not_asked_for(
    ledger, given, orders
):
    requires(ledger, given, {"stages": ["source", "stage", "target"], "tolerance": "5 rows"})
    held = pass_valid(ledger, orders)
    count(ledger, held, source=100, stage=95, target=106, elsewhere=0)
    with refused("RL007", r"source 100, stage 95, target 106 \(off by 6, tolerance 5 rows\)$"):
        complete(ledger, held.token)
    count(ledger, held, target=105)
    complete(ledger, held.token)


# ---------------------------------------------------------------- which config counts
def test_the_config_in_force_at_completion_decides(ledger, given, orders):
    held = pass_valid(ledger, orders)
    count(ledger, held, source=7, target=8)
    with refused("RL007"):
        complete(ledger, held.token)
    requires(ledger, given, {**BOTH, "tolerance": "1 row"})
    complete(ledger, held.token)
    held = pass_valid(ledger, orders)
    requires(ledger, given, None)
    complete(ledger, held.token)
    held = pass_valid(ledger, orders)
    # Passed while nothing was asked for.
    requires(ledger, given, ["source", "target"])
    with refused("RL007"):
        complete(ledger, held.token)


# ---------------------------------------------------------------- every way to complete
@pytest.mark.parametrize("needs_counts", ["", "needs_counts = false, "])
def test_the_owner_of_the_tables_is_refused_as_well(ledger, orders, needs_counts):
    held = pass_valid(ledger, orders)
    with refused("RL007"):
        ledger.execute(
            f"update record_ledger.record set {needs_counts}last_event = 'completed', "
            "lease_expires_at = null where window_start_time = %s",
            [held.start],
        )
    for change in ("needs_counts = false", "counts_waived = true"):
        with refused("RL003"):
            ledger.execute(
                f"update record_ledger.record set {change} where window_start_time = %s",
                [held.start],
            )
    assert record_of(ledger, held.start)["status"] == "IN_PROGRESS"


def test_a_pipeline_that_asks_for_no_counts_is_completed_without_a_look_at_any(
    ledger, clock, config
):
    eight_hours(ledger, clock, config)
    held = pass_valid(ledger, PIPELINE)
    ledger.execute("drop function record_ledger.check_counts(record_ledger.record)")
    complete(ledger, held.token)
    assert record_of(ledger, held.start)["status"] == "COMPLETED"


# ---------------------------------------------------------------- the config
def test_a_list_of_stages_is_short_for_an_object(ledger, given, orders):
    shown = "select required_counts from record_ledger.pipelines"
    assert one(ledger, shown) == {"stages": ["source", "target"], "tolerance": "0 rows"}
    requires(ledger, given, ["a", "b", "c"])
    assert one(ledger, shown) == {"stages": ["a", "b", "c"], "tolerance": "0 rows"}
    requires(ledger, given, {**BOTH, "tolerance": "2%"})
    assert one(ledger, shown) == {**BOTH, "tolerance": "2%"}
    requires(ledger, given, None)
    assert one(ledger, shown) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "5 is neither a list of stages nor an object; give one such as"),
        ("source", '"source" is neither a list'),
        (True, "true is neither a list"),
        ([], r"stages \[\] are fewer than two"),
        (["source"], r'stages \["source"\] are fewer than two'),
        (["source", "source"], 'stage "source" is given twice'),
        (["source", 7], "7 is not a valid stage name"),
        (["source", " "], '" " is not a valid stage name'),
        ({}, r"stages are missing; give those whose counts must agree, such as \[\"source\""),
        ({"stages": "source"}, 'stages "source" is not a list'),
        ({"stages": None}, "stages null is not a list"),
        ({"stage": ["a", "b"]}, 'it has no key "stage"; did you mean "stages"'),
        ({**BOTH, "tolerence": "5 rows"}, 'it has no key "tolerence"; did you mean "tolerance"'),
        ({**BOTH, "colour": "red"}, 'it has no key "colour"; give "stages" and'),
        ({**BOTH, "tolerance": 5}, "tolerance 5 is neither a number of rows nor a percentage"),
        ({**BOTH, "tolerance": "5"}, 'tolerance "5" is neither'),
        ({**BOTH, "tolerance": "-1 rows"}, 'tolerance "-1 rows" is neither'),
        ({**BOTH, "tolerance": "101%"}, 'tolerance "101%" is neither'),
        ({**BOTH, "tolerance": "100.1%"}, 'tolerance "100.1%" is neither'),
        ({**BOTH, "tolerance": "1.5 rows"}, 'tolerance "1.5 rows" is neither'),
        ({**BOTH, "tolerance": "1e3 rows"}, 'tolerance "1e3 rows" is neither'),
    ],
)
def test_wrong_required_counts_are_named_with_what_would_be_valid(ledger, given, value, message):
    before = snapshot(ledger)
    with refused("RL001", f"required_counts: .*{message}"):
        register(ledger, {**given, "required_counts": value})
    assert snapshot(ledger) == before


def test_a_misspelt_key_is_warned_of(ledger, given):
    notices = []
    ledger.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    register(ledger, {**given, "required_count": BOTH})
    assert notices == ['config key "required_count" is ignored; did you mean "required_counts"?']
