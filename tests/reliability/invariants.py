"""The invariants of a reliability run: of the ledger itself, and of the ledger and its users' journals.

An entry is an answer that a process got (passed, completed, lost ...) or a call that it is about to
make (finished).

A lost primary takes along the commits that its standby never received. The scenario reads them from
its data and enters them as `left behind`. They excuse missing changes that were acknowledged after
the standby was cut off: `at` is that instant. Nothing else is excused.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.reliability.journal import Entry
from tests.sql import invariants
from tests.support.databases import Connection

_ENTRIES = """
    create temporary table if not exists entries (
        what text not null, at double precision, pipeline_id text, window_start_time timestamptz,
        claim_token bigint, run_id text, event text, reason text, record_count bigint,
        server_time timestamptz
    )
"""
_COLUMNS = (
    "what", "at", "pipeline_id", "window_start_time", "claim_token", "run_id", "event", "reason",
    "record_count", "server_time",
)  # fmt: skip
# A token identifies a claim only together with its pipeline, its window and its timeline: two copies
# of a ledger may draw the same token for two runs.
_SAME_CLAIM = """
    (e.pipeline_id, e.window_start_time, e.claim_token)
        = (n.pipeline_id, n.window_start_time, n.claim_token)
    and (n.run_id is null or e.run_id is not distinct from n.run_id)
"""
# Whether the pass of entry n was never in this ledger.
_NEVER_PASSED_HERE = f"""
    not exists (
        select from events as e where {_SAME_CLAIM} and e.event in ('passed', 'passed_again')
    )
    and exists (
        select from entries as e
        where {_SAME_CLAIM} and e.what = 'left behind' and e.event in ('passed', 'passed_again')
            and n.at >= e.at
    )
"""
# Of all timelines: a lost primary's changes happened, though they are not in the ledger.
_HAPPENED = """(
    select pipeline_id, window_start_time, claim_token, event from events
    union all
    select pipeline_id, window_start_time, claim_token, event from entries where what = 'left behind'
)"""
RULES = {
    "something happened that must not": """
        select * from entries where what = 'wrong'
    """,
    "an acknowledged change is not in the ledger": f"""
        select n.* from entries as n
        where n.what in ('passed', 'completed', 'failed', 'released') and not exists (
            select from events as e
            where {_SAME_CLAIM}
                and (e.event = n.what or n.what = 'passed' and e.event = 'passed_again')
        ) and not exists (
            select from entries as e
            where {_SAME_CLAIM} and e.what = 'left behind' and n.at >= e.at
                and (e.event = n.what or n.what = 'passed' and e.event = 'passed_again')
        )
    """,
    "an acknowledged operation is not in the ledger": """
        select n.pipeline_id, n.reason, n.record_count, count(e.event) as found
        from entries as n
        left join (
            select pipeline_id, event, detail ->> 'reason' as reason, 'Infinity' as until
            from events
            union all
            select pipeline_id, event, reason, at from entries where what = 'left behind'
        ) as e
            on e.pipeline_id = n.pipeline_id and e.reason = n.reason
            and (e.until = 'Infinity' or n.at >= e.until)
        where n.what = 'operated'
        group by 1, 2, 3
        having count(e.event) < n.record_count
    """,
    "a claim was kept, or counted for, that its run did not have": f"""
        select n.* from entries as n
        where n.what in ('extended', 'observed') and not exists (
            select from events as e where {_SAME_CLAIM} and e.event in ('passed', 'passed_again')
        ) and not ({_NEVER_PASSED_HERE})
    """,
    "an operation was done to a record twice": """
        select pipeline_id, window_start_time, detail ->> 'reason' as reason, count(*) from events
        where detail ->> 'reason' like '%-operator-%'
        group by 1, 2, 3 having count(*) > 1
    """,
    "a record was completed that no run had finished": f"""
        select e.* from events as e
        where e.event = 'completed' and not exists (
            select from entries as n where n.what = 'finished' and {_SAME_CLAIM}
        )
    """,
    "a claim was reported lost that no event had ended": f"""
        select n.* from entries as n
        where n.what = 'lost' and not ({_NEVER_PASSED_HERE}) and not exists (
            select from {_HAPPENED} as e
            where e.pipeline_id = n.pipeline_id and (
                e.claim_token = n.claim_token and e.event = 'lease_expired'
                or e.window_start_time = n.window_start_time and e.claim_token > n.claim_token
                and e.event = 'passed_again'
            )
        )
    """,
    "a claim was reported lost to the run that had ended it": """
        select n.* from entries as n
        where n.what = 'lost' and exists (
            select from events as e
            where (e.pipeline_id, e.claim_token, e.event) = (n.pipeline_id, n.claim_token, n.event)
        )
    """,
    "two runs worked on a window at the same time, and the first one's lease had not expired": f"""
        select * from (
            select pipeline_id, window_start_time, claim_token, at as began,
                max(at) over (
                    partition by pipeline_id, window_start_time, claim_token
                ) as ended,
                what
            from entries as n
            where what in ('began', 'finished', 'gave up') and not ({_NEVER_PASSED_HERE})
        ) as a
        join (
            select n.* from entries as n where what = 'began' and not ({_NEVER_PASSED_HERE})
        ) as b using (pipeline_id, window_start_time)
        where a.what = 'began' and b.claim_token > a.claim_token
            and b.at < a.ended
            and not exists (
                select from {_HAPPENED} as e
                where e.pipeline_id = a.pipeline_id and (
                    e.claim_token = a.claim_token and e.event = 'lease_expired'
                    or e.claim_token = b.claim_token and e.event = 'passed_again'
                )
            )
    """,
    "a refused call changed something": """
        select * from events where run_id like 'strict%'
    """,
    "an event or a lease has a time that the server's clock never showed": """
        select e.pipeline_id, e.window_start_time, e.event, e.event_time from events as e
        where e.event_time not between
            (select min(server_time) from entries where what = 'started')
            and record_ledger.clock()
        union all
        select r.pipeline_id, r.window_start_time, r.status, r.lease_expires_at from records as r
        join record_ledger.pipelines as p using (pipeline_id)
        where r.lease_expires_at > record_ledger.clock() + p.lease
    """,
}

# Rules of scenarios in which no process is killed and the ledger comes back soon.
NO_WORK_IS_WASTED = {
    "work that was finished is not completed": f"""
        select n.* from entries as n
        where n.what = 'finished' and not exists (
            select from events as e
            where {_SAME_CLAIM} and (
                e.event in ('completed', 'lease_expired', 'waived')
                or e.event = 'failed' and e.detail ->> 'error' like 'stopped by%'
            )
        )
    """,
    "a claim was given up while the ledger could be reached": """
        select * from entries where what = 'feared lost'
    """,
}
# A scenario enters each output that it found as `written`, one entry for each claim.
OUTPUT_IS_WRITTEN = {
    "a window was completed whose output was not written": f"""
        select e.* from events as e
        where e.event = 'completed' and not exists (
            select from entries as n where n.what = 'written' and {_SAME_CLAIM}
        )
    """,
}


def violations(
    connection: Connection, entries: Iterable[Entry] = (), more: dict[str, str] | None = None
) -> list[str]:
    """Returns a sentence for each rule that is broken: the ledger's own, the journals', and more."""
    connection.execute(_ENTRIES)
    connection.execute("truncate entries")
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy entries ({', '.join(_COLUMNS)}) from stdin") as copy,
    ):
        for entry in entries:
            copy.write_row([entry.get(column) for column in _COLUMNS])
    connection.execute("analyze entries")
    rules = {**RULES, **(more or {})}
    return invariants.violations(connection) + invariants.violations(connection, rules)
