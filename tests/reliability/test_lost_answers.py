"""What was done before its answer was lost is done once: asked for again, or reported as in doubt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from record_ledger import LedgerUnavailable, RecordLedger, RetryPolicy
from tests.reliability import proxy as bad_network
from tests.reliability.proxy import ANSWER_LOST, REQUEST_LOST, FaultyProxy
from tests.reliability.support import socket_of
from tests.sql.archive.archiving import START, eight_hours
from tests.sql.support import PIPELINE, complete, events, pass_valid, record_of

FIRST = START, START + timedelta(hours=1)
QUICK = RetryPolicy(tries=3, within=10.0, first_wait=0.001, longest_wait=0.002)


@pytest.fixture
def orders(ledger, clock, config):
    return eight_hours(ledger, clock, config, retry_delay="0s")


@pytest.fixture
def one_fault(ledger_dsn, monkeypatch):
    """Gives a runner whose first statement meets that fault, and no other one does."""
    opened = []

    def meet(fault):
        monkeypatch.setattr(bad_network, "FAULTS", (fault,))
        network = FaultyProxy(socket_of(ledger_dsn), "seed").__enter__()
        opened.append(network)
        monkeypatch.setattr(FaultyProxy, "_wait", lambda self, _: 99 if self.faults else 2)
        runner = RecordLedger(network.conninfo(ledger_dsn), retry=QUICK)
        opened.append(runner)
        return runner

    yield meet
    for what in reversed(opened):
        what.__exit__(None, None, None)


@pytest.mark.parametrize("fault", [ANSWER_LOST, REQUEST_LOST])
def test_a_run_is_passed_one_record_and_completes_it_once(ledger, orders, one_fault, fault):
    record = one_fault(fault).store_new_and_pass_valid_record(orders, "run").record
    one_fault(fault).complete_record(PIPELINE, record["claim_token"])
    again = ["passed_again"] if fault == ANSWER_LOST else []
    assert events(ledger, START) == ["passed", *again, "completed"]
    assert record_of(ledger, START)["attempt"] == 1


@pytest.mark.parametrize("fault", [ANSWER_LOST, REQUEST_LOST])
@pytest.mark.parametrize(
    ("operation", "event"), [("reopen_records", "reopened"), ("expire_leases", "lease_expired")]
)
def test_what_would_undo_the_work_of_runs_is_not_asked_for_again(
    ledger, orders, one_fault, operation, event, fault
):
    """The next run may have been passed the record, and have completed it, before the repeat comes."""
    held = pass_valid(ledger, PIPELINE, "run")
    if operation == "reopen_records":
        complete(ledger, held.token)
    with pytest.raises(LedgerUnavailable, match="whether this was done is not known") as caught:
        getattr(one_fault(fault), operation)(PIPELINE, *FIRST, "why")
    assert "record-ledger history" in caught.value.hint
    assert events(ledger, START).count(event) == (fault == ANSWER_LOST)


def test_it_is_asked_for_again_when_the_server_says_that_it_was_not_done(
    ledger, orders, ledger_dsn, connect, in_background
):
    pass_valid(ledger, PIPELINE, "run")
    blocker = connect(autocommit=False)
    blocker.execute("select from record_ledger.pipeline for update")
    with RecordLedger(ledger_dsn, retry=QUICK) as runner:
        runner.pipelines()
        call = in_background(
            runner._session._connection,
            lambda: runner.expire_leases(PIPELINE, *FIRST, "why"),
        )
        call.wait_until_blocked()
        ledger.execute("select pg_terminate_backend(%s)", [call._pid])
        blocker.commit()
        assert call.result() == 1
    assert events(ledger, START) == ["passed", "lease_expired"]
