-- record_ledger.pending_in_order: the records that a pipeline can be passed sooner or later, oldest first.
-- Kind 1 are all but the historical ones, kind 2 the historical ones; with kinds 1, kind 1 are all. It reads only as
-- far as the caller fetches: each lane comes in the order of the index, and lanes are merged, never sorted.
-- waiting_for_retry has the records of the lanes 'retry' and 'retryh', which come when their wait is over.
-- Called by: planned_passes.
-- Uses: none.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.pending_in_order(
    pipeline_id text,
    kind integer,
    kinds integer,
    waiting_mark timestamptz,
    -- Lanes of outdated incomplete records of this kind that the config in force completes.
    outdated_lanes text[],
    -- Only what was built with this config or a later one is complete; null when all is.
    built_since integer
)
returns table (
    window_start_time timestamptz, window_end_time timestamptz, retry_at timestamptz
)
language sql
stable
as $$
    select w.window_start_time, w.window_end_time, w.retry_at
    from (
        -- Each part is ordered already: PostgreSQL then merges them and does not sort.
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'waiting'
                and pending_in_order.kind = 1
                and r.window_start_time >= coalesce(pending_in_order.waiting_mark, '-infinity')
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'returned'
                and pending_in_order.kind = 1
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'historical'
                and pending_in_order.kind = pending_in_order.kinds
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[1]
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[2]
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[3]
            order by r.window_start_time
        )
        union all
        (
            -- From the fourth config that left incomplete records: the rare case that sorts.
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = any (pending_in_order.outdated_lanes[4:])
            order by r.window_start_time
        )
    ) as w
    order by w.window_start_time
$$;
comment on function record_ledger.pending_in_order(
    text, integer, integer, timestamptz, text[], integer
) is
'Private. The records that a pipeline can be passed sooner or later, oldest first, read as far as needed.';
