"""A statement that runs on Snowflake's side is waited for, and cancelled when nobody waits.

On a fake connection: fakesnow answers at once, and cannot cancel.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from record_ledger.moving import MoveFailed
from record_ledger.moving.connectors.snowflake.calls import SnowflakeCalls


class FakeConnection:
    """Fakes a connection whose one statement runs for so many polls, and notes what is sent.

    `at_poll(n)` is called at each poll and may raise.
    """

    def __init__(self, polls, at_poll=lambda _n: None):
        self.polls, self.at_poll = polls, at_poll
        self.asked, self.sent = 0, []
        self.sfqid = None

    @contextmanager
    def cursor(self):
        yield self

    def execute_async(self, text):
        self.sent.append(text)
        self.sfqid = "query-1"

    def execute(self, text, parameters, timeout):
        self.sent.append((text, parameters))

    def get_query_status_throw_if_error(self, query_id):
        assert query_id == "query-1"
        self.asked += 1
        self.at_poll(self.asked)
        return self.asked

    def is_still_running(self, status):
        return status <= self.polls

    def get_results_from_sfqid(self, query_id):
        self.sent.append(f"results of {query_id}")

    def fetchall(self):
        return [("a row",)]


CANCELLED = ("select system$cancel_query(%(query_id)s)", {"query_id": "query-1"})


def test_it_is_asked_for_until_it_is_done():
    connection = FakeConnection(polls=3)

    assert SnowflakeCalls(connection, {}, 60).awaited("copy", 0.001) == [("a row",)]

    assert connection.asked == 4
    assert connection.sent == ["copy", "results of query-1"]


def test_what_takes_too_long_is_cancelled():
    connection = FakeConnection(polls=10**9)

    with pytest.raises(MoveFailed, match="query query-1 took longer than 0 s and was cancelled"):
        SnowflakeCalls(connection, {}, 0).awaited("copy", 0.001)

    assert connection.sent == ["copy", CANCELLED]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_is_interrupted_is_cancelled(interrupt):
    def stop(n):
        if n == 2:
            raise interrupt

    connection = FakeConnection(polls=10**9, at_poll=stop)

    with pytest.raises(interrupt):
        SnowflakeCalls(connection, {}, 60).awaited("copy", 0.001)

    assert connection.sent == ["copy", CANCELLED]


def test_what_fails_is_not_cancelled():
    def fail(_n):
        raise ValueError("as the connector does")

    connection = FakeConnection(polls=1, at_poll=fail)

    with pytest.raises(ValueError, match="as the connector does"):
        SnowflakeCalls(connection, {}, 60).awaited("copy", 0.001)

    assert connection.sent == ["copy"]
