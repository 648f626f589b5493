-- record_ledger.oldest_due: the oldest record of a lane that waits for no instant any more; null when there is none.
-- In the lanes 'retry' and 'retryh' the index of ends finds the due records; a pass reads at most fifty of them. Where
-- more are due, it takes the oldest due one among the first fifty of the lane and the fifty whose wait ended first. So
-- a pass costs the same after an outage in which a million records failed.
-- Only the lanes 'retry' and 'retryh', and those of incomplete records, have a retry_at.
-- Called by: next_candidate.
-- Uses: none.
-- Tests: test_order.py, test_lane_growth.py.
create or replace function record_ledger.oldest_due(
    pipeline_id text,
    lane text,
    -- Records that start before it are skipped.
    from_time timestamptz,
    as_of timestamptz,
    -- Only records that were built with this config or a later one; null for all.
    built_since integer default null
)
returns timestamptz
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_most constant integer := 50;
    v_due record;
begin
    if oldest_due.lane not in ('retry', 'retryh') then
        return (
            select r.window_start_time
            from record_ledger.record as r
            where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                and r.window_start_time >= oldest_due.from_time
                and (r.retry_at is null or r.retry_at <= oldest_due.as_of)
                and (
                    oldest_due.built_since is null or r.config_version >= oldest_due.built_since
                )
            order by r.window_start_time
            limit 1
        );
    end if;
    select count(*) as records, min(d.window_start_time) as oldest into v_due
    from (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
            and r.lease_expires_at is null and r.retry_at <= oldest_due.as_of
            and r.window_start_time >= oldest_due.from_time
            and (oldest_due.built_since is null or r.config_version >= oldest_due.built_since)
        order by r.lease_expires_at, r.retry_at
        limit v_most
    ) as d;
    if v_due.records < v_most then
        return v_due.oldest;
    end if;
    return least(
        v_due.oldest,
        (
            select min(f.window_start_time)
            from (
                select r.window_start_time, r.retry_at, r.config_version
                from record_ledger.record as r
                where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                    and r.window_start_time >= oldest_due.from_time
                order by r.window_start_time
                limit v_most
            ) as f
            where f.retry_at <= oldest_due.as_of
                and (oldest_due.built_since is null or f.config_version >= oldest_due.built_since)
        )
    );
end
$$;
comment on function record_ledger.oldest_due(
    text, text, timestamptz, timestamptz, integer
) is
'Private. The oldest record of a lane that waits for no instant any more; null when there is none.';
