-- record_ledger.lane_heads: the oldest record in each lane of a pipeline; no row for an empty lane.
-- Records that start before lost_before are skipped, except those in progress.
-- Called by: archivable_records, next_answer, oldest_pending_record.
-- Uses: stuck_heads.
-- Tests: test_plans.py, test_lane_growth.py.
create or replace function record_ledger.lane_heads(
    pipeline_id text, lost_before timestamptz default null
)
returns table (lane text, window_start_time timestamptz)
language sql
stable
as $$
    select l.lane, head.window_start_time
    from (
        values
            ('waiting', lane_heads.lost_before),
            ('returned', lane_heads.lost_before),
            ('historical', lane_heads.lost_before),
            ('retry', lane_heads.lost_before),
            ('retryh', lane_heads.lost_before),
            ('active', null)
    ) as l (lane, from_time)
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = lane_heads.pipeline_id
            and r.lane = l.lane
            and r.window_start_time >= coalesce(l.from_time, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
    union all
    select s.lane, s.window_start_time
    from record_ledger.stuck_heads(lane_heads.pipeline_id, lane_heads.lost_before) as s
$$;
comment on function record_ledger.lane_heads(text, timestamptz) is
'Private. The oldest record in each lane of a pipeline.';
