"""Two servers, a primary and its streaming standby, that change places again and again.

Clients name both (`host=a,b target_session_attrs=read-write`), as they do behind Patroni or a
managed database. Each server keeps its socket, so a connection string holds for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.reliability.journal import Entry
from tests.support.databases import deploy, open_connection
from tests.support.server import Server

DEADLINE = 30.0
# What is killed here are processes: what they wrote is in the machine's memory all the same. And the
# log that a standby lacks while it is cut off is kept.
SETTINGS = {"fsync": "off", "wal_keep_size": "256MB"}
_SYNCHRONOUS = "synchronous_standby_names"
_EVENTS = """
    select pipeline_id, window_start_time, claim_token, run_id, event, event_time,
        detail ->> 'reason' as reason
    from record_ledger.record_events
    union all
    select pipeline_id, window_start_time, claim_token, run_id, event, event_time,
        detail ->> 'reason' as reason
    from record_ledger.archived_record_events
"""


class Cluster:
    """A primary with the ledger and a standby; in a `with` block.

    With `is_synchronous` a commit is acknowledged when the standby has it, except while the primary
    has no standby: between a failover and `rebuild`.
    """

    def __init__(self, configs: list[dict[str, Any]], *, is_synchronous: bool) -> None:
        self._is_synchronous = is_synchronous
        self._cut_at = 0.0
        self.servers = [Server(settings=SETTINGS)]
        try:
            self.servers[0].start()
            deploy(self.servers[0].dsn())
            with open_connection(self.servers[0].dsn()) as owner:
                for config in configs:
                    owner.execute("select record_ledger.register_pipeline(%s)", [Jsonb(config)])
            self.servers.append(Server(settings=SETTINGS, standby_of=self.servers[0]))
            self.primary, self.standby = self.servers
            self._attach()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        for server in self.servers:
            server.remove()

    def dsn(self, **options: Any) -> str:
        """The way to whichever server takes writes."""
        hosts = ",".join(str(server.socket.parent) for server in self.servers)
        return make_conninfo(
            self.servers[0].dsn(), host=hosts, target_session_attrs="read-write", **options
        )

    # ------------------------------------------------------------ replication
    def wait_until_caught_up(self) -> None:
        """Returns once the standby has all that the primary has committed by now."""
        ((position,),) = self.primary.execute("select pg_current_wal_flush_lsn()")
        wait_until(
            lambda: (
                self.standby.execute(f"select pg_last_wal_receive_lsn() >= '{position}'::pg_lsn")
                == [(True,)]
            )
        )

    def cut_off(self) -> None:
        """Has the standby receive no more; whatever was acknowledged before that it has."""
        self._cut_at = time.monotonic()
        self.wait_until_caught_up()
        self.standby.set("primary_conninfo", "")
        wait_until(lambda: not self.standby.execute("select 1 from pg_stat_wal_receiver"))

    def _attach(self) -> None:
        """Starts the standby, and has commits wait for it from then on if they are to."""
        self.standby.start()
        wait_until(
            lambda: self.primary.execute(
                "select 1 from pg_stat_replication where state = 'streaming'"
            )
        )
        if self._is_synchronous:
            self.primary.set(_SYNCHRONOUS, "*")

    # ------------------------------------------------------------ changing places
    def promote(self) -> Server:
        """Makes the standby the primary, and returns the old one, whatever state that is in."""
        # It has no standby of its own yet, for which its commits could wait.
        self.standby.set(_SYNCHRONOUS, None)
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        return self.standby

    def left_behind(self) -> list[Entry]:
        """What the dead old primary did and the new one never had, as entries for the invariants."""
        old = self.standby
        old.start(alone=True)
        with (
            open_connection(old.dsn(alone=True)) as there,
            open_connection(self.primary.dsn()) as here,
        ):
            kept = set(here.execute(_EVENTS).fetchall())
            lost = [row for row in there.execute(_EVENTS).fetchall() if row not in kept]
        old.stop()
        names = ("pipeline_id", "window_start_time", "claim_token", "run_id", "event", "server_time", "reason")  # fmt: skip
        return [
            {"what": "left behind", "at": self._cut_at, **dict(zip(names, row, strict=True))}
            for row in lost
        ]

    def rebuild(self) -> None:
        """Has the old primary, whose clients are gone, follow the new one."""
        self.standby.kill()
        self.standby.become_standby_of(self.primary)
        self._attach()


def wait_until(is_so: Callable[[], object], within: float = DEADLINE) -> None:
    """Returns once it is so.

    :raises TimeoutError: when it has not become so in time.
    """
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in {within:g} s it has not come to that")
        time.sleep(0.02)
