"""A clock that a test sets by hand, in place of `record_ledger.clock()`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

# A sequence, not a table: every session sees a change immediately, also under an old snapshot.
_INSTALL = """
create schema test_clock;
create sequence test_clock.microseconds minvalue -9007199254740992;
grant usage on schema test_clock to public;
grant select on sequence test_clock.microseconds to public;
"""
_REPLACE = """
create or replace function record_ledger.clock()
returns timestamptz
language sql
{volatility}
as $clock$
    select case when s.is_called
        then timestamptz 'epoch' + s.last_value * interval '1 microsecond'
        else pg_catalog.clock_timestamp()
    end
    from test_clock.microseconds as s
$clock$
"""
_VOLATILITY = {"i": sql.SQL("immutable"), "s": sql.SQL("stable"), "v": sql.SQL("volatile")}


class Clock:
    """The ledger's time in one test database, the same for all its sessions.

    It follows the server's time until a test sets it. From then on it stands still.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Takes an autocommit connection of the database's owner, used by nothing else."""
        self._connection = connection
        found = connection.execute(
            "select provolatile from pg_proc where oid = 'record_ledger.clock()'::regprocedure"
        ).fetchone()
        assert found is not None
        connection.execute(_INSTALL)
        connection.execute(sql.SQL(_REPLACE).format(volatility=_VOLATILITY[found[0]]))

    def set(self, instant: datetime | str) -> datetime:
        """Stops the clock at that instant: a datetime, or ISO 8601 with an offset or Z."""
        if isinstance(instant, str):
            instant = datetime.fromisoformat(instant.replace("Z", "+00:00"))
        assert instant.tzinfo is not None, f"{instant} has no offset: whose time is it?"
        self._connection.execute(
            "select setval('test_clock.microseconds', "
            "(extract(epoch from %s::timestamptz) * 1000000)::bigint)",
            [instant],
        )
        return self.now()

    def advance(self, duration: timedelta | str) -> datetime:
        """Moves a stopped clock on by a timedelta or a duration like '2h', '1d', '-1us'."""
        if isinstance(duration, timedelta):
            duration = f"{duration.total_seconds():.6f}s"
        self._connection.execute(
            "select setval('test_clock.microseconds', last_value "
            "+ (extract(epoch from %s::interval) * 1000000)::bigint) "
            "from test_clock.microseconds where is_called",
            [duration],
        )
        return self.now()

    def free(self) -> None:
        """Follows the server's own time again."""
        self._connection.execute("select setval('test_clock.microseconds', 0, false)")

    def now(self) -> datetime:
        """Returns the ledger's time."""
        row = self._connection.execute("select record_ledger.clock()").fetchone()
        assert row is not None
        now: datetime = row[0]
        return now
