"""An auditor of a whole ledger, its archive included: each statement finds what must never be.

It looks through the public views only: how the ledger keeps its state is its own business.
"""

from __future__ import annotations

from tests.support.databases import Connection

# Live and archived ones together: the archive is the old end of the same chain and the same history.
_COLUMNS = (
    "pipeline_id, window_start_time, window_end_time, status, generation, attempt, claim_token, run_id, "
    "lease_expires_at, retry_at, last_event, updated_at, created_at, published_generation, counts_waived"
)
_EVERYTHING = f"""
    with records as (
        select {_COLUMNS}, null::timestamptz as archived_at from record_ledger.pipeline_records
        union all
        select {_COLUMNS}, archived_at from record_ledger.archived_records
    ), events as (
        select *, false as is_archived from record_ledger.record_events
        union all
        select *, true from record_ledger.archived_record_events
    ), observations as (
        select *, false as is_archived from record_ledger.record_observations
        union all
        select *, true from record_ledger.archived_record_observations
    )
"""
_VIOLATIONS = {
    "windows leave a gap or overlap": """
        select r.* from (
            select pipeline_id, window_start_time, window_end_time,
                lag(window_end_time) over w as previous_end
            from records
            window w as (partition by pipeline_id order by window_start_time)
        ) as r
        where r.previous_end <> r.window_start_time or r.window_end_time <= r.window_start_time
    """,
    "the archive is not the oldest part of a pipeline, or all of it": """
        select pipeline_id, max(window_start_time) filter (where archived_at is not null),
            min(window_start_time) filter (where archived_at is null)
        from records
        group by pipeline_id
        having not coalesce(
            max(window_start_time) filter (where archived_at is not null)
            < min(window_start_time) filter (where archived_at is null),
            count(archived_at) = 0
        )
    """,
    "a status does not have what it needs": """
        select * from records
        where (status = 'IN_PROGRESS') <> (lease_expires_at is not null)
            or status = 'IN_PROGRESS' and claim_token is null
            or status = 'PENDING' and (claim_token is not null or run_id is not null)
            or status <> 'PENDING' and retry_at is not null
            or status not in ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'WAIVED')
            or archived_at is not null and status not in ('COMPLETED', 'WAIVED')
    """,
    "events do not follow one another": """
        select * from (
            select e.*,
                row_number() over w as expected_no,
                lag(to_status, 1, 'PENDING') over w as expected_from,
                lag(generation, 1, 1) over w as generation_before,
                -- A released attempt is not counted.
                lag(attempt - (event = 'released')::int, 1, 0) over w as attempt_before
            from events as e
            window w as (partition by pipeline_id, window_start_time order by event_no)
        ) as e
        where event_no <> expected_no
            or from_status <> expected_from
            or generation <> generation_before + (event = 'reopened')::int
            or attempt <> case event
                when 'passed' then attempt_before + 1
                when 'reopened' then 0
                else attempt_before
            end
    """,
    "events do not add up to the record": """
        select r.pipeline_id, r.window_start_time, r.status, r.attempt, r.last_event, e.*
        from records as r
        left join lateral (
            select to_status, event, generation, claim_token, event_time,
                attempt - (event = 'released')::int as attempt
            from events as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
            order by event_no desc limit 1
        ) as e on true
        where r.status <> coalesce(e.to_status, 'PENDING')
            or r.last_event is distinct from e.event
            or r.generation <> coalesce(e.generation, 1)
            or r.attempt <> coalesce(e.attempt, 0)
            or r.claim_token is not null and r.claim_token <> e.claim_token
            or r.updated_at <> coalesce(e.event_time, r.created_at)
    """,
    "an event belongs to no record, or lies where its record does not": """
        select e.* from events as e
        where not exists (
            select from records as r
            where (r.pipeline_id, r.window_start_time) = (e.pipeline_id, e.window_start_time)
                and (r.archived_at is not null) = e.is_archived
        )
    """,
    "what is published is not what was completed last": """
        select r.pipeline_id, r.window_start_time, r.published_generation, e.generation
        from records as r
        left join lateral (
            select max(generation) as generation from events as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
                and e.event = 'completed'
        ) as e on true
        where r.published_generation is distinct from e.generation
    """,
    "counts are waived without an event, or twice in a generation": """
        select r.pipeline_id, r.window_start_time, r.counts_waived, e.times from records as r
        left join lateral (
            select count(*) as times from events as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
                and e.event = 'counts_waived' and e.generation = r.generation
        ) as e on true
        where e.times <> r.counts_waived::int
    """,
    "observations are not numbered one after another, or in another order than they were made": """
        select * from (
            select o.*, row_number() over w as expected_no, lag(observed_at) over w as before,
                lag(generation) over w as generation_before
            from observations as o
            window w as (partition by pipeline_id, window_start_time order by observation_no)
        ) as o
        where observation_no <> expected_no or observed_at < before or generation < generation_before
    """,
    "an observation belongs to no record, or lies where its record does not": """
        select o.* from observations as o
        where not exists (
            select from records as r
            where (r.pipeline_id, r.window_start_time) = (o.pipeline_id, o.window_start_time)
                and (r.archived_at is not null) = o.is_archived and r.generation >= o.generation
        )
    """,
    "an observation was written under a claim that was not current": """
        select o.* from observations as o
        where o.claim_token is not null and not exists (
            select from events as e
            where (e.pipeline_id, e.window_start_time) = (o.pipeline_id, o.window_start_time)
                and e.claim_token = o.claim_token and e.generation = o.generation
                and e.event in ('passed', 'passed_again') and e.event_time <= o.observed_at
        )
    """,
    "an adopted observation is not what an earlier claim of its generation counted": """
        select o.* from observations as o
        where o.adopted_no is not null and not exists (
            select from observations as a
            where (a.pipeline_id, a.window_start_time) = (o.pipeline_id, o.window_start_time)
                and a.observation_no = o.adopted_no and a.adopted_no is null
                and a.claim_token < o.claim_token
                and (a.generation, a.stage, a.row_count, a.detail)
                    = (o.generation, o.stage, o.row_count, o.detail)
        )
    """,
    "two observations of a record and stage are evidence for one generation": """
        select pipeline_id, window_start_time, generation, stage from observations
        where is_evidence
        group by 1, 2, 3, 4 having count(*) > 1
    """,
    "a record was passed while a run held it, or after it was done": """
        select * from (
            select e.*, lag(event) over w as before, lag(run_id) over w as run_before
            from events as e
            where event not in ('counts_waived', 'cancelled')
            window w as (partition by pipeline_id, window_start_time order by event_no)
        ) as e
        where event = 'passed' and before in ('passed', 'passed_again', 'completed', 'waived')
            or event = 'passed_again'
            and (before not in ('passed', 'passed_again') or run_id is distinct from run_before)
    """,
    "a claim token of a pipeline was drawn twice": """
        select pipeline_id, claim_token from events
        where event in ('passed', 'passed_again')
        group by pipeline_id, claim_token having count(*) > 1
    """,
    "a claim token is not read exactly everywhere": """
        select pipeline_id, claim_token from events where claim_token not between 1 and 2::bigint ^ 53 - 1
    """,
    "a cancelled claim ended otherwise than completed or failed for good": """
        select c.*, e.event, e.to_status from events as c
        join events as e using (pipeline_id, window_start_time, generation)
        where c.event = 'cancelled' and e.event_no > c.event_no
            and (
                e.event in ('passed', 'passed_again')
                or e.event in ('failed', 'released', 'lease_expired') and e.to_status <> 'FAILED'
            )
    """,
    "a claim ended twice": """
        select pipeline_id, claim_token from events
        where event in ('completed', 'failed', 'released', 'lease_expired')
        group by pipeline_id, claim_token having count(*) > 1
    """,
    "a run was passed two records": """
        select pipeline_id, run_id from events
        where event in ('passed', 'passed_again') and run_id is not null
        group by pipeline_id, run_id having count(distinct window_start_time) > 1
    """,
    "an open record does not have exactly one verdict": """
        select r.pipeline_id, r.window_start_time, count(v.verdict)
        from records as r
        full join record_ledger.record_verdicts as v using (pipeline_id, window_start_time)
        group by 1, 2, r.status
        having count(v.verdict) <> (r.status in ('PENDING', 'IN_PROGRESS', 'FAILED'))::int
    """,
    "the pipeline's events do not tell of all that was archived": """
        select r.pipeline_id, r.archived, e.moved from (
            select pipeline_id, count(*) as archived, max(archived_at) as archived_at
            from record_ledger.archived_records group by 1
        ) as r
        full join (
            select pipeline_id, sum((detail ->> 'count')::int) as moved, max(event_time) as event_time
            from record_ledger.pipeline_events where event = 'archived' group by 1
        ) as e using (pipeline_id)
        where r.archived is distinct from e.moved or r.archived_at is distinct from e.event_time
    """,
}


def violations(connection: Connection, rules: dict[str, str] = _VIOLATIONS) -> list[str]:
    """Returns a sentence for each rule that is broken; none when the ledger is sound."""
    sentences = []
    for what, query in rules.items():
        found = connection.execute(_EVERYTHING + query).fetchall()
        if found:
            sentences.append(f"{what}: {len(found)} times, such as {found[0]}")
    return sentences


def audit(connection: Connection) -> None:
    """Asserts that the whole ledger is sound: chain, claims, events, counts, verdicts, archive."""
    found = violations(connection)
    assert not found, "; ".join(found)
