-- record_ledger.lane_heads: the oldest record in each lane of a pipeline; no row for an empty lane.
-- The marks say where the lanes 'waiting' and 'active' begin, so that no entry of a finished record is stepped over.
-- What starts before lost_before is passed over, but for the records in progress.
-- Read by: next_answer, earliest_open, lost_before, deciding_record, oldest_pending_record, archivable_records,
-- stuck_window.
-- Rules: incomplete_lanes; lane says which lanes there are.
create or replace function record_ledger.lane_heads(
    pipeline_id text,
    waiting_mark timestamptz default null,
    active_mark timestamptz default null,
    lost_before timestamptz default null
)
returns table (lane text, window_start_time timestamptz)
language sql
stable
as $$
    select l.lane, head.window_start_time
    from (
        values
            ('waiting', greatest(lane_heads.waiting_mark, lane_heads.lost_before)),
            ('returned', lane_heads.lost_before),
            ('historical', lane_heads.lost_before),
            ('retry', lane_heads.lost_before),
            ('retryh', lane_heads.lost_before),
            ('active', lane_heads.active_mark),
            ('failed', lane_heads.lost_before)
    ) as l (lane, mark)
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = lane_heads.pipeline_id
            and r.lane = l.lane
            and r.window_start_time >= coalesce(l.mark, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
    union all
    select i.lane, head.window_start_time
    from record_ledger.incomplete_lanes(lane_heads.pipeline_id) as i (lane)
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = lane_heads.pipeline_id
            and r.lane = i.lane
            and r.window_start_time >= coalesce(lane_heads.lost_before, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
$$;
comment on function record_ledger.lane_heads(text, timestamptz, timestamptz, timestamptz) is
'Private. The oldest record in each lane of a pipeline.';
