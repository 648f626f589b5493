-- record_ledger.expected_claims: how each record in progress is expected to come out of it, as seen from an instant.
-- A claim whose lease runs and whose run is not overdue completes run_duration after its pass, by its heartbeats.
-- Any other is taken for lost: its lease runs out, and the next pass takes the record back or marks it failed. (One
-- that has to be built as well is built by the pass after that one; a plan does not tell the two apart.)
-- Read by: plan_runs. Rules: retry_time; collect_expired_leases says the same of leases that have run out.
create or replace function record_ledger.expected_claims(
    p record_ledger.pipeline,
    first_active timestamptz,
    run_duration interval,
    can_build boolean,
    as_of timestamptz
)
returns table (
    window_start_time timestamptz,
    is_historical boolean,
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
        c.window_start_time,
        c.is_historical,
        case when c.completes then c.completes_at else c.lease_expires_at end as busy_until,
        case
            when not c.completes and c.comes_back
                then record_ledger.retry_time(c.lease_expires_at, c.attempt, (p).retry_delay)
        end as retry_at,
        not c.completes and not c.comes_back as is_stuck
    from (
        select
            r.window_start_time,
            r.is_historical,
            r.lease_expires_at,
            r.attempt,
            -- The newest event of a record in progress is its pass: a heartbeat is none.
            r.updated_at + run_duration as completes_at,
            coalesce(
                r.lease_expires_at > as_of and r.updated_at + run_duration > as_of, false
            ) as completes,
            r.attempt < (p).max_attempts
            and (r.missing_fields is null or r.awaits_build and can_build) as comes_back
        from record_ledger.record as r
        where r.open_pipeline_id = (p).pipeline_id and r.lane = 'active'
            and r.window_start_time >= coalesce(first_active, '-infinity')
    ) as c
$$;
comment on function record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, interval, boolean, timestamptz
) is
'Private. When each record in progress is expected to be completed, or to be passed again.';
