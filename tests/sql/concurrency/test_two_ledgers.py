"""Two copies of a ledger that both go on: a claim of the one is never taken for a claim of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.sql.counts.counting import adopt, observe
from tests.sql.support import (
    PIPELINE,
    Answer,
    audit,
    claim_state,
    complete,
    extend,
    fail,
    pass_valid,
    refused,
    register,
    release,
    rows,
    snapshot,
    store,
)
from tests.support.clock import Clock
from tests.support.databases import Connection, open_connection

NOW = "2026-11-22T06:00:00Z"


class Copy:
    """One of two ledgers, with a clock of its own."""

    def __init__(self, dsn: str) -> None:
        self.ledger: Connection = open_connection(dsn)
        self.clock = Clock(self.ledger)

    def close(self) -> None:
        self.ledger.close()


@contextmanager
def no_change(ledger: Connection) -> Iterator[None]:
    before = snapshot(ledger)
    yield
    assert snapshot(ledger) == before


@pytest.fixture
def old_and_new(databases, config) -> Iterator[tuple[Copy, Copy]]:
    """A ledger with some claims, and a copy of it as a restored dump or a lagging standby would be."""
    dsn = databases.clone()
    with open_connection(dsn) as ledger:
        register(
            ledger,
            config(
                PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at="2026-11-21T00:00:00Z",
                lease="60d", max_attempts=3, retry_delay="0s",
            ),
        )  # fmt: skip
        store(ledger, PIPELINE)
        complete(ledger, pass_valid(ledger, PIPELINE, "before").token)
    copied = databases.copy(dsn)
    both = Copy(dsn), Copy(copied)
    yield both
    for copy, name in zip(both, (dsn, copied), strict=True):
        copy.close()
        databases.drop(name)


def calls(ledger: Connection, held: Answer, window: Any) -> dict[str, Any]:
    """Everything that a run does with its claim."""
    token = held.token
    found = {
        "complete": lambda: complete(ledger, token, window=window),
        "fail": lambda: fail(ledger, token, window=window),
        "fail for good": lambda: fail(ledger, token, retry=False, window=window),
        "release": lambda: release(ledger, token, window=window),
        "release until": lambda: release(ledger, token, not_before="2026-12-01Z", window=window),
        "extend": lambda: extend(ledger, token, window=window),
        "adopt": lambda: adopt(ledger, token, window=window),
    }
    if window is not None:
        found["observe"] = lambda: observe(ledger, window, "source", 7, token)
    return found


def refuses_all(ledger: Connection, held: Answer, *windows: Any) -> None:
    with no_change(ledger):
        for window in windows:
            for name, call in calls(ledger, held, window).items():
                with refused("RL004", "claim lost"):
                    call()
                    pytest.fail(f"{name} with window {window} was not refused")
        state, reason, _ = claim_state(ledger, held.token)
        assert (state, "never passed" in reason) == ("lost", True)
    audit(ledger)


def test_a_claim_of_the_other_copy_is_lost_and_changes_nothing(old_and_new):
    old, new = old_and_new
    old.clock.set(NOW)
    new.clock.set(NOW)
    passed = {"old": [], "new": []}
    for hour in range(4):
        passed["old"].append(pass_valid(old.ledger, PIPELINE, f"old {hour}"))
        # A millisecond or a day later; also behind the other one.
        new.clock.advance(("1ms", "1d", "-30h", "1ms")[hour])
        passed["new"].append(pass_valid(new.ledger, PIPELINE, f"new {hour}"))
    # Both went on with the same windows.
    assert [a.start for a in passed["old"]] == [a.start for a in passed["new"]]
    for held in passed["old"]:
        refuses_all(new.ledger, held, None, held.start)
    for held in passed["new"]:
        refuses_all(old.ledger, held, None, held.start)
    for copy, name in ((old, "old"), (new, "new")):
        for held in passed[name]:
            complete(copy.ledger, held.token, window=held.start)
        audit(copy.ledger)


def test_a_claim_of_the_other_copy_is_lost_where_its_window_is_not_stored(old_and_new):
    old, new = old_and_new
    old.clock.set("2026-11-25T00:00:00Z")
    new.clock.set(NOW)
    store(old.ledger, PIPELINE)
    held = None
    while held is None or held.start.day < 24:
        held = pass_valid(old.ledger, PIPELINE)
    refuses_all(new.ledger, held, None, held.start)


def test_a_ledger_that_was_set_back_keeps_the_window_of_the_same_token_from_it(old_and_new):
    """As with tokens of a sequence: the same number names other windows in both."""
    old, new = old_and_new
    old.clock.set(NOW)
    new.clock.set(NOW)
    first, second = (pass_valid(old.ledger, PIPELINE) for _ in range(2))
    theirs = pass_valid(new.ledger, PIPELINE)
    for table in ("claim", "record", "record_event"):
        new.ledger.execute(f"alter table record_ledger.{table} disable trigger user")
        new.ledger.execute(
            f"update record_ledger.{table} set claim_token = %s where claim_token = %s",
            [second.token, theirs.token],
        )
        new.ledger.execute(f"alter table record_ledger.{table} enable trigger user")
    assert second.start != theirs.start == first.start
    with no_change(new.ledger):
        for name, call in calls(new.ledger, second, second.start).items():
            with refused(
                "RL004",
                r"claim lost: claim token \d+ of pipeline orders belongs to window .*, not to",
            ) as caught:
                call()
                pytest.fail(name)
            assert theirs.start.strftime("%Y-%m-%dT%H") in caught.value.diag.message_primary
    # The token alone would have been taken for the other window's.
    complete(new.ledger, second.token, window=theirs.start)
    # Repeated, it changes nothing, and says so of the right window only.
    with no_change(new.ledger):
        complete(new.ledger, second.token, window=theirs.start)
        with refused("RL004", "belongs to window"):
            complete(new.ledger, second.token, window=second.start)


@pytest.mark.parametrize("window", ["infinity", "-infinity", "0044-03-15 BC", "2026-11-21T00:30Z"])
def test_a_window_that_is_none_is_not_the_claims(old_and_new, window):
    old, _ = old_and_new
    old.clock.set(NOW)
    held = pass_valid(old.ledger, PIPELINE)
    with no_change(old.ledger):
        for name, call in calls(old.ledger, held, window).items():
            with refused("RL004", "claim lost"):
                call()
                pytest.fail(name)
    complete(old.ledger, held.token, window=held.start)


def test_with_and_without_its_window_a_claim_does_everything(old_and_new):
    old, _ = old_and_new
    old.clock.set(NOW)
    for named in (False, True):
        for name in ("extend", "adopt", "complete", "fail", "fail for good", "release"):
            held = pass_valid(old.ledger, PIPELINE)
            calls(old.ledger, held, held.start if named else None)[name]()
    audit(old.ledger)


def test_a_claim_on_an_archived_window_is_repeated_only_with_its_window(old_and_new):
    old, _ = old_and_new
    old.clock.set(NOW)
    held = pass_valid(old.ledger, PIPELINE)
    complete(old.ledger, held.token)
    assert (
        rows(old.ledger, "select record_ledger.archive_records(%s, %s)", [PIPELINE, NOW])[0][0] == 2
    )
    with no_change(old.ledger):
        complete(old.ledger, held.token, window=held.start)
        complete(old.ledger, held.token)
        with refused("RL004", "belongs to window"):
            complete(old.ledger, held.token, window="2026-11-21T23:00Z")
        with refused("RL004", "the record was completed"):
            fail(old.ledger, held.token, window=held.start)
        assert claim_state(old.ledger, held.token)[0] == "lost"
