-- record_ledger.oldest_due: the oldest record of a lane whose backoff is over; no row when there is none.
-- Records in backoff are told apart in the index: each of the two looks has a condition that it knows.
-- Read by: next_candidate.
-- Rules: none; a record in backoff has a retry_at after as_of.
create or replace function record_ledger.oldest_due(
    pipeline_id text,
    lane text,
    -- What starts before it is passed over.
    from_time timestamptz,
    as_of timestamptz,
    -- Only what was built with this config or a later one; null for all.
    built_since integer default null
)
returns table (window_start_time timestamptz, window_end_time timestamptz)
language sql
stable
as $$
    select d.window_start_time, d.window_end_time
    from (
        (
            select r.window_start_time, r.window_end_time
            from record_ledger.record as r
            where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                and r.window_start_time >= oldest_due.from_time
                and r.retry_at is null
                and (
                    oldest_due.built_since is null or r.config_version >= oldest_due.built_since
                )
            order by r.window_start_time
            limit 1
        )
        union all
        (
            select r.window_start_time, r.window_end_time
            from record_ledger.record as r
            where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                and r.window_start_time >= oldest_due.from_time
                and r.retry_at <= oldest_due.as_of
                and (
                    oldest_due.built_since is null or r.config_version >= oldest_due.built_since
                )
            order by r.window_start_time
            limit 1
        )
    ) as d
    order by d.window_start_time
    limit 1
$$;
comment on function record_ledger.oldest_due(
    text, text, timestamptz, timestamptz, integer
) is
'Private. The oldest record of a lane whose backoff is over; no row when there is none.';
