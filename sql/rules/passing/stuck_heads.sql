-- record_ledger.stuck_heads: the oldest failed record of a pipeline, and the oldest of each lane of incomplete ones.
-- No row for an empty lane. Records that start before from_time are skipped. It reads no other lane.
-- Called by: deciding_record, earliest_open, lane_heads, lost_before, stuck_window.
-- Uses: incomplete_lanes.
-- Tests: test_verdicts.py, test_lane_growth.py.
create or replace function record_ledger.stuck_heads(
    pipeline_id text, from_time timestamptz default null
)
returns table (lane text, window_start_time timestamptz)
language sql
stable
as $$
    select l.lane, head.window_start_time
    from (
        select 'failed' as lane
        union all
        select i.lane
        from record_ledger.incomplete_lanes(stuck_heads.pipeline_id) as i (lane)
    ) as l
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = stuck_heads.pipeline_id
            and r.lane = l.lane
            and r.window_start_time >= coalesce(stuck_heads.from_time, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
$$;
comment on function record_ledger.stuck_heads(text, timestamptz) is
'Private. The oldest failed record of a pipeline, and the oldest of each lane of incomplete ones.';
