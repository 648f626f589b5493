-- record_ledger.expected_claims: how the claims of records in progress are expected to end, seen from an instant.
-- It has the records that others have to wait for, and those whose lease has run out.
-- While its lease runs, a run is expected to complete run_duration after its pass; where that is past, when its lease
-- ends. Where the lease has run out, the next pass takes the record back or marks it failed. A cancelled claim ends as
-- a failed record. collect_expired_leases does with expired leases what is said here.
-- Called by: planned_passes.
-- Uses: is_lost, retry_time.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.expected_claims(
    p record_ledger.pipeline,
    first_active timestamptz,
    lease_mark timestamptz,
    -- How many of the leases that have run out to read, those that ended first.
    most_expired integer,
    run_duration interval,
    as_of timestamptz
)
returns table (
    -- Of the window.
    bounds tstzrange,
    busy_until timestamptz,
    -- When it can be passed again; null when it will not be.
    retry_at timestamptz,
    -- Neither completed nor passed again.
    is_stuck boolean
)
language sql
stable
as $$
    select
        tstzrange(r.window_start_time, r.window_end_time),
        case
            -- The newest event of a record in progress is its pass: a heartbeat is not an event.
            when not l.is_lost and r.updated_at + run_duration > as_of
                then r.updated_at + run_duration
            else r.lease_expires_at
        end as busy_until,
        case
            when l.is_lost and l.comes_back
                then record_ledger.retry_time(
                    r.lease_expires_at, r.attempt, r.window_end_time, p
                )
        end as retry_at,
        (l.is_lost or r.cancellation is not null) and not l.comes_back as is_stuck
    from (
        (
            select e.*
            from record_ledger.record as e
            where e.open_pipeline_id = (p).pipeline_id and e.lane = 'active'
                and e.lease_expires_at >= coalesce(lease_mark, '-infinity')
                and e.lease_expires_at <= as_of
            order by e.lease_expires_at
            limit most_expired
        )
        union all
        -- Running claims matter only to these two keys.
        select a.*
        from record_ledger.record as a
        where ((p).max_active_records is not null or (p).depends_on_past)
            and a.open_pipeline_id = (p).pipeline_id and a.lane = 'active'
            and a.window_start_time >= coalesce(first_active, '-infinity')
            and a.lease_expires_at > as_of
    ) as r
    cross join lateral (
        select
            r.lease_expires_at <= as_of as is_lost,
            r.attempt < (p).max_attempts
            and r.cancellation is null
            and case
                when r.config_version >= (p).fields_version then r.missing_fields
                else (p).missing_fields
            end is null as comes_back
    ) as l
    -- The next pass waives it.
    where not (
        l.is_lost
        and record_ledger.is_lost(r.window_end_time, (p).source_retention, as_of)
    )
$$;
comment on function record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, timestamptz, integer, interval, timestamptz
) is
'Private. When each record in progress is expected to be completed, or to be passed again.';
