-- record_ledger.pending_in_order: the records that a pipeline can be passed sooner or later, oldest first.
-- Kind 1 are all but the historical ones, kind 2 the historical ones; with kinds 1, kind 1 are all.
-- Reads only as far as it is asked to: each lane comes in the order of the index, and is merged, never sorted.
-- Read by: planned_passes. Rules: lane says which lanes there are.
create or replace function record_ledger.pending_in_order(
    pipeline_id text,
    kind integer,
    kinds integer,
    waiting_mark timestamptz,
    -- How many records that wait to be built may be looked through; 0 when the config cannot build them.
    max_unbuilt integer
)
returns table (
    window_start_time timestamptz, window_end_time timestamptz, retry_at timestamptz
)
language sql
stable
as $$
    select w.window_start_time, w.window_end_time, w.retry_at
    from (
        -- Each in its own order already: only such parts are merged instead of sorted.
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'waiting'
                and pending_in_order.kind = 1
                and r.window_start_time >= coalesce(pending_in_order.waiting_mark, '-infinity')
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'returned'
                and pending_in_order.kind = 1
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'historical'
                and pending_in_order.kind = pending_in_order.kinds
            order by r.window_start_time
        )
        union all
        (
            select u.window_start_time, u.window_end_time, u.retry_at
            from (
                select r.window_start_time, r.window_end_time, r.retry_at, r.is_historical
                from record_ledger.record as r
                where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'unbuilt'
                order by r.window_start_time
                limit pending_in_order.max_unbuilt
            ) as u
            where pending_in_order.kinds = 1 or u.is_historical = (pending_in_order.kind = 2)
            order by u.window_start_time
        )
    ) as w
    order by w.window_start_time
$$;
comment on function record_ledger.pending_in_order(text, integer, integer, timestamptz, integer) is
'Private. The records that a pipeline can be passed sooner or later, oldest first, read as far as needed.';
