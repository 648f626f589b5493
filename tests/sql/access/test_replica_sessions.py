"""A session whose triggers do not fire is refused in words by every routine that writes, before it writes anything."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.reliability.history import ROUTINES
from tests.sql.support import (
    NOW,
    PIPELINE,
    audit,
    claim_state,
    complete,
    cycle,
    refused,
    rows,
    snapshot,
)

CALLS = ROUTINES | {"adopt_observations": ["{pipeline}", "{token}"]}


@pytest.fixture
def held(ledger, clock, config):
    clock.set(NOW)
    return cycle(ledger, config(PIPELINE, start_at="2026-11-20"), "a")


@pytest.mark.parametrize("routine", CALLS)
def test_every_routine_refuses_it(ledger, connect, held, config, routine):
    given = {
        "{config}": Jsonb(config(PIPELINE, granularity="2h")),
        "{pipeline}": PIPELINE,
        "{token}": held.token,
        "{tokens}": [held.token],
    }
    arguments = [given.get(text, text) for text in CALLS[routine]]
    if routine in ("observe_record", "waive_counts"):
        arguments[1] = held.start
    places = ", ".join(["%s"] * len(arguments))
    verb = "call" if routine == "store_new_records" else "select"
    before = snapshot(ledger)
    replica = connect()
    replica.execute("set session_replication_role = replica")
    with refused("RL005", "session_replication_role = replica") as caught:
        replica.execute(f"{verb} record_ledger.{routine}({places})", arguments)
    assert "set session_replication_role to origin" in caught.value.diag.message_hint
    assert snapshot(ledger) == before


def test_it_may_read_and_after_a_reset_write(ledger, held):
    ledger.execute("set session_replication_role = replica")
    assert claim_state(ledger, held.token)[0] == "current"
    assert rows(ledger, "select * from record_ledger.record_verdicts")
    ledger.execute("set session_replication_role = local")
    complete(ledger, held.token, window=held.start)
    audit(ledger)
