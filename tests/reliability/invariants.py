"""The invariants of a reliability run: of the ledger itself, and of the ledger and its users' journals.

An entry says what a process was told (passed, completed, lost ...) or is about to ask for (finished).

A primary that is lost with commits that its standby never had takes them along. What it took is
entered by the scenario (left behind, from its data), and excuses what was acknowledged after the
standby had been cut off: `at` is that instant. Nothing else is excused.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.reliability.journal import Entry
from tests.sql import invariants
from tests.support.databases import Connection

_NOTED = """
    create temporary table if not exists noted (
        what text not null, at double precision, pipeline_id text, window_start_time timestamptz,
        claim_token bigint, run_id text, event text, reason text, record_count bigint,
        server_time timestamptz
    )
"""
_COLUMNS = (
    "what", "at", "pipeline_id", "window_start_time", "claim_token", "run_id", "event", "reason",
    "record_count", "server_time",
)  # fmt: skip
# A token names a claim only together with its pipeline and its window, and in one timeline: two
# copies of a ledger may draw the same one for two runs.
_SAME_CLAIM = """
    (e.pipeline_id, e.window_start_time, e.claim_token)
        = (n.pipeline_id, n.window_start_time, n.claim_token)
    and (n.run_id is null or e.run_id is not distinct from n.run_id)
"""
# Whether the pass that entry n is of was never in this ledger.
_NEVER_PASSED_HERE = f"""
    not exists (
        select from events as e where {_SAME_CLAIM} and e.event in ('passed', 'passed_again')
    )
    and exists (
        select from noted as e
        where {_SAME_CLAIM} and e.what = 'left behind' and e.event in ('passed', 'passed_again')
            and n.at >= e.at
    )
"""
# Of all timelines: what a lost primary did was done, though it is not in the ledger.
_HAPPENED = """(
    select pipeline_id, window_start_time, claim_token, event from events
    union all
    select pipeline_id, window_start_time, claim_token, event from noted where what = 'left behind'
)"""
RULES = {
    "something happened that must not": """
        select * from noted where what = 'wrong'
    """,
    "an acknowledged change is not in the ledger": f"""
        select n.* from noted as n
        where n.what in ('passed', 'completed', 'failed', 'released') and not exists (
            select from events as e
            where {_SAME_CLAIM}
                and (e.event = n.what or n.what = 'passed' and e.event = 'passed_again')
        ) and not exists (
            select from noted as e
            where {_SAME_CLAIM} and e.what = 'left behind' and n.at >= e.at
                and (e.event = n.what or n.what = 'passed' and e.event = 'passed_again')
        )
    """,
    "an acknowledged operation is not in the ledger": """
        select n.pipeline_id, n.reason, n.record_count, count(e.event) as found
        from noted as n
        left join (
            select pipeline_id, event, detail ->> 'reason' as reason, 'Infinity' as until
            from events
            union all
            select pipeline_id, event, reason, at from noted where what = 'left behind'
        ) as e
            on e.pipeline_id = n.pipeline_id and e.reason = n.reason
            and (e.until = 'Infinity' or n.at >= e.until)
        where n.what = 'operated'
        group by 1, 2, 3
        having count(e.event) < n.record_count
    """,
    "a claim was kept, or counted for, that its run did not have": f"""
        select n.* from noted as n
        where n.what in ('extended', 'observed') and not exists (
            select from events as e where {_SAME_CLAIM} and e.event in ('passed', 'passed_again')
        ) and not ({_NEVER_PASSED_HERE})
    """,
    "an operation was done to a record twice": """
        select pipeline_id, window_start_time, detail ->> 'reason' as reason, count(*) from events
        where detail ->> 'reason' like '%-operator-%'
        group by 1, 2, 3 having count(*) > 1
    """,
    "a record was completed that nobody had finished": f"""
        select e.* from events as e
        where e.event = 'completed' and not exists (
            select from noted as n where n.what = 'finished' and {_SAME_CLAIM}
        )
    """,
    "a claim was reported lost that nobody had taken": f"""
        select n.* from noted as n
        where n.what = 'lost' and not ({_NEVER_PASSED_HERE}) and not exists (
            select from {_HAPPENED} as e
            where e.pipeline_id = n.pipeline_id and (
                e.claim_token = n.claim_token and e.event = 'lease_expired'
                or e.window_start_time = n.window_start_time and e.claim_token > n.claim_token
                and e.event = 'passed_again'
            )
        )
    """,
    "a run was told that it lost a claim which it had ended": """
        select n.* from noted as n
        where n.what = 'lost' and exists (
            select from events as e
            where (e.pipeline_id, e.claim_token, e.event) = (n.pipeline_id, n.claim_token, n.event)
        )
    """,
    "two worked on a window at a time, and the first one's lease had not run out": f"""
        select * from (
            select pipeline_id, window_start_time, claim_token, at as began,
                max(at) over (
                    partition by pipeline_id, window_start_time, claim_token
                ) as ended,
                what
            from noted as n
            where what in ('began', 'finished', 'gave up') and not ({_NEVER_PASSED_HERE})
        ) as a
        join (
            select n.* from noted as n where what = 'began' and not ({_NEVER_PASSED_HERE})
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
            (select min(server_time) from noted where what = 'started')
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
        select n.* from noted as n
        where n.what = 'finished' and not exists (
            select from events as e
            where {_SAME_CLAIM} and (
                e.event in ('completed', 'lease_expired', 'waived')
                or e.event = 'failed' and e.detail ->> 'error' like 'stopped by%'
            )
        )
    """,
    "a claim was given up while the ledger could be reached": """
        select * from noted where what = 'feared lost'
    """,
}
# What a scenario has found of the outputs of commands is entered as `written`, one entry for a claim.
OUTPUT_IS_WRITTEN = {
    "a window was completed whose output was not written": f"""
        select e.* from events as e
        where e.event = 'completed' and not exists (
            select from noted as n where n.what = 'written' and {_SAME_CLAIM}
        )
    """,
}


def violations(
    connection: Connection, entries: Iterable[Entry] = (), more: dict[str, str] | None = None
) -> list[str]:
    """Returns a sentence for each rule that is broken: the ledger's own, the journals', and more."""
    connection.execute(_NOTED)
    connection.execute("truncate noted")
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy noted ({', '.join(_COLUMNS)}) from stdin") as copy,
    ):
        for entry in entries:
            copy.write_row([entry.get(column) for column in _COLUMNS])
    connection.execute("analyze noted")
    rules = {**RULES, **(more or {})}
    return invariants.violations(connection) + invariants.violations(connection, rules)
