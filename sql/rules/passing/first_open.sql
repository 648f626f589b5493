-- record_ledger.first_open: the first record that waits in order, and the first of the other lanes, from their marks.
-- Where no other lane holds a record, that record comes next. A table of one row, which PostgreSQL takes into the
-- statement around it, without the look-up for a column that this one does not name.
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call.py, test_lane_growth.py.
create or replace function record_ledger.first_open(
    pipeline_id text,
    waiting_mark timestamptz,
    -- Null where the other lanes are not to be looked into.
    active_mark timestamptz,
    granularity interval
)
returns table (
    -- The bounds of the first record in the lane 'waiting', if it starts within two granularities of the mark. An index
    -- is read a page at a time, and thousands may wait behind it.
    waiting timestamptz[],
    -- The first lane before 'waiting' that holds a record; null when none does.
    first_lane text
)
language sql
stable
as $$
    select
        (
            select array[w.window_start_time, w.window_end_time]
            from record_ledger.record as w
            where w.open_pipeline_id = first_open.pipeline_id and w.lane = 'waiting'
                and w.window_start_time >= first_open.waiting_mark
                and w.window_start_time <= first_open.waiting_mark + first_open.granularity * 2
            order by w.window_start_time
            limit 1
        ),
        -- With a null to compare with, PostgreSQL 16 would walk the whole lane.
        case when first_open.active_mark is not null then (
            select o.lane
            from record_ledger.record as o
            where o.open_pipeline_id = first_open.pipeline_id and o.lane < 'waiting'
                and (o.lane, o.window_start_time) >= ('active', first_open.active_mark)
            order by o.lane, o.window_start_time
            limit 1
        ) end
$$;
comment on function record_ledger.first_open(text, timestamptz, timestamptz, interval) is
'Private. The first waiting record of a pipeline, and the first of its other lanes that holds a record.';
