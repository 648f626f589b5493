"""complete_and_pass and complete_records from Python: what they return, repeat and forget."""

from __future__ import annotations

import pickle

import psycopg
import pytest

from record_ledger import (
    ClaimLost,
    Completion,
    CountsDisagree,
    InvalidArgument,
    PermissionDenied,
    RecordLedger,
    RetryPolicy,
    UnknownPipeline,
)
from record_ledger.connection import Connection
from record_ledger.values import claim_of, start_of

QUICK = RetryPolicy(tries=3, within=10.0, first_wait=0.001, longest_wait=0.002)


@pytest.fixture
def orders(config, clock):
    clock.set("2026-11-22T20:00:00Z")
    return config("orders")


@pytest.fixture
def first(runner, orders):
    return runner.store_new_and_pass_valid_record(orders, "run/1").record


def go_on(runner, record, run_id=None, detail=None):
    return runner.complete_and_pass(*claim_of(record), run_id, detail, start_of(record))


def stored(runner, record):
    return runner.pipeline_records("orders", record["window_start_time"])[0]


# ---------------------------------------------------------------- complete_and_pass
def test_the_next_record_comes_as_from_any_pass(runner, orders, first):
    result = go_on(runner, first, "run/2", {"rows": 7})

    assert (result.exit_dag, result.verdict) == (False, "READY")
    assert result.record["window_start_time"] == first["window_end_time"]
    assert result.record["window_start_time"].timezone.name == "America/Los_Angeles"
    assert stored(runner, first)["last_detail"] == {"rows": 7}
    again = runner.store_new_and_pass_valid_record(orders, "run/2").record
    changing = ("claim_token", "updated_at", "lease_expires_at", "last_event")
    assert {**again, **dict.fromkeys(changing, 0)} == {
        **result.record,
        **dict.fromkeys(changing, 0),
    }


def test_the_one_lease_is_forgotten_and_the_other_is_known(runner, first):
    assert set(runner.leases._leases) == {claim_of(first)}

    second = go_on(runner, first, "run/2").record

    assert set(runner.leases._leases) == {claim_of(second)}


def test_without_a_run_id_each_call_draws_a_uuid_of_its_own(runner, first):
    second = go_on(runner, first).record
    third = go_on(runner, second).record

    assert len({second["run_id"], third["run_id"]}) == 2
    assert len(third["run_id"]) == 36


@pytest.mark.parametrize("run_id", ["run/2", None])
def test_a_call_whose_answer_was_lost_is_repeated_and_passes_one_record(
    ledger_dsn, orders, monkeypatch, run_id
):
    with RecordLedger(ledger_dsn, retry=QUICK) as runner:
        first = runner.store_new_and_pass_valid_record(orders, "run/1").record
        send, lost = Connection.value, []

        def lose(*arguments):
            answered = send(*arguments)
            if not lost:
                lost.append(answered)
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return answered

        monkeypatch.setattr(Connection, "value", lose)
        second = go_on(runner, first, run_id).record

        events = [
            (event["window_start_time"], event["event"]) for event in runner.record_events("orders")
        ]
    assert events == [
        (start_of(first), "passed"),
        (start_of(first), "completed"),
        (start_of(second), "passed"),
        (start_of(second), "passed_again"),
    ]


def test_a_lost_claim_and_counts_that_disagree_are_errors_that_did_nothing(runner, orders, first):
    with pytest.raises(ClaimLost):
        runner.complete_and_pass("orders", first["claim_token"] + 1, "run/2")
    runner.register_pipeline({**orders, "required_counts": ["source", "target"]})
    with pytest.raises(CountsDisagree):
        go_on(runner, first, "run/2")

    assert [event["event"] for event in runner.record_events("orders")] == ["passed"]
    assert claim_of(first) in runner.leases._leases


def test_what_is_no_claim_token_is_not_sent(runner, first):
    with pytest.raises(InvalidArgument, match="claim_token"):
        runner.complete_and_pass("orders", "7.5", "run/2")


def test_an_exit_has_completed_the_record(runner, first, orders):
    record = first
    for k in range(2, 7):
        record = go_on(runner, record, f"run/{k}").record

    result = go_on(runner, record, "run/7")

    assert (result.exit_dag, result.record, result.verdict) == (True, None, "NO_RECORDS")
    assert stored(runner, record)["status"] == "COMPLETED"


# ---------------------------------------------------------------- complete_records
@pytest.fixture
def batch(runner, orders):
    return runner.pass_valid_records(orders, "batch", 4).records


def test_each_claim_has_its_answer_in_order(runner, batch):
    runner.fail_record(*claim_of(batch[2]), "no", window_start_time=start_of(batch[2]))
    tokens = [record["claim_token"] for record in reversed(batch)]

    answer = runner.complete_records(
        "orders", tokens, [{"rows": n} for n in range(4)], [start_of(r) for r in reversed(batch)]
    )

    assert [completion.claim_token for completion in answer] == tokens
    assert [completion.outcome for completion in answer] == [
        "completed", "lost", "completed", "completed",
    ]  # fmt: skip
    assert answer[0] == Completion(tokens[0], "completed", None)
    assert "the record was marked as failed" in answer[1].reason
    assert [stored(runner, batch[n])["last_detail"]["rows"] for n in (0, 1, 3)] == [3, 2, 0]
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert runner.leases._leases == {}
    assert runner.complete_records("orders", tokens) == answer


def test_a_refused_one_is_still_held(runner, orders, batch):
    runner.register_pipeline({**orders, "required_counts": ["source", "target"]})
    runner.waive_counts("orders", start_of(batch[0]), "not counted")

    answer = runner.complete_records("orders", (record["claim_token"] for record in batch[:2]))

    assert [completion.outcome for completion in answer] == ["completed", "refused"]
    assert "source not counted under this claim" in answer[1].reason
    assert claim_of(batch[1]) in runner.leases._leases
    assert claim_of(batch[0]) not in runner.leases._leases


def test_tokens_may_be_text_and_details_anything(runner, batch, caplog):
    tokens = [str(record["claim_token"]) for record in batch]

    answer = runner.complete_records("orders", tokens, [None, {"by": object()}, {"n": "\x00"}, {}])

    assert {completion.outcome for completion in answer} == {"completed"}
    assert stored(runner, batch[0])["last_detail"] == {}
    assert stored(runner, batch[1])["last_detail"]["by"].startswith("<object object at")


def test_no_tokens_are_no_completions(runner, batch):
    assert runner.complete_records("orders", []) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["orders", "123"], "claim_tokens: '123' is not a list"),
        (["orders", 7], "claim_tokens: 7 is not a list"),
        (["orders", [1.5]], "claim_token: 1.5"),
        (["orders", [1], {"rows": 1}], "details: .* is not a list"),
        (["orders", [1], None, ["noon"]], "window_start_times: 'noon' is not a valid time"),
        (["orders", [1, 1]], "claim_tokens: entry 1 is 1, which is given more than once"),
        (["orders", [1, 2], [{}]], "details: it has 1 entries, but claim_tokens has 2"),
    ],
)
def test_what_is_no_list_of_claims_is_an_invalid_argument(runner, batch, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        runner.complete_records(*arguments)


def test_errors_have_their_classes(runner, batch, role_dsn):
    with pytest.raises(UnknownPipeline):
        runner.complete_records("order", [1])
    with RecordLedger(role_dsn("reader")) as reader:
        with pytest.raises(PermissionDenied):
            reader.complete_records("orders", [batch[0]["claim_token"]])
        with pytest.raises(PermissionDenied):
            reader.complete_and_pass(*claim_of(batch[0]))
